"""Pre-norm Transformer decoder block with a cache."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from zoo.layers._activation import activate
from zoo.layers._attention import check_built
from zoo.layers.byte_dropout import ByteDropout
from zoo.layers.cross_attention import MultiHeadCrossAttention
from zoo.layers.layer_norm import LayerNorm
from zoo.layers.self_attention import MultiHeadSelfAttention

Tensor = Any
Cache = tuple[Tensor, Tensor, Tensor, Tensor]


@keras.saving.register_keras_serializable(package="zoo")
class TransformerDecoderBlock(keras.layers.Layer):
    """Causal self-attention, attention to a memory and a small network (Vaswani et al. 2017, section 3.1; pre-norm).

    1. `h = x + dropout(causal_self_attention(layer_norm(x)))`.
    2. `h = h + dropout(cross_attention(layer_norm(h), memory))`.
    3. `y = h + dropout(W_2 activation(W_1 layer_norm(h)))`.

    All but the memory are `(batch, length, d_model)`. There is no norm after the last block: add one.

    Masks: `mask` drops padded positions of `x` as keys, `memory_mask` those of the memory.

    Decoding: `start` computes the memory's keys and values once, `step` adds one position; they agree with `call`.

    Args:
        d_model: width of `x` and the output, a multiple of `num_heads`.
        num_heads: number of heads of both attentions.
        mlp_dim: width of the hidden layer.
        dropout: probability of dropping a score or a value of a residual branch in training.
        activation: name of the hidden layer's activation.
        rotary: whether positions are given to the self-attention by rotation.

    Call arguments:
        x: `(batch, length, d_model)`.
        memory: `(batch, keys, memory_dim)`.
        mask: boolean `(batch, length)`, True = keep, or None.
        memory_mask: boolean `(batch, keys)`, True = keep, or None.
        training: whether dropout is active.
        return_scores: also return the scores over the memory `(batch, heads, length, keys)`.

    Returns:
        `(batch, length, d_model)`, or the pair of it and the scores.
    """

    def __init__(
        self,
        d_model: int,
        num_heads: int,
        mlp_dim: int,
        dropout: float = 0.0,
        activation: str = "gelu",
        rotary: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.d_model = d_model
        self.num_heads = num_heads
        self.mlp_dim = mlp_dim
        self.dropout = dropout
        self.activation = activation
        self.rotary = rotary
        self.supports_masking = True
        policy = self.dtype_policy
        self.self_norm = LayerNorm(name="self_norm", dtype=policy)
        self.self_attention = MultiHeadSelfAttention(
            d_model, num_heads, dropout, causal=True, rotary=rotary, name="self_attention", dtype=policy
        )
        self.cross_norm = LayerNorm(name="cross_norm", dtype=policy)
        self.cross_attention = MultiHeadCrossAttention(
            d_model, num_heads, dropout, name="cross_attention", dtype=policy
        )
        self.mlp_norm = LayerNorm(name="mlp_norm", dtype=policy)
        self.mlp_hidden = keras.layers.Dense(mlp_dim, name="mlp_hidden", dtype=policy)
        self.mlp_out = keras.layers.Dense(d_model, name="mlp_out", dtype=policy)
        self.self_dropout = ByteDropout(dropout, name="self_dropout", dtype=policy)
        self.cross_dropout = ByteDropout(dropout, name="cross_dropout", dtype=policy)
        self.mlp_dropout = ByteDropout(dropout, name="mlp_dropout", dtype=policy)

    def build(self, x_shape: tuple[Any, ...], memory_shape: tuple[Any, ...]) -> None:
        """Creates the weights for `x` `(batch, length, d_model)` and the memory `(batch, keys, memory_dim)`."""
        for layer in (self.self_norm, self.self_attention, self.cross_norm, self.mlp_norm, self.mlp_hidden):
            layer.build(x_shape)
        self.cross_attention.build(x_shape, memory_shape)
        self.mlp_out.build((*x_shape[:-1], self.mlp_dim))
        for layer in (self.self_dropout, self.cross_dropout, self.mlp_dropout):
            layer.build(x_shape)

    def call(
        self,
        x: Tensor,
        memory: Tensor,
        mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        training: bool | None = None,
        return_scores: bool = False,
    ) -> Any:
        """See the class."""
        h = self.self_attention(self.self_norm(x), mask=mask, training=training)
        x = x + self.self_dropout(h, training=training)
        h, scores = self.cross_attention(
            self.cross_norm(x), memory, memory_mask=memory_mask, training=training, return_scores=True
        )
        x = x + self.cross_dropout(h, training=training)
        h = activate(self.mlp_hidden(self.mlp_norm(x)), self.activation, training)
        x = x + self.mlp_dropout(self.mlp_out(h), training=training)
        return (x, scores) if return_scores else x

    def start(self, memory: Tensor, max_length: int) -> Cache:
        """The cache before the first step.

        Args:
            memory: `(batch, keys, memory_dim)`.
            max_length: number of positions that will be decoded at most.

        Returns:
            Self-attention keys and values `(batch, heads, max_length, head_dim)`, all zero, and the memory's keys and
            values `(batch, heads, keys, head_dim)`, which no step changes.
        """
        check_built(self)
        empty = self.self_attention.init_cache(ops.shape(memory)[0], max_length)
        return (*empty, *self.cross_attention.project_memory(memory))

    def step(
        self, x: Tensor, cache: Cache, position: Tensor, memory_mask: Tensor | None = None
    ) -> tuple[Tensor, Cache, Tensor]:
        """Computes one position, without dropout.

        Args:
            x: `(batch, 1, d_model)`, the input at `position`.
            cache: what `start` or the last `step` returned.
            position: int32 scalar, counted from 0 and below the cache's length.
            memory_mask: boolean `(batch, keys)`, True = keep, or None.

        Returns:
            `y` `(batch, 1, d_model)`, the new cache, and the scores over the memory `(batch, heads, 1, keys)`.
        """
        check_built(self)
        x = ops.cast(x, self.compute_dtype)
        h, (key, value) = self.self_attention.step(self.self_norm(x), (cache[0], cache[1]), position)
        x = x + h
        h, scores = self.cross_attention.attend(
            self.cross_norm(x), (cache[2], cache[3]), memory_mask=memory_mask, training=False, return_scores=True
        )
        x = x + h
        x = x + self.mlp_out(activate(self.mlp_hidden(self.mlp_norm(x)), self.activation, training=False))
        return x, (key, value, cache[2], cache[3]), scores

    def get_config(self) -> dict[str, Any]:
        """Every constructor argument."""
        return {
            **super().get_config(),
            "d_model": self.d_model,
            "num_heads": self.num_heads,
            "mlp_dim": self.mlp_dim,
            "dropout": self.dropout,
            "activation": self.activation,
            "rotary": self.rotary,
        }
