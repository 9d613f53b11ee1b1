"""A loss whose mean counts every example by its weight."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="zoo")
class WeightedLoss(keras.losses.Loss):
    """The mean of a function's values over an example, averaged over examples by their weights.

    Keras's own default divides by the number of examples whatever they weigh, so rows of weight 0, which fill up a last
    batch, would count.

    Args:
        function: `function(y_true, y_pred)` returns values of shape (B, ...).
        name: Name of the loss.
    """

    def __init__(self, function: Callable[[Any, Any], Any], name: str) -> None:
        super().__init__(name=name, reduction="mean_with_sample_weight")
        self.function = function

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return one value an example, (B,)."""
        values = self.function(y_true, y_pred)
        return ops.mean(values, axis=tuple(range(1, len(values.shape)))) if len(values.shape) > 1 else values
