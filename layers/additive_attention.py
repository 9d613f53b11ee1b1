"""Additive attention."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from zoo.layers._attention import masked_softmax

Tensor = Any


@keras.saving.register_keras_serializable(package="zoo")
class AdditiveAttention(keras.layers.Layer):
    """Additive attention (Bahdanau et al. 2015, section 3.1 and appendix A.1.2).

    1. `e_ij = v_a^T tanh(W_a query_i + U_a value_j)`, `(batch, queries, keys)`.
    2. `scores = softmax(e)` over the keys (the paper's `alpha_ij`).
    3. `context = scores @ values`, `(batch, queries, values_dim)` (the paper's `c_i`).

    Masks: `mask` drops padded values for all queries.

    Args:
        units: width of the hidden layer of the alignment model (the paper's `n'`).

    Call arguments:
        query: `(batch, queries, query_dim)`.
        values: `(batch, keys, values_dim)`.
        mask: boolean `(batch, keys)`, True = keep, or None.
        return_scores: also return the scores `(batch, queries, keys)`.

    Returns:
        `(batch, queries, values_dim)`, or the pair of it and the scores.

    Raises:
        ValueError: if `units` is below 1.
    """

    def __init__(self, units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if units < 1:
            raise ValueError(f"units must be at least 1, got {units}")
        self.units = units
        self.supports_masking = True
        self.query_projection = keras.layers.Dense(units, use_bias=False, name="query", dtype=self.dtype_policy)
        self.value_projection = keras.layers.Dense(units, use_bias=False, name="value", dtype=self.dtype_policy)
        self.energy = keras.layers.Dense(1, use_bias=False, name="energy", dtype=self.dtype_policy)

    def build(self, query_shape: tuple[Any, ...], values_shape: tuple[Any, ...]) -> None:
        """Creates the weights for the query's and the values' widths."""
        self.query_projection.build(query_shape)
        self.value_projection.build(values_shape)
        self.energy.build((query_shape[0], query_shape[1], values_shape[1], self.units))

    def call(self, query: Tensor, values: Tensor, mask: Tensor | None = None, return_scores: bool = False) -> Any:
        """See the class."""
        hidden = ops.expand_dims(self.query_projection(query), 2) + ops.expand_dims(self.value_projection(values), 1)
        energy = ops.squeeze(self.energy(ops.tanh(hidden)), -1)
        scores = masked_softmax(energy, None if mask is None else ops.expand_dims(mask, 1))
        context = ops.matmul(scores, values)
        return (context, scores) if return_scores else context

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> None:
        """The mask is one of the values; the output has the query's positions."""
        return None

    def get_config(self) -> dict[str, Any]:
        """Every constructor argument."""
        return {**super().get_config(), "units": self.units}
