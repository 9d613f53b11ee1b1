"""`MultiHeadSelfAttention` against numpy, against stock Keras, and step by step."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from zoo.layers import MultiHeadSelfAttention

D_MODEL, HEADS = 8, 2
HEAD = D_MODEL // HEADS


def softmax(x: np.ndarray) -> np.ndarray:
    x = np.exp(x - x.max(-1, keepdims=True))
    return x / x.sum(-1, keepdims=True)


def by_hand(layer: Any, x: np.ndarray, allowed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Head by head, from the formula; `allowed` is boolean `(batch, queries, keys)`."""
    qkv_kernel, qkv_bias, out_kernel, out_bias = layer.get_weights()
    query, key, value = np.split(x @ qkv_kernel + qkv_bias, 3, axis=-1)
    outputs, scores = [], []
    for head in range(HEADS):
        part = slice(head * HEAD, (head + 1) * HEAD)
        raw = query[..., part] @ key[..., part].transpose(0, 2, 1) / np.sqrt(HEAD)
        scores.append(softmax(np.where(allowed, raw, -np.inf)))
        outputs.append(scores[-1] @ value[..., part])
    return np.concatenate(outputs, -1) @ out_kernel + out_bias, np.stack(scores, 1)


@settings(max_examples=20, deadline=None)
@given(data=st.data(), length=st.integers(1, 6), causal=st.booleans(), window=st.none() | st.integers(1, 4))
def test_by_hand(data: st.DataObject, length: int, causal: bool, window: int | None) -> None:
    lengths = data.draw(st.lists(st.integers(1, length), min_size=2, max_size=2))
    keras.utils.set_random_seed(0)
    layer = MultiHeadSelfAttention(D_MODEL, HEADS, causal=causal, window=window)
    x = np.random.default_rng(0).normal(size=(2, length, D_MODEL)).astype("float32")
    mask = np.arange(length) < np.array(lengths)[:, None]
    y, scores = layer(x, mask=mask, return_scores=True)
    distance = np.arange(length)[:, None] - np.arange(length)
    allowed = np.ones((length, length), bool)
    if causal:
        allowed &= distance >= 0
    if window is not None:
        allowed &= np.abs(distance) < window
    allowed = allowed & mask[:, None]
    # a query with nothing to see has no softmax; the layer only promises finite values there
    seeing = allowed.any(-1)
    wanted, wanted_scores = by_hand(layer, x, np.where(seeing[..., None], allowed, True))
    np.testing.assert_allclose(ops.convert_to_numpy(y)[seeing], wanted[seeing], atol=1e-5)
    scores = ops.convert_to_numpy(scores).transpose(0, 2, 1, 3)
    np.testing.assert_allclose(scores[seeing], wanted_scores.transpose(0, 2, 1, 3)[seeing], atol=1e-6)
    assert np.isfinite(ops.convert_to_numpy(y)).all()


@pytest.mark.parametrize("causal", [False, True])
def test_agrees_with_stock_keras(causal: bool) -> None:
    ours = MultiHeadSelfAttention(D_MODEL, HEADS, causal=causal)
    stock = keras.layers.MultiHeadAttention(HEADS, HEAD)
    x = np.random.default_rng(1).normal(size=(3, 5, D_MODEL)).astype("float32")
    mask = np.arange(5) < np.array([[5], [3], [1]])
    ours(x)
    stock(x, x)
    kernel, bias, out_kernel, out_bias = ours.get_weights()
    weights = []
    for part, part_bias in zip(np.split(kernel, 3, -1), np.split(bias, 3), strict=True):
        weights += [part.reshape(D_MODEL, HEADS, HEAD), part_bias.reshape(HEADS, HEAD)]
    stock.set_weights([*weights, out_kernel.reshape(HEADS, HEAD, D_MODEL), out_bias])
    wanted, wanted_scores = stock(
        x, x, attention_mask=mask[:, None], use_causal_mask=causal, return_attention_scores=True
    )
    y, scores = ours(x, mask=mask, return_scores=True)
    np.testing.assert_allclose(ops.convert_to_numpy(y), ops.convert_to_numpy(wanted), atol=1e-5)
    np.testing.assert_allclose(ops.convert_to_numpy(scores), ops.convert_to_numpy(wanted_scores), atol=1e-6)


