"""`MultiHeadCrossAttention` against stock Keras and against its own two-part use."""

from __future__ import annotations

import numpy as np
import pytest
from keras import layers, ops

from zoo.layers import MultiHeadCrossAttention

RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, 3, 8)).astype("float32")
MEMORY = RNG.normal(size=(2, 5, 6)).astype("float32")
MASK = np.arange(5) < np.array([[5], [2]])


def test_agrees_with_stock_keras() -> None:
    ours, stock = MultiHeadCrossAttention(8, 2), layers.MultiHeadAttention(2, 4)
    ours(X, MEMORY)
    stock(X, MEMORY)
    query, query_bias, kv, kv_bias, out, out_bias = ours.get_weights()
    (key, value), (key_bias, value_bias) = np.split(kv, 2, -1), np.split(kv_bias, 2)
    stock.set_weights(
        [
            *(query.reshape(8, 2, 4), query_bias.reshape(2, 4)),
            *(key.reshape(6, 2, 4), key_bias.reshape(2, 4)),
            *(value.reshape(6, 2, 4), value_bias.reshape(2, 4)),
            *(out.reshape(2, 4, 8), out_bias),
        ]
    )
    wanted = stock(X, MEMORY, attention_mask=MASK[:, None], return_attention_scores=True)
    actual = ours(X, MEMORY, memory_mask=MASK, return_scores=True)
    for one, other in zip(actual, wanted, strict=True):
        np.testing.assert_allclose(ops.convert_to_numpy(one), ops.convert_to_numpy(other), atol=1e-5)


def test_by_hand_with_one_head() -> None:
    layer = MultiHeadCrossAttention(2, 1)
    x, memory = np.array([[[1.0, 0.0]]], "float32"), np.array([[[1.0, 2.0], [3.0, -1.0]]], "float32")
    layer(x, memory)
    unit, none = np.eye(2), np.zeros(2)
    layer.set_weights([unit, none, np.concatenate([unit, unit], 1), np.zeros(4), unit, none])
    # q.k = 1 and 3, over sqrt(2); the weight of the second is 1 / (1 + exp(-2 / sqrt(2)))
    second = 1 / (1 + np.exp(-np.sqrt(2)))
    y, scores = layer(x, memory, return_scores=True)
    np.testing.assert_allclose(ops.convert_to_numpy(scores).ravel(), [1 - second, second], atol=1e-6)
    np.testing.assert_allclose(ops.convert_to_numpy(y)[0, 0], [1 + 2 * second, 2 - 3 * second], atol=1e-5)


def test_projected_memory_gives_the_same() -> None:
    layer = MultiHeadCrossAttention(8, 2)
    wanted = ops.convert_to_numpy(layer(X, MEMORY, memory_mask=MASK))
    kv = layer.project_memory(MEMORY)
    assert [tuple(part.shape) for part in kv] == [(2, 2, 5, 4)] * 2
    for position in range(X.shape[1]):
        y, scores = layer.attend(X[:, position : position + 1], kv, memory_mask=MASK, return_scores=True)
        np.testing.assert_allclose(ops.convert_to_numpy(y)[:, 0], wanted[:, position], atol=1e-5)
        assert not ops.convert_to_numpy(scores)[1, :, :, 2:].any()


def test_before_build() -> None:
    with pytest.raises(ValueError, match="no weights yet"):
        MultiHeadCrossAttention(8, 2).project_memory(MEMORY)
