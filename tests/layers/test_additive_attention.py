"""`AdditiveAttention` against numpy and stock Keras; `AttentionPooling` against numpy."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from zoo.layers import AdditiveAttention, AttentionPooling

RNG = np.random.default_rng(0)
QUERY = RNG.normal(size=(2, 3, 4)).astype("float32")
VALUES = RNG.normal(size=(2, 5, 4)).astype("float32")
MASK = np.array([[True] * 5, [False, True, True, False, False]])


def test_by_hand() -> None:
    layer = AdditiveAttention(6)
    context, scores = (ops.convert_to_numpy(part) for part in layer(QUERY, VALUES, mask=MASK, return_scores=True))
    w_a, u_a, v_a = layer.get_weights()
    for batch in range(2):
        for i in range(3):
            energy = np.array([v_a[:, 0] @ np.tanh(QUERY[batch, i] @ w_a + value @ u_a) for value in VALUES[batch]])
            alpha = np.where(MASK[batch], np.exp(energy), 0)
            alpha /= alpha.sum()
            np.testing.assert_allclose(scores[batch, i], alpha, atol=1e-6)
            np.testing.assert_allclose(context[batch, i], alpha @ VALUES[batch], atol=1e-5)


def test_agrees_with_stock_keras() -> None:
    ours, stock = AdditiveAttention(4), keras.layers.AdditiveAttention()
    ours(QUERY, VALUES)
    stock([QUERY, VALUES])
    scale = RNG.normal(size=4).astype("float32")
    ours.set_weights([np.eye(4), np.eye(4), scale[:, None]])
    stock.set_weights([scale])
    wanted = stock([QUERY, VALUES], mask=[None, ops.convert_to_tensor(MASK)])
    actual = ours(QUERY, VALUES, mask=MASK)
    np.testing.assert_allclose(ops.convert_to_numpy(actual), ops.convert_to_numpy(wanted), atol=1e-5)


def test_pooling_by_hand() -> None:
    layer = AttentionPooling(3)
    pooled, weights = (ops.convert_to_numpy(part) for part in layer(VALUES, mask=MASK))
    w, b, u_w = layer.get_weights()
    energy = (np.tanh(VALUES @ w + b) @ u_w)[..., 0]
    alpha = np.where(MASK, np.exp(energy), 0)
    alpha /= alpha.sum(1, keepdims=True)
    np.testing.assert_allclose(weights, alpha, atol=1e-6)
    np.testing.assert_allclose(pooled, (alpha[..., None] * VALUES).sum(1), atol=1e-5)
    assert not weights[~MASK].any()


def test_pooling_of_one_kept_position_returns_it() -> None:
    mask = np.eye(5, dtype=bool)[[3, 0]]
    pooled, _ = AttentionPooling()(VALUES, mask=mask)
    np.testing.assert_allclose(ops.convert_to_numpy(pooled), VALUES[[0, 1], [3, 0]], atol=1e-6)


@pytest.mark.parametrize("layer", [AdditiveAttention, AttentionPooling])
def test_bad_units(layer: type[keras.layers.Layer]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        layer(0)