@pytest.mark.parametrize("window", [None, 3])
@pytest.mark.parametrize("rotary", [False, True])
def test_steps_agree_with_the_call(rotary: bool, window: int | None) -> None:
    layer = MultiHeadSelfAttention(D_MODEL, HEADS, causal=True, rotary=rotary, window=window)
    x = np.random.default_rng(2).normal(size=(2, 7, D_MODEL)).astype("float32")
    wanted, wanted_scores = (ops.convert_to_numpy(tensor) for tensor in layer(x, return_scores=True))
    cache = layer.init_cache(2, 9)
    for position in range(7):
        y, cache, scores = layer.step(x[:, position : position + 1], cache, position, return_scores=True)
        np.testing.assert_allclose(ops.convert_to_numpy(y)[:, 0], wanted[:, position], atol=1e-5)
        scores = ops.convert_to_numpy(scores)
        assert scores.shape == (2, HEADS, 1, 9)
        np.testing.assert_allclose(scores[:, :, 0, :7], wanted_scores[:, :, position], atol=1e-6)
        assert not scores[:, :, 0, position + 1 :].any()


@pytest.mark.parametrize("options", [{}, {"causal": True}, {"window": 2}])
def test_padding_in_front_is_never_seen(options: dict[str, Any]) -> None:
    layer = MultiHeadSelfAttention(D_MODEL, HEADS, **options)
    x = np.random.default_rng(3).normal(size=(2, 6, D_MODEL)).astype("float32")
    mask = np.arange(6) >= np.array([[2], [4]])
    changed = np.where(mask[..., None], x, 5.0 - x)
    before, after = (ops.convert_to_numpy(layer(each, mask=mask))[mask] for each in (x, changed))
    np.testing.assert_allclose(after, before, atol=1e-6)
    assert np.abs(ops.convert_to_numpy(layer(changed))[mask] - after).max() > 1e-3


def test_keras_own_mask_is_used() -> None:
    embedding = keras.layers.Embedding(10, D_MODEL, mask_zero=True)
    layer = MultiHeadSelfAttention(D_MODEL, HEADS)
    tokens = np.array([[4, 2, 0, 0]], "int32")
    wanted = layer(ops.convert_to_tensor(ops.convert_to_numpy(embedding(tokens))), mask=tokens != 0)
    np.testing.assert_allclose(ops.convert_to_numpy(layer(embedding(tokens))), ops.convert_to_numpy(wanted), atol=1e-6)


def test_dropout_of_scores_keeps_the_mean() -> None:
    keras.utils.set_random_seed(0)
    layer = MultiHeadSelfAttention(D_MODEL, HEADS, dropout=0.3)
    x = np.random.default_rng(4).normal(size=(1, 6, D_MODEL)).astype("float32")
    still = ops.convert_to_numpy(layer(x))
    draws = ops.convert_to_numpy(layer(np.repeat(x, 4000, 0), training=True))
    assert np.abs(draws[0] - draws[1]).max() > 1e-3
    np.testing.assert_allclose(draws.mean(0), still[0], atol=0.03)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"d_model": 10, "num_heads": 3}, "multiple of num_heads"),
        ({"d_model": 8, "num_heads": 0}, "multiple of num_heads"),
        ({"d_model": 8, "num_heads": 2, "window": 0}, "at least 1"),
        ({"d_model": 6, "num_heads": 2, "rotary": True}, "even head size"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MultiHeadSelfAttention(**arguments)


def test_step_before_build() -> None:
    layer = MultiHeadSelfAttention(D_MODEL, HEADS, causal=True)
    with pytest.raises(ValueError, match="no weights yet"):
        layer.step(np.zeros((1, 1, D_MODEL), "float32"), layer.init_cache(1, 4), 0)
