"""The extra `jax`: trains for two steps, evaluates, saves, loads and predicts on JAX, with TensorFlow absent."""

from __future__ import annotations

import csv
import importlib.util
import os
import sys
from pathlib import Path

os.environ["KERAS_BACKEND"] = "jax"

import numpy as np

import zoo

STEPS = {"epochs": 1, "steps_per_epoch": 2, "batch_size": 8}
WORDS = {"good": ("fine", "sweet", "lovely", "bright"), "bad": ("grim", "sour", "dull", "poor")}


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


def write_texts(path: Path) -> Path:
    """Write 120 different made-up texts of two classes."""
    random = np.random.default_rng(0)
    rows = set()
    while len(rows) < 120:
        label = ("good", "bad")[int(random.integers(2))]
        words = [str(random.choice(WORDS[label] + ("day", "shop", "tea", "room"))) for _ in range(6)]
        rows.add((" ".join(words), label))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        writer.writerows(sorted(rows))
    return path


assert importlib.util.find_spec("tensorflow") is None, "tensorflow is installed by the extra jax"

prices = write_prices(Path("prices.csv"))
small = {"window": 16, "horizon": 3, "d_model": 8, "num_heads": 2, "lags": 4}
run = zoo.train("price_attn", data=prices, out="price", model=small, train=STEPS, options={"gap": 16}, quiet=True)
result = run.evaluate()
assert np.isfinite(result["metrics"][result["main_metric"]]), result
assert result["baselines"], "no baseline beside the model"
before = run.predict(prices)
after = zoo.load("price").predict(prices)
assert np.isfinite(before.mean).all()
np.testing.assert_allclose(after.mean, before.mean, rtol=1e-5)
np.testing.assert_allclose(after.quantiles, before.quantiles, rtol=1e-5)

texts = write_texts(Path("texts.csv"))
small = {"d_model": 16, "num_heads": 2, "num_layers": 1, "mlp_dim": 24, "max_length": 12}
run = zoo.train("text_attn", data=texts, out="text", model=small, train=STEPS, quiet=True)
result = run.evaluate(pictures=False)
assert 0 <= result["metrics"][result["main_metric"]] <= 1, result
before = run.predict("a lovely day")
after = zoo.load("text").predict("a lovely day")
assert after.label == before.label
assert abs(after.probabilities[before.label] - before.probabilities[before.label]) < 1e-5

assert "tensorflow" not in sys.modules
