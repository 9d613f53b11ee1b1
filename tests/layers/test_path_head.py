"""The head's start, its order of quantiles and its algebra, by hand."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest
from keras import ops

from zoo.layers import PathHead

RNG = np.random.default_rng(0)
SUMMARY = RNG.normal(size=(4, 6)).astype("float32")
FEATURES = RNG.normal(size=(4, 9, 3)).astype("float32")
VOLATILITIES = RNG.normal(size=(4, 2)).astype("float32")
LAST = RNG.uniform(50, 90, (4, 1)).astype("float32")
SCALE = RNG.uniform(0.01, 0.02, (4, 1)).astype("float32")
INPUTS = (SUMMARY, FEATURES, VOLATILITIES, LAST, SCALE)
LEVELS = (0.1, 0.5, 0.75, 0.9)


def run(head: PathHead, last: np.ndarray = LAST) -> tuple[np.ndarray, np.ndarray]:
    mean, quantiles = head(SUMMARY, FEATURES, VOLATILITIES, last, SCALE)
    return ops.convert_to_numpy(mean), ops.convert_to_numpy(quantiles)


@pytest.mark.parametrize("log_prices", [True, False])
def test_untrained_is_persistence_with_normal_bands(log_prices: bool) -> None:
    last = LAST if log_prices else LAST - 70
    mean, quantiles = run(PathHead(3, LEVELS, log_prices=log_prices), last)
    np.testing.assert_array_equal(mean, np.repeat(last, 3, 1))
    normal = np.array([NormalDist().inv_cdf(level) for level in LEVELS])
    moves = (SCALE * np.sqrt([1, 2, 3]))[..., None] * normal
    np.testing.assert_allclose(
        quantiles, last[..., None] * np.exp(moves) if log_prices else last[..., None] + moves, rtol=1e-5, atol=1e-5
    )


def test_quantiles_never_cross() -> None:
    head = PathHead(3, LEVELS, lags=4)
    head.build(*(array.shape for array in INPUTS))
    for spread in (0.1, 3.0, 30.0):
        head.set_weights([RNG.normal(0, spread, weight.shape) for weight in head.get_weights()])
        mean, quantiles = run(head)
        assert np.isfinite(mean).all() and np.isfinite(quantiles).all()
        assert (np.diff(quantiles, axis=-1) >= 0).all()


def test_by_hand() -> None:
    head = PathHead(2, (0.5, 0.9), lags=3, log_prices=False)
    head.build(*(array.shape for array in INPUTS))
    weights = {variable.name: RNG.normal(0, 0.3, variable.shape) for variable in head.weights}
    head.set_weights([weights[variable.name] for variable in head.weights])
    mean, quantiles = run(head)
    x = SUMMARY / 6
    m = x @ weights["mean_kernel"] + weights["mean_bias"] + FEATURES[:, -3:, 0] @ weights["mean_lags"]
    g = x @ weights["spread_kernel"] + weights["spread_bias"] + VOLATILITIES @ weights["spread_volatilities"]
    m, g = 5 * np.tanh(m / 5), 2 * np.tanh(g / 2)
    median = weights["median_bias"][:, 0]
    gap = x @ weights["gaps_kernel"] + weights["gaps_bias"] + np.log(np.expm1(NormalDist().inv_cdf(0.9)))
    upper = median + np.log1p(np.exp(gap))
    unit = SCALE * np.sqrt([1, 2])
    np.testing.assert_allclose(mean, LAST + unit * m, rtol=1e-5)
    np.testing.assert_allclose(quantiles[..., 0], LAST + unit * (m + np.exp(g) * median), rtol=1e-5)
    np.testing.assert_allclose(quantiles[..., 1], LAST + unit * (m + np.exp(g) * upper), rtol=1e-5)


@pytest.mark.parametrize("levels", [(0.1, 0.9), (0.5, 0.4), (0.0, 0.5), (0.5, 0.5)])
def test_bad_levels(levels: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match=r"levels must ascend between 0 and 1 with 0\.5 among them"):
        PathHead(2, levels)


def test_more_lags_than_steps() -> None:
    with pytest.raises(ValueError, match="10 lags do not fit into a window of 9 steps"):
        PathHead(2, (0.5,), lags=10).build(*(array.shape for array in INPUTS))
