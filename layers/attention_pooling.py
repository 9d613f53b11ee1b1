"""Attention pooling over time."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from zoo.layers._attention import masked_softmax

Tensor = Any


@keras.saving.register_keras_serializable(package="zoo")
class AttentionPooling(keras.layers.Layer):
    """Weighted mean over time with learned weights (Yang et al. 2016, equations 5 to 7).

    1. `u_t = tanh(W_w x_t + b_w)`, `(batch, length, units)`.
    2. `weights = softmax(u_t^T u_w)` over the kept positions, `(batch, length)` (the paper's `alpha_t`).
    3. `pooled = sum_t weights_t x_t`, `(batch, dim)`.

    Masks: a dropped position has weight 0. A row with nothing to keep gives finite values.

    Args:
        units: width of the hidden layer, or None for the width of the input.

    Call arguments:
        x: `(batch, length, dim)`.
        mask: boolean `(batch, length)`, True = keep, or None.

    Returns:
        The pair of `pooled` `(batch, dim)` and `weights` `(batch, length)`.

    Raises:
        ValueError: if `units` is below 1.
    """

    def __init__(self, units: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if units is not None and units < 1:
            raise ValueError(f"units must be at least 1 or None, got {units}")
        self.units = units
        self.supports_masking = True

    def build(self, x_shape: tuple[Any, ...]) -> None:
        """Creates the weights for inputs `(batch, length, dim)`."""
        units = self.units or x_shape[-1]
        self.hidden = keras.layers.Dense(units, activation="tanh", name="hidden", dtype=self.dtype_policy)
        self.energy = keras.layers.Dense(1, use_bias=False, name="energy", dtype=self.dtype_policy)
        self.hidden.build(x_shape)
        self.energy.build((*x_shape[:-1], units))

    def call(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """See the class."""
        weights = masked_softmax(ops.squeeze(self.energy(self.hidden(x)), -1), mask)
        pooled = ops.squeeze(ops.matmul(ops.expand_dims(weights, 1), x), 1)
        return pooled, weights

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> None:
        """The pooled vector has no time axis left to mask."""
        return None

    def get_config(self) -> dict[str, Any]:
        """Every constructor argument."""
        return {**super().get_config(), "units": self.units}
