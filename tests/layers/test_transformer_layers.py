"""Transformer blocks against stock Keras layers with the same weights, and step by step."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

from zoo.layers import TransformerDecoder, TransformerDecoderBlock, TransformerEncoderBlock
from zoo.layers._activation import activate

D_MODEL, HEADS, MLP = 8, 2, 16
RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, 5, D_MODEL)).astype("float32")
MEMORY = RNG.normal(size=(2, 4, 6)).astype("float32")


def array(tensor: Any) -> np.ndarray:
    return ops.convert_to_numpy(tensor)


def stock_attention(layer: Any, query: Any, memory: Any, mask: Any = None) -> Any:
    """`keras.layers.MultiHeadAttention` with the weights of one of our attention layers."""
    weights = layer.get_weights()
    if len(weights) == 4:
        (kernel, bias), rest = weights[:2], weights[2:]
        parts = list(zip(np.split(kernel, 3, -1), np.split(bias, 3), strict=True))
    else:
        kernel, bias = weights[2:4]
        parts = [(weights[0], weights[1]), *zip(np.split(kernel, 2, -1), np.split(bias, 2), strict=True)]
        rest = weights[4:]
    stock = keras.layers.MultiHeadAttention(HEADS, D_MODEL // HEADS)
    stock(query, memory)
    split = [w.reshape(*w.shape[:-1], HEADS, D_MODEL // HEADS) for part in parts for w in part]
    stock.set_weights([*split, rest[0].reshape(HEADS, D_MODEL // HEADS, D_MODEL), rest[1]])
    return stock(query, memory, attention_mask=mask)


def stock_mlp(block: Any, x: Any) -> Any:
    hidden, out = block.mlp_hidden.get_weights(), block.mlp_out.get_weights()
    return keras.activations.gelu(block.mlp_norm(x) @ hidden[0] + hidden[1], approximate=False) @ out[0] + out[1]


def layer_norm(x: np.ndarray) -> np.ndarray:
    """With the initial scale of 1 and shift of 0."""
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)


class Activate(keras.layers.Layer):
    def __init__(self, activation: str) -> None:
        super().__init__()
        self.activation = activation

    def call(self, x: Any) -> Any:
        return activate(x, self.activation, training=True)


@pytest.mark.parametrize("activation", ["gelu", "relu"])
def test_activation_learns_as_stock_keras_does(activation: str) -> None:
    after = []
    for stock in (False, True):
        inputs = keras.Input((D_MODEL,))
        below = keras.layers.Dense(5, kernel_initializer=keras.initializers.RandomNormal(seed=1))
        x = below(inputs)
        model = keras.Model(inputs, keras.layers.Activation(activation)(x) if stock else Activate(activation)(x))
        model.compile(keras.optimizers.SGD(1.0), "mse")
        answer = array(model(X[0]))
        model.train_on_batch(X[0], np.ones((5, 5), np.float32))
        after.append((answer, *below.get_weights()))
    for ours, theirs in zip(*after, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


@pytest.mark.parametrize("causal", [False, True])
def test_encoder_block_agrees_with_stock_keras(causal: bool) -> None:
    block = TransformerEncoderBlock(D_MODEL, HEADS, MLP, causal=causal)
    mask = np.arange(5) < np.array([[5], [3]])
    actual = array(block(X, mask=mask))
    allowed = mask[:, None] & (np.tri(5, dtype=bool) if causal else True)
    h = layer_norm(X)
    x = X + array(stock_attention(block.attention, h, h, allowed))
    np.testing.assert_allclose(actual, x + array(stock_mlp(block, x)), atol=1e-5)


def test_decoder_block_agrees_with_stock_keras() -> None:
    block = TransformerDecoderBlock(D_MODEL, HEADS, MLP)
    mask, memory_mask = np.arange(5) < np.array([[5], [3]]), np.arange(4) < np.array([[2], [4]])
    actual = array(block(X, MEMORY, mask=mask, memory_mask=memory_mask))
    h = layer_norm(X)
    x = X + array(stock_attention(block.self_attention, h, h, mask[:, None] & np.tri(5, dtype=bool)))
    x = x + array(stock_attention(block.cross_attention, layer_norm(x), MEMORY, memory_mask[:, None]))
    np.testing.assert_allclose(actual, x + array(stock_mlp(block, x)), atol=1e-5)


@pytest.mark.parametrize("rotary", [False, True])
def test_decoder_block_steps_agree_with_the_call(rotary: bool) -> None:
    block = TransformerDecoderBlock(D_MODEL, HEADS, MLP, rotary=rotary)
    memory_mask = np.arange(4) < np.array([[2], [4]])
    wanted, wanted_scores = (array(part) for part in block(X, MEMORY, memory_mask=memory_mask, return_scores=True))
    cache = block.start(MEMORY, 7)
    assert [tuple(part.shape) for part in cache] == [(2, HEADS, 7, 4)] * 2 + [(2, HEADS, 4, 4)] * 2
    for position in range(5):
        y, cache, scores = block.step(X[:, position : position + 1], cache, position, memory_mask=memory_mask)
        np.testing.assert_allclose(array(y)[:, 0], wanted[:, position], atol=1e-5)
        np.testing.assert_allclose(array(scores)[:, :, 0], wanted_scores[:, :, position], atol=1e-6)


def decoder(**options: Any) -> TransformerDecoder:
    keras.utils.set_random_seed(0)
    return TransformerDecoder(11, D_MODEL, HEADS, MLP, num_layers=2, max_length=6, **options)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("tie_embeddings", [True, False])
def test_decoder_steps_agree_with_the_call(tie_embeddings: bool, policy: str) -> None:
    layer = decoder(tie_embeddings=tie_embeddings, dtype=policy)
    tokens = RNG.integers(1, 11, (2, 6)).astype("int32")
    logits, scores = layer(tokens, MEMORY, return_scores=True)
    assert keras.backend.standardize_dtype(logits.dtype) == "float32"
    cache = layer.start(MEMORY)
    tolerance = 1e-5 if policy == "float32" else 0.1
    for position in range(6):
        step, cache, attention = layer.step(tokens[:, position], position, cache)
        assert keras.backend.standardize_dtype(step.dtype) == "float32"
        np.testing.assert_allclose(array(step), array(logits)[:, position], atol=tolerance)
        attention = array(ops.cast(attention, "float32"))
        np.testing.assert_allclose(attention, array(ops.cast(scores, "float32"))[:, position], atol=tolerance)
        np.testing.assert_allclose(attention.sum(-1), 1.0, atol=tolerance)


def test_greedy_decoding_inside_a_while_loop() -> None:
    layer = decoder()
    layer.build((None, 6), (None, *MEMORY.shape[1:]))
    cache = layer.start(MEMORY)

    def body(position: Any, token: Any, tokens: Any, cache: Any) -> Any:
        logits, cache, _ = layer.step(token, position, cache)
        token = ops.argmax(logits[:, 1:], axis=-1) + 1
        here = ops.cast(ops.equal(ops.arange(6), position), "int32")
        token = ops.cast(token, "int32")
        return position + 1, token, tokens * (1 - here) + ops.expand_dims(token, 1) * here, cache

    start = (ops.convert_to_tensor(0, "int32"), ops.ones((2,), "int32"), ops.zeros((2, 6), "int32"), cache)
    looped = array(ops.while_loop(lambda position, *_: position < 6, body, start)[2])
    # the same words from the whole prefix, without a cache
    prefix = np.ones((2, 1), "int32")
    for _ in range(6):
        token = array(layer(prefix, MEMORY))[:, -1, 1:].argmax(-1) + 1
        prefix = np.concatenate([prefix, token[:, None].astype("int32")], axis=1)
    np.testing.assert_array_equal(looped, prefix[:, 1:])


def test_later_and_padded_tokens_are_never_seen() -> None:
    layer = decoder()
    tokens = np.array([[1, 4, 5, 6, 0, 0], [1, 0, 7, 8, 9, 2]], "int32")
    before = array(layer(tokens, MEMORY))
    tokens[0, 3] = 9
    after = array(layer(tokens, MEMORY))
    np.testing.assert_allclose(after[0, :3], before[0, :3], atol=1e-6)
    assert np.abs(after[0, 3] - before[0, 3]).max() > 1e-3
    # the padding of the second row stands before kept tokens: changing its vector changes no other position
    table = array(layer.embedding).copy()
    table[0] += 3.0
    kept = np.arange(6) != 1
    layer.embedding.assign(table)
    np.testing.assert_allclose(array(layer(tokens, MEMORY))[1, kept, 1:], after[1, kept, 1:], atol=1e-5)


def test_logits_by_hand_without_attention() -> None:
    """With silent blocks the logits are the normalised sum of token and position vectors times the table."""
    layer = decoder()
    tokens = np.array([[3, 7]], "int32")
    layer(tokens, MEMORY[:1])
    for block in layer.blocks:
        for silent in (block.self_attention.out, block.cross_attention.out, block.mlp_out):
            silent.set_weights([np.zeros_like(weight) for weight in silent.get_weights()])
    table, positions = array(layer.embedding), layer.positions.get_weights()[0]
    x = layer_norm(np.sqrt(D_MODEL) * table[tokens] + positions[:2])
    np.testing.assert_allclose(array(layer(tokens, MEMORY[:1])), x @ table.T, atol=1e-5)


@pytest.mark.parametrize("name", ["vocab_size", "num_layers", "max_length"])
def test_bad_sizes(name: str) -> None:
    sizes = {"vocab_size": 5, "num_layers": 1, "max_length": 3, name: 0}
    with pytest.raises(ValueError, match=f"{name} must be at least 1"):
        TransformerDecoder(d_model=D_MODEL, num_heads=HEADS, mlp_dim=MLP, **sizes)


def test_start_before_build() -> None:
    with pytest.raises(ValueError, match="no weights yet"):
        decoder().start(MEMORY)
