"""`price_attn` on `sp500`: the S&P 500 five days ahead.

Paper: the architecture follows Qin et al. 2017; the daily bars are those of package `arch`.
Train 1999 to 2012, validate 2013 and 2014, test 2015 to 2018 (938 windows), a window of 64 days between.

Expected on the test split (one seed): pinball loss 8.05 index points against 8.14 of EWMA volatility and 8.10 of the
same calibrated on the training split; coverage of the 80% band 81.0%; RMSE 0.998 of persistence's.

    zoo train price_attn --data sp500
"""

from __future__ import annotations

from zoo.registry import Recipe

RECIPE = Recipe(
    architecture="price_attn",
    data="sp500",
    title="daily closes of the S&P 500, five days ahead",
    cost="1 min on 1 core",
    expected={"pinball": 8.05, "rmse_ratio": 0.998, "coverage": 0.81},
    model={"dropout": 0.3, "d_model": 32},
    train={"epochs": 5, "batch_size": 128, "learning_rate": 4e-3, "weight_decay": 0.3},
    quick_train={"epochs": 3},
    limits=(
        "It does not foresee where the index goes; what it gives is the width of the bands.",
        "Daily bars of the S&P 500, trained on 1999 to 2012. Other series, intervals and years were not tested.",
        "Not a basis for trading.",
    ),
)
