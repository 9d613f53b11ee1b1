"""Window-relative features: by hand, against the preprocessor's volatility, and what they must not depend on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from keras import ops

from zoo.layers import WindowFeatures
from zoo.preprocess.series import volatility


def prices(count: int = 2, steps: int = 30) -> np.ndarray:
    rng = np.random.default_rng(0)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, (count, steps)), 1))
    columns = [close * (1 + shift) for shift in (0.001, 0.01, -0.01, 0.0)]
    return np.stack([*columns, rng.uniform(1e5, 1e6, (count, steps))], -1).astype("float32")


def run(layer: WindowFeatures, window: np.ndarray) -> list[np.ndarray]:
    return [ops.convert_to_numpy(output) for output in layer(window)]


OHLCV: dict[str, Any] = {"target": 3, "price_columns": (0, 1, 2, 3), "log_columns": (4,)}


def test_by_hand() -> None:
    # log path 0, .1, -.1; weights of the two changes 1/3 and 2/3; high is .05 above the close
    path = np.array([0.0, 0.1, -0.1])
    window = np.exp(np.stack([path, path + 0.05], -1))[None].astype("float32")
    layer = WindowFeatures(target=0, price_columns=(0, 1), decay=0.5)
    features, volatilities, last, scale = run(layer, window)
    expected = np.sqrt(0.01 / 3 + 0.04 * 2 / 3)
    np.testing.assert_allclose(scale, [[expected]], rtol=1e-5)
    np.testing.assert_allclose(last, [[np.exp(-0.1)]], rtol=1e-6)
    change, previous = np.array([0, 0.1, -0.2]), np.array([0, 0, 0.1])
    by_hand = [change, np.abs(change), (path - path[-1]) / np.sqrt(3), path + 0.05 - previous]
    np.testing.assert_allclose(features[0], np.stack(by_hand, -1) / expected, atol=1e-5)
    spans = [np.sqrt(0.04), np.sqrt((0.01 + 0.04) / 2)]  # the last step, the whole window
    high = [np.sqrt(0.15**2), np.sqrt((0.15**2 + 0.15**2) / 2)]
    np.testing.assert_allclose(volatilities[0], np.log(np.array(spans + high) / expected + 0.2), atol=1e-5)


@pytest.mark.parametrize("log_prices", [True, False])
def test_scale_is_the_preprocessors_volatility(log_prices: bool) -> None:
    window = prices()
    *_, scale = run(WindowFeatures(target=3, log_prices=log_prices), window)
    np.testing.assert_allclose(scale[:, 0], volatility(window[..., 3], log_prices=log_prices, floor=0.0), rtol=1e-4)


def test_features_have_no_level_and_no_unit() -> None:
    layer = WindowFeatures(**OHLCV)
    window = prices()
    scaled = window * np.array([7, 7, 7, 7, 1], "float32")
    before, after = run(layer, window), run(layer, scaled)
    np.testing.assert_allclose(after[0], before[0], atol=2e-3)
    np.testing.assert_allclose(after[1], before[1], atol=2e-3)
    np.testing.assert_allclose(after[2], 7 * before[2], rtol=1e-6)


def test_differences_may_cross_zero() -> None:
    window = np.random.default_rng(0).normal(size=(2, 20, 3)).astype("float32")
    layer = WindowFeatures(target=1, log_columns=(2,), log_prices=False)
    before, after = run(layer, window), run(layer, window + np.array([0, 50, 0], "float32"))
    assert all(np.isfinite(output).all() for output in before)
    np.testing.assert_allclose(after[0], before[0], atol=1e-3)


@pytest.mark.parametrize("value", [1.0, 0.0, -5.0, 1e30])
@pytest.mark.parametrize("log_prices", [True, False])
def test_odd_windows_stay_finite(value: float, log_prices: bool) -> None:
    layer = WindowFeatures(**{**OHLCV, "log_prices": log_prices})
    for output in run(layer, np.full((1, 20, 5), value, "float32")):
        assert np.isfinite(output).all()


def test_a_column_that_is_not_there() -> None:
    with pytest.raises(ValueError, match="column 4 does not exist, the input has 3 columns"):
        WindowFeatures(target=4).build((None, 20, 3))
