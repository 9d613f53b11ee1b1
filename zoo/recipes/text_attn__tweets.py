"""`text_attn` on `tweets`: sentiment of English tweets, three classes.

Paper: Yang et al. 2016 (attention pooling), Joulin et al. 2017 (hashed n-grams), Cheng et al. 2016 (wide and deep).

    zoo train text_attn --data tweets
    python benchmarks/text_seeds.py tweets

The linear path must learn fast (`wide_scale` 10 and `wide_dropout` 0.1 with the moving average of the weights:
macro-F1 on the validation split .740; 5 and 0.3 without: .726), and each path must be good alone (`path_dropout`).
"""

from __future__ import annotations

from zoo.registry import Recipe

RECIPE = Recipe(
    architecture="text_attn",
    data="tweets",
    title="sentiment of English tweets",
    cost="2 to 3 min on 1 core",
    expected={"macro_f1": 0.74},
    model={"vocab_size": 6000, "max_length": 44, "num_layers": 1, "token_dropout": 0.15, "balance": 0.5},
    train={
        "epochs": 4,
        "batch_size": 64,
        "learning_rate": 2e-3,
        "label_smoothing": 0.05,
        "ema": 0.995,
        "monitor": "val_macro_f1",
        "monitor_mode": "max",
    },
    quick_train={"epochs": 1, "steps_per_epoch": 250, "ema": 0.98},
    default=True,
)
