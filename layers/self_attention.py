"""Multi-head self-attention with one fused projection and a key-value cache."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from zoo.layers._attention import (
    check_built,
    check_heads,
    dot_product_attention,
    merge_heads,
    split_heads,
    static_or_dynamic,
)
from zoo.layers.byte_dropout import ByteDropout
from zoo.layers.rotary import apply_rotary

Tensor = Any
Cache = tuple[Tensor, Tensor]


@keras.saving.register_keras_serializable(package="zoo")
class MultiHeadSelfAttention(keras.layers.Layer):
    """Multi-head self-attention (Vaswani et al. 2017, section 3.2.2).

    1. `q, k, v = split(x W_qkv + b_qkv)`: one product of width `3 * d_model`, then heads `(batch, heads, length,
       head_dim)`.
    2. With `rotary`, q and k are rotated by their positions (Su et al. 2021, equation 34).
    3. `scores = softmax(q k^T / sqrt(head_dim) + bias)`, `(batch, heads, length, length)`.
    4. `y = concat_heads(dropout(scores) v) W_o + b_o`, `(batch, length, d_model)`.

    Masks: `mask` drops padded *keys* for all queries; `causal` lets a query see itself and what comes before it;
    `window` lets query `i` see keys `j` with `|i - j| < window` (Beltagy et al. 2020, section 3.1). All that are given
    hold at once. A query that may see nothing returns finite values.

    Decoding: `init_cache` and `step` compute a causal layer one position at a time and agree with `call`.

    Args:
        d_model: width of the input and the output, a multiple of `num_heads`.
        num_heads: number of heads.
        dropout: probability with which a score is dropped in training.
        causal: whether later positions are hidden.
        window: width of the local band in positions, or None for no band.
        rotary: whether positions are given to q and k by rotation; the head size must be even.

    Call arguments:
        x: `(batch, length, d_model)`.
        mask: boolean `(batch, length)`, True = keep, or None.
        training: whether dropout is active.
        return_scores: also return the scores `(batch, heads, length, length)`.

    Returns:
        `(batch, length, d_model)`, or the pair of it and the scores.

    Raises:
        ValueError: if `d_model` is no multiple of `num_heads`, or `window` is below 1.
    """

    def __init__(
        self,
        d_model: int,
        num_heads: int,
        dropout: float = 0.0,
        causal: bool = False,
        window: int | None = None,
        rotary: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_heads(d_model, num_heads)
        if window is not None and window < 1:
            raise ValueError(f"window must be at least 1 position, got {window}")
        if rotary and (d_model // num_heads) % 2:
            raise ValueError(f"rotary needs an even head size, got {d_model // num_heads}")
        self.d_model = d_model
        self.num_heads = num_heads
        self.dropout = dropout
        self.causal = causal
        self.window = window
        self.rotary = rotary
        self.supports_masking = True
        self.qkv = keras.layers.Dense(3 * d_model, name="qkv", dtype=self.dtype_policy)
        self.out = keras.layers.Dense(d_model, name="out", dtype=self.dtype_policy)
        self.score_dropout = ByteDropout(dropout, name="score_dropout", dtype=self.dtype_policy) if dropout else None

    def build(self, x_shape: tuple[Any, ...]) -> None:
        """Creates the weights for inputs `(batch, length, d_model)`."""
        self.qkv.build(x_shape)
        self.out.build((*x_shape[:-1], self.d_model))
        if self.score_dropout is not None:
            self.score_dropout.build((x_shape[0], self.num_heads, x_shape[1], x_shape[1]))

    def call(
        self,
        x: Tensor,
        mask: Tensor | None = None,
        training: bool | None = None,
        return_scores: bool = False,
    ) -> Any:
        """See the class."""
        positions = ops.arange(static_or_dynamic(x, 1), dtype="int32")
        query, key, value = self._project(x, positions)
        allowed = self._allowed(positions, positions)
        if mask is not None:
            padding = ops.cast(ops.expand_dims(mask, (1, 2)), "bool")
            allowed = padding if allowed is None else ops.logical_and(allowed, padding)
        y, scores = dot_product_attention(query, key, value, allowed, self.score_dropout, training)
        y = self.out(merge_heads(y))
        return (y, scores) if return_scores else y

    def init_cache(self, batch_size: int | Tensor, max_length: int) -> Cache:
        """An empty cache: keys and values `(batch, heads, max_length, head_dim)` of zeros in the compute dtype."""
        shape = (batch_size, self.num_heads, max_length, self.d_model // self.num_heads)
        return ops.zeros(shape, dtype=self.compute_dtype), ops.zeros(shape, dtype=self.compute_dtype)

    def step(self, x: Tensor, cache: Cache, position: Tensor, return_scores: bool = False) -> Any:
        """Attends from one position to itself and to the positions in the cache, without dropout.

        Args:
            x: `(batch, 1, d_model)`, the input at `position`.
            cache: keys and values of the earlier positions, as `init_cache` or the last `step` returned them.
            position: int32 scalar, counted from 0 and below the cache's length.
            return_scores: also return the scores `(batch, heads, 1, max_length)`.

        Returns:
            `(y, cache)` or `(y, cache, scores)` with `y` of shape `(batch, 1, d_model)`.
        """
        check_built(self)
        position = ops.cast(ops.reshape(position, (1,)), "int32")
        query, key, value = self._project(ops.cast(x, self.compute_dtype), position)
        slots = ops.arange(cache[0].shape[2], dtype="int32")
        # The slot is written by a product with a one-hot column: it keeps static shapes inside a while loop.
        here = ops.reshape(ops.cast(ops.equal(slots, position), self.compute_dtype), (1, 1, -1, 1))
        keys = cache[0] * (1.0 - here) + key * here
        values = cache[1] * (1.0 - here) + value * here
        allowed = self._allowed(position, slots, causal=True)
        y, scores = dot_product_attention(query, keys, values, allowed)
        y = self.out(merge_heads(y))
        return (y, (keys, values), scores) if return_scores else (y, (keys, values))

    def _project(self, x: Tensor, positions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        query, key, value = (split_heads(part, self.num_heads) for part in ops.split(self.qkv(x), 3, axis=-1))
        if self.rotary:
            query, key = apply_rotary(query, positions), apply_rotary(key, positions)
        return query, key, value

    def _allowed(self, queries: Tensor, keys: Tensor, causal: bool | None = None) -> Tensor | None:
        """Boolean `(1, 1, queries, keys)` from the positions of both, or None where everything is allowed."""
        causal = self.causal if causal is None else causal
        distance = ops.expand_dims(queries, 1) - ops.expand_dims(keys, 0)
        allowed = None
        if causal:
            allowed = ops.greater_equal(distance, 0)
        if self.window is not None:
            near = ops.less(ops.abs(distance), self.window)
            allowed = near if allowed is None else ops.logical_and(allowed, near)
        return None if allowed is None else ops.expand_dims(allowed, (0, 1))

    def get_config(self) -> dict[str, Any]:
        """Every constructor argument."""
        return {
            **super().get_config(),
            "d_model": self.d_model,
            "num_heads": self.num_heads,
            "dropout": self.dropout,
            "causal": self.causal,
            "window": self.window,
            "rotary": self.rotary,
        }
