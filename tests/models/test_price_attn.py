"""What the shared check of architectures does not see of `price_attn`."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

import zoo
from zoo.errors import ConfigError
from zoo.metrics.baselines_forecast import ewma_quantiles
from zoo.models.price_attn import PriceAttn


def prices(count: int, config: PriceAttn.Config) -> np.ndarray:
    rng = np.random.default_rng(0)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, (count, config.window)), 1))
    columns = [close * (1 + shift) for shift in (0.001, 0.01, -0.01, 0.0)]
    return np.stack([*columns, rng.uniform(1e5, 1e6, close.shape)], -1).astype("float32")


def test_untrained_is_persistence_with_the_bands_of_ewma_volatility() -> None:
    config = PriceAttn.Config()
    model = zoo.build("price_attn", seed=0)
    window = prices(16, config)
    outputs = {name: keras.ops.convert_to_numpy(value) for name, value in model({"window": window}).items()}
    close = window[..., 3]
    np.testing.assert_array_equal(outputs["mean"], np.repeat(close[:, -1:], config.horizon, 1))
    expected = ewma_quantiles(close, config.horizon, config.levels)
    np.testing.assert_allclose(outputs["quantiles"], expected, rtol=1e-5)


def test_a_trained_model_has_no_unit() -> None:
    """Prices in cents give the forecast in cents; share counts in thousands change nothing."""
    config = PriceAttn.tiny()
    model = PriceAttn.build(config)
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(0, 0.3, weight.shape) for weight in model.get_weights()])
    window = prices(8, config)
    before = model.predict_on_batch({"window": window})
    after = model.predict_on_batch({"window": window * np.float32([100, 100, 100, 100, 1])})
    for name in ("mean", "quantiles"):
        np.testing.assert_allclose(after[name], 100 * before[name], rtol=1e-4)
    assert np.abs(before["mean"] / window[:, -1:, 3] - 1).max() > 1e-3, "the weights have no effect"
    assert (np.diff(before["quantiles"], axis=-1) >= 0).all()


@pytest.mark.parametrize(
    "overrides, message",
    [
        ({"d_model": 30}, "d_model is 30; it must be a multiple of num_heads=4"),
        ({"levels": (0.1, 0.9)}, "levels is (0.1, 0.9); it must be ascending with 0.5 among them"),
        ({"levels": (0.9, 0.5)}, "levels is (0.9, 0.5); it must be ascending with 0.5 among them"),
        ({"lags": 64}, "lags is 64; it must be less than window=64"),
        ({"features": 3}, "target is 3; it must be less than features=3"),
        ({"features": 4}, "log_columns is (4,); it must be positions less than features=4"),
        ({"window": 2}, "window is 2; it must be 4 to 4096"),
    ],
)
def test_bad_configurations(overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        zoo.build("price_attn", **overrides)
    assert str(caught.value) == f"PriceAttn.Config.{message}."
