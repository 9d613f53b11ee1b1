"""Multi-head attention from a sequence to a fixed memory."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from zoo.layers._attention import check_built, check_heads, dot_product_attention, merge_heads, split_heads
from zoo.layers.byte_dropout import ByteDropout

Tensor = Any


@keras.saving.register_keras_serializable(package="zoo")
class MultiHeadCrossAttention(keras.layers.Layer):
    """Multi-head attention over a memory (Vaswani et al. 2017, section 3.2.3, "encoder-decoder attention").

    1. `q = x W_q + b_q`, `(batch, heads, queries, head_dim)`.
    2. `k, v = split(memory W_kv + b_kv)`: one product of width `2 * d_model`, `(batch, heads, keys, head_dim)`.
    3. `scores = softmax(q k^T / sqrt(head_dim) + bias)`, `(batch, heads, queries, keys)`.
    4. `y = concat_heads(dropout(scores) v) W_o + b_o`, `(batch, queries, d_model)`.

    Step 2 does not depend on `x`: a decoder calls `project_memory` once and `attend` for every word.

    Masks: `memory_mask` drops padded positions of the memory for all queries.

    Args:
        d_model: width of `x` and the output, a multiple of `num_heads`. The memory may have another width.
        num_heads: number of heads.
        dropout: probability with which a score is dropped in training.

    Call arguments:
        x: `(batch, queries, d_model)`.
        memory: `(batch, keys, memory_dim)`.
        memory_mask: boolean `(batch, keys)`, True = keep, or None.
        training: whether dropout is active.
        return_scores: also return the scores `(batch, heads, queries, keys)`.

    Returns:
        `(batch, queries, d_model)`, or the pair of it and the scores.

    Raises:
        ValueError: if `d_model` is no multiple of `num_heads`.
    """

    def __init__(self, d_model: int, num_heads: int, dropout: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_heads(d_model, num_heads)
        self.d_model = d_model
        self.num_heads = num_heads
        self.dropout = dropout
        self.supports_masking = True
        self.query = keras.layers.Dense(d_model, name="query", dtype=self.dtype_policy)
        self.key_value = keras.layers.Dense(2 * d_model, name="key_value", dtype=self.dtype_policy)
        self.out = keras.layers.Dense(d_model, name="out", dtype=self.dtype_policy)
        self.score_dropout = ByteDropout(dropout, name="score_dropout", dtype=self.dtype_policy) if dropout else None

    def build(self, x_shape: tuple[Any, ...], memory_shape: tuple[Any, ...]) -> None:
        """Creates the weights for `x` `(batch, queries, d_model)` and the memory `(batch, keys, memory_dim)`."""
        self.query.build(x_shape)
        self.key_value.build(memory_shape)
        self.out.build((*x_shape[:-1], self.d_model))
        if self.score_dropout is not None:
            self.score_dropout.build((x_shape[0], self.num_heads, x_shape[1], memory_shape[1]))

    def call(
        self,
        x: Tensor,
        memory: Tensor,
        memory_mask: Tensor | None = None,
        training: bool | None = None,
        return_scores: bool = False,
    ) -> Any:
        """See the class."""
        return self._attend(x, self._project_memory(memory), memory_mask, training, return_scores)

    def project_memory(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of the memory, `(batch, heads, keys, head_dim)` each, for any number of `attend` calls."""
        check_built(self)
        return self._project_memory(ops.cast(memory, self.compute_dtype))

    def attend(
        self,
        x: Tensor,
        kv: tuple[Tensor, Tensor],
        memory_mask: Tensor | None = None,
        training: bool | None = None,
        return_scores: bool = False,
    ) -> Any:
        """`call` with the keys and values that `project_memory` returned in place of the memory."""
        check_built(self)
        return self._attend(ops.cast(x, self.compute_dtype), kv, memory_mask, training, return_scores)

    def _project_memory(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        key, value = ops.split(self.key_value(memory), 2, axis=-1)
        return split_heads(key, self.num_heads), split_heads(value, self.num_heads)

    def _attend(
        self,
        x: Tensor,
        kv: tuple[Tensor, Tensor],
        memory_mask: Tensor | None,
        training: bool | None,
        return_scores: bool,
    ) -> Any:
        query = split_heads(self.query(x), self.num_heads)
        allowed = None if memory_mask is None else ops.cast(ops.expand_dims(memory_mask, (1, 2)), "bool")
        y, scores = dot_product_attention(query, kv[0], kv[1], allowed, self.score_dropout, training)
        y = self.out(merge_heads(y))
        return (y, scores) if return_scores else y

    def get_config(self) -> dict[str, Any]:
        """Every constructor argument."""
        return {
            **super().get_config(),
            "d_model": self.d_model,
            "num_heads": self.num_heads,
            "dropout": self.dropout,
        }
