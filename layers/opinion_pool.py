"""The joint opinion of a path that learns and one that is fixed."""

from __future__ import annotations

from typing import Any

import keras

Tensor = Any


@keras.saving.register_keras_serializable(package="zoo")
class OpinionPool(keras.layers.Layer):
    """Averages the logits of two classifiers (logarithmic opinion pool; Genest and Zidek 1986; Hinton 2002).

    - Outside training: `y = (1 - share) learning + share fixed`; a softmax of it is the normalised weighted geometric
      mean of both probabilities.
    - In training: `y = learning`. A fixed path that was fitted to the same examples is surer of them than of new ones,
      so beside it the other would see little that is left to learn.

    Masks: none.

    Args:
        share: weight of the fixed path, 0 to 1.

    Call arguments:
        learning: logits `(batch, dim)`.
        fixed: logits `(batch, dim)`.
        training: whether the fixed path is left out.

    Returns:
        `(batch, dim)`.

    Raises:
        ValueError: for a share out of range, or paths with different numbers of classes.
    """

    def __init__(self, share: float = 0.5, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not 0 <= share <= 1:
            raise ValueError(f"share must be 0 to 1, got {share}")
        self.share = share

    def build(self, learning_shape: tuple[Any, ...], fixed_shape: tuple[Any, ...]) -> None:
        """Has no weights; checks that both paths have the same classes."""
        if learning_shape[-1] != fixed_shape[-1]:
            raise ValueError(f"both paths must have the same classes, got {learning_shape[-1]} and {fixed_shape[-1]}")

    def call(self, learning: Tensor, fixed: Tensor, training: bool | None = None) -> Tensor:
        """See the class."""
        return learning if training else (1.0 - self.share) * learning + self.share * fixed

    def compute_output_shape(self, learning_shape: tuple[Any, ...], fixed_shape: tuple[Any, ...]) -> tuple[Any, ...]:
        """The shape of one path."""
        return learning_shape

    def get_config(self) -> dict[str, Any]:
        """Every constructor argument."""
        return {**super().get_config(), "share": self.share}
