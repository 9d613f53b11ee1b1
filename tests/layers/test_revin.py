"""`RevIN` against numpy, and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from zoo.layers import RevIN

GAMMA = np.array([2.0, 0.5, -1.5], "float32")
BETA = np.array([0.1, -0.2, 0.3], "float32")


def array(tensor: Any) -> np.ndarray:
    return ops.convert_to_numpy(ops.cast(tensor, "float32"))


@settings(max_examples=20, deadline=None)
@given(level=st.floats(-1e3, 1e3), size=st.floats(0.01, 100), length=st.integers(2, 20), policy=st.booleans())
def test_by_hand_and_back(level: float, size: float, length: int, policy: bool) -> None:
    x = (level + size * np.random.default_rng(0).normal(size=(2, length, 3))).astype("float32")
    layer = RevIN(dtype="mixed_bfloat16" if policy else "float32")
    layer.build(x.shape)
    layer.set_weights([GAMMA, BETA])
    y, mean, std = (array(part) for part in layer(x))
    exact = x.astype("float64")
    wanted_std = np.sqrt(exact.var(1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(mean, exact.mean(1, keepdims=True), rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(std, wanted_std, rtol=0.02)
    wanted = (exact - exact.mean(1, keepdims=True)) / wanted_std * GAMMA + BETA
    np.testing.assert_allclose(y, wanted, atol=0.05)
    for feature in range(3):
        normalised = (x[..., feature] - mean[..., feature]) / std[..., feature] * GAMMA[feature] + BETA[feature]
        back = array(layer.denormalize(normalised, mean, std, feature))
        np.testing.assert_allclose(back, x[..., feature], rtol=1e-4, atol=1e-3)


def test_quantiles_are_brought_back_like_the_mean() -> None:
    layer = RevIN(affine=False)
    x = np.random.default_rng(1).normal(size=(2, 6, 3)).astype("float32")
    _, mean, std = layer(x)
    y = np.random.default_rng(2).normal(size=(2, 4, 5)).astype("float32")
    back = array(layer.denormalize(y, mean, std, feature=2))
    assert back.shape == y.shape
    for column in range(5):
        np.testing.assert_allclose(back[..., column], array(layer.denormalize(y[..., column], mean, std, 2)), atol=1e-6)


@pytest.mark.parametrize("value", [0.0, 1e6])
def test_constant_window_stays_finite(value: float) -> None:
    layer = RevIN()
    y, mean, std = layer(np.full((1, 8, 2), value, "float32"))
    assert not array(y).any()
    np.testing.assert_allclose(array(layer.denormalize(np.zeros((1, 3), "float32"), mean, std)), value)
