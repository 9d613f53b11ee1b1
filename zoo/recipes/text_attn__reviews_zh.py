"""`text_attn` on `reviews_zh`: sentiment of Chinese shop reviews, two classes.

Paper: Yang et al. 2016 (attention pooling), Joulin et al. 2017 (hashed n-grams), Cheng et al. 2016 (wide and deep).

    zoo train text_attn --data reviews_zh
    python benchmarks/text_seeds.py reviews_zh

Every Han character is a token; of long reviews the start and the end are read. The linear path sees 1 to 3 characters.
"""

from __future__ import annotations

from zoo.registry import Recipe

RECIPE = Recipe(
    architecture="text_attn",
    data="reviews_zh",
    title="sentiment of Chinese reviews",
    cost="5 min on 1 core",
    expected={"macro_f1": 0.84},
    model={
        "vocab_size": 5000,
        "max_length": 160,
        "head_fraction": 0.5,
        "num_heads": 2,
        "num_layers": 1,
        "dropout": 0.0,
        "token_dropout": 0.1,
        "wide_dropout": 0.4,
        "wide_buckets": 131_071,
        "wide_scale": 15.0,
        "wide_penalty": 1e-4,
    },
    train={
        "epochs": 5,
        "batch_size": 64,
        "learning_rate": 2e-3,
        "label_smoothing": 0.05,
        "ema": 0.995,
        "monitor": "val_macro_f1",
        "monitor_mode": "max",
    },
    quick_train={"epochs": 1, "steps_per_epoch": 150, "ema": 0.98},
)
