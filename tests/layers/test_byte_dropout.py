"""`ByteDropout`: how much is dropped, what is kept, and repeatability."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from zoo.layers import ByteDropout


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.99])
@pytest.mark.parametrize("last", [40, 37, 1])
def test_share_and_expectation(rate: float, last: int) -> None:
    x = np.full((40_000 // last, last), 2.0, "float32")
    y = ops.convert_to_numpy(ByteDropout(rate, seed=0)(x, training=True))
    exact = round(256 * rate) / 256
    assert abs(exact - rate) <= 1 / 512
    # four standard errors of a share among 40,000
    assert (y == 0).mean() == pytest.approx(exact, abs=4 * (exact * (1 - exact) / x.size) ** 0.5)
    np.testing.assert_allclose(np.unique(y), [0.0, 2.0 / (1 - exact)], rtol=1e-6)


def test_neighbours_are_dropped_independently() -> None:
    y = ops.convert_to_numpy(ByteDropout(0.5, seed=1)(np.ones((5000, 8), "float32"), training=True)) > 0
    correlation = np.corrcoef(y.T) - np.eye(8)
    assert np.abs(correlation).max() < 5 / 5000**0.5


def test_gradient_is_the_mask_itself() -> None:
    layer = ByteDropout(0.5, seed=2)
    values = keras.layers.Dense(6, use_bias=False, kernel_initializer="ones")
    model = keras.Sequential([keras.Input((1,)), values, layer])
    model.compile(keras.optimizers.SGD(1.0), lambda _, y: ops.sum(y, axis=-1))
    model.train_on_batch(np.ones((1, 1), "float32"), np.zeros((1, 6), "float32"))
    moved = 1 - ops.convert_to_numpy(values.kernel)
    assert set(np.unique(moved)) <= {0.0, 2.0} and 0 < moved.sum() < 12


def test_only_in_training_and_never_at_rate_zero() -> None:
    x = np.random.default_rng(0).normal(size=(3, 5)).astype("float32")
    np.testing.assert_array_equal(ops.convert_to_numpy(ByteDropout(0.5)(x)), x)
    np.testing.assert_array_equal(ops.convert_to_numpy(ByteDropout(0.0)(x, training=True)), x)


def test_same_seed_same_values_and_new_ones_every_call() -> None:
    x = np.ones((4, 16), "float32")
    layer, twin = ByteDropout(0.5, seed=7), ByteDropout(0.5, seed=7)
    first, second = (ops.convert_to_numpy(layer(x, training=True)) for _ in range(2))
    np.testing.assert_array_equal(ops.convert_to_numpy(twin(x, training=True)), first)
    assert (first != second).any()


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_bad_rate(rate: float) -> None:
    with pytest.raises(ValueError, match="at least 0 and below 1"):
        ByteDropout(rate)
