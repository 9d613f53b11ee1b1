"""Layer normalisation with its gradient written out."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

Tensor = Any


@keras.saving.register_keras_serializable(package="zoo")
class LayerNorm(keras.layers.Layer):
    """Layer normalisation over the last axis (Ba et al. 2016, arXiv:1607.06450, equation 4).

    1. `n = (x - mean(x)) / sqrt(var(x) + epsilon)`, statistics of the last axis.
    2. `y = n * gamma + beta`.

    It equals `keras.layers.LayerNormalization`, and outside training it is the same operators. In training the gradient
    is written out, `dx = (g - mean(g) - n mean(g n)) / sqrt(var(x) + epsilon)` with `g = dy * gamma`: fewer passes
    over memory than automatic differentiation takes, where nothing fuses them. Statistics are float32 under
    every dtype policy.

    Masks pass through unchanged.

    Args:
        epsilon: added to the variance.

    Call arguments:
        x: `(..., width)`.
        training: whether a gradient will be asked for.

    Returns:
        A tensor of the shape of `x`.
    """

    def __init__(self, epsilon: float = 1e-6, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.epsilon = epsilon
        self.supports_masking = True

    def build(self, x_shape: tuple[Any, ...]) -> None:
        """Creates `gamma` of ones and `beta` of zeros, `(width,)`."""
        table: dict[str, Any] = {"shape": (x_shape[-1],), "autocast": False}
        self.gamma = self.add_weight(name="gamma", initializer="ones", **table)
        self.beta = self.add_weight(name="beta", initializer="zeros", **table)

    def call(self, x: Tensor, training: bool | None = None) -> Tensor:
        """See the class."""
        gamma, beta = ops.cast(self.gamma, "float32"), ops.cast(self.beta, "float32")
        if training:
            y = _normalize(self.epsilon)(ops.cast(x, "float32"), gamma, beta)
        else:
            y = ops.layer_normalization(x, gamma, beta, epsilon=self.epsilon)
        return ops.cast(y, self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        """Every constructor argument."""
        return {**super().get_config(), "epsilon": self.epsilon}


def _normalize(epsilon: float) -> Any:
    """The function of `x`, `gamma` and `beta` (all float32) with its gradient."""

    @ops.custom_gradient
    def normalize(x: Tensor, gamma: Tensor, beta: Tensor) -> Any:
        centred = x - ops.mean(x, axis=-1, keepdims=True)
        inverse = ops.rsqrt(ops.mean(ops.square(centred), axis=-1, keepdims=True) + epsilon)
        normal = centred * inverse

        def gradient(dy: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            rows = tuple(range(len(x.shape) - 1))
            g = dy * gamma
            mean, along = ops.mean(g, axis=-1, keepdims=True), ops.mean(g * normal, axis=-1, keepdims=True)
            return (g - mean - normal * along) * inverse, ops.sum(dy * normal, axis=rows), ops.sum(dy, axis=rows)

        return normal * gamma + beta, gradient

    return normalize
