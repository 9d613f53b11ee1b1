"""`text_attn` on `reviews_zh`: sentiment of Chinese shop reviews, two classes."""

from __future__ import annotations

from zoo.registry import Recipe

RECIPE = Recipe(
    architecture="text_attn",
    data="reviews_zh",
    title="sentiment of Chinese reviews",
    cost="4 min on 2 cores",
    expected={"macro_f1": 0.84},
    model={"vocab_size": 5000, "max_length": 128, "head_fraction": 0.5},
    train={"epochs": 4, "batch_size": 64, "learning_rate": 2e-3, "label_smoothing": 0.05},
    quick_train={"epochs": 1, "steps_per_epoch": 80},
)
