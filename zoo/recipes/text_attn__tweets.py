"""`text_attn` on `tweets`: sentiment of English tweets, three classes."""

from __future__ import annotations

from zoo.registry import Recipe

RECIPE = Recipe(
    architecture="text_attn",
    data="tweets",
    title="sentiment of English tweets",
    cost="4 min on 2 cores",
    expected={"macro_f1": 0.74},
    model={"vocab_size": 6000, "max_length": 40, "balance": 0.5},
    train={"epochs": 4, "batch_size": 64, "learning_rate": 2e-3, "label_smoothing": 0.05},
    quick_train={"epochs": 1, "steps_per_epoch": 150},
    default=True,
)
