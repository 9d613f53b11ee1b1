"""`price_attn` on `sp500`: the S&P 500 five days ahead, trained on 1999 to 2012, tested on 2015 to 2018.

Paper: the architecture follows Qin et al. 2017; the daily bars are those of package `arch`.

    zoo train price_attn --data sp500
"""

from __future__ import annotations

from zoo.registry import Recipe

RECIPE = Recipe(
    architecture="price_attn",
    data="sp500",
    title="daily closes of the S&P 500, five days ahead",
    cost="1 min on 1 core",
    expected={"pinball": 8.04, "rmse_ratio": 0.999, "coverage": 0.80},
    model={"dropout": 0.3, "d_model": 32},
    train={"epochs": 5, "batch_size": 128, "learning_rate": 4e-3, "weight_decay": 0.3},
    quick_train={"epochs": 3},
)
