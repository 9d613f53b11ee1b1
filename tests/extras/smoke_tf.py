"""The extra `tf`: trains for two steps, exports through the gate, and answers from the .tflite as Keras did."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

import zoo
from zoo.export.runtime import Edge


def write_prices(path: Path) -> Path:
    """Write 400 days of made-up prices."""
    random = np.random.default_rng(0)
    close = 100 * np.exp(np.cumsum(random.normal(0, 0.01, 400)))
    days = np.datetime64("2020-01-01") + np.arange(400)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["date", "close"])
        writer.writerows(zip(days.astype(str), close.round(4), strict=True))
    return path


prices = write_prices(Path("prices.csv"))
small = {"window": 16, "horizon": 3, "d_model": 8, "num_heads": 2, "lags": 4}
steps = {"epochs": 1, "steps_per_epoch": 2, "batch_size": 8}
run = zoo.train("price_attn", data=prices, out="price", model=small, train=steps, options={"gap": 16}, quiet=True)
result = run.evaluate()
assert np.isfinite(result["metrics"][result["main_metric"]]), result
run.export("price.tflite")
there, here = Edge("price.tflite").predict(prices), run.predict(prices)
np.testing.assert_allclose(there.mean, here.mean, rtol=1e-4)
np.testing.assert_allclose(there.quantiles, here.quantiles, rtol=1e-4)
