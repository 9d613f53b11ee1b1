"""placeholder."""

from __future__ import annotations

from zoo.registry import Recipe

RECIPE = Recipe(
    architecture="price_attn",
    data="stocks",
    title="daily closes of four stocks, five days ahead",
    cost="2 min on 1 core",
    expected={},
    model={"dropout": 0.3, "d_model": 32},
    train={"epochs": 5, "batch_size": 128, "learning_rate": 4e-3, "weight_decay": 0.3},
    quick_train={"epochs": 2},
    default=True,
)
