"""`caption_attn` on `emoji`: the name of a Twemoji picture.

Paper: Xu et al. 2015, Show, Attend and Tell (arXiv:1502.03044), with a Transformer decoder (arXiv:1706.03762).

    zoo train caption_attn --data emoji
"""

from __future__ import annotations

from zoo.registry import Recipe

RECIPE = Recipe(
    architecture="caption_attn",
    data="emoji",
    title="names of emoji pictures",
    cost="7 min on 2 cores",
    expected={"exact_match": 0.8, "cider": 8.0},
    expected_split="variants",
    train={
        "epochs": 24,
        "batch_size": 32,
        "learning_rate": 3e-3,
        "weight_decay": 0.05,
        "label_smoothing": 0.05,
        "monitor": "val_accuracy",
        "monitor_mode": "max",
    },
    quick_train={"epochs": 2},
    default=True,
)
