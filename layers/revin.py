"""Reversible instance normalisation of series windows."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

Tensor = Any


@keras.saving.register_keras_serializable(package="zoo")
class RevIN(keras.layers.Layer):
    """Normalises every window by its own statistics and undoes it on the forecast (Kim et al. 2022, equations 1 to 3).

    1. `mean = E_t[x]`, `std = sqrt(Var_t[x] + epsilon)` over the time axis, `(batch, 1, features)`; no gradient flows
       through.
    2. `y = gamma * (x - mean) / std + beta`, `(batch, length, features)`.
    3. `denormalize` inverts it: `x = std * (y - beta) / (gamma + epsilon^2) + mean`.

    The statistics and the inverse are float32 under every dtype policy: prices in half precision would lose their
    cents.

    Args:
        affine: whether `gamma` and `beta`, one pair a feature, are trained; else they are 1 and 0.
        epsilon: added to the variance, in squared units of the input.

    Call arguments:
        x: `(batch, length, features)` in raw units.

    Returns:
        `y` in the compute dtype, `mean` and `std` in float32.
    """

    def __init__(self, affine: bool = True, epsilon: float = 1e-5, **kwargs: Any) -> None:
        # Inputs must not be cast to half precision before the statistics are taken.
        super().__init__(**{"autocast": False, **kwargs})
        self.affine = affine
        self.epsilon = epsilon

    def build(self, x_shape: tuple[Any, ...]) -> None:
        """Creates one scale and one shift a feature."""
        if self.affine:
            self.gamma = self.add_weight(name="gamma", shape=(x_shape[-1],), initializer="ones", autocast=False)
            self.beta = self.add_weight(name="beta", shape=(x_shape[-1],), initializer="zeros", autocast=False)

    def call(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See the class."""
        x = ops.cast(x, "float32")
        mean = ops.stop_gradient(ops.mean(x, axis=1, keepdims=True))
        centred = x - mean
        std = ops.stop_gradient(ops.sqrt(ops.mean(ops.square(centred), axis=1, keepdims=True) + self.epsilon))
        y = centred / std
        if self.affine:
            y = y * self.gamma + self.beta
        return ops.cast(y, self.compute_dtype), mean, std

    def denormalize(self, y: Tensor, mean: Tensor, std: Tensor, feature: int = 0) -> Tensor:
        """Brings a forecast of one feature back to raw units.

        Args:
            y: `(batch, horizon)` or `(batch, horizon, quantiles)`, normalised.
            mean: `(batch, 1, features)`, as `call` returned it.
            std: `(batch, 1, features)`, as `call` returned it.
            feature: index of the feature that `y` forecasts.

        Returns:
            A float32 tensor of the shape of `y`.
        """
        y = ops.cast(y, "float32")
        if self.affine:
            gamma, beta = ops.convert_to_tensor(self.gamma)[feature], ops.convert_to_tensor(self.beta)[feature]
            y = (y - beta) / (gamma + self.epsilon**2)
        shape = (-1, *(1,) * (len(y.shape) - 1))
        return y * ops.reshape(std[:, 0, feature], shape) + ops.reshape(mean[:, 0, feature], shape)

    def get_config(self) -> dict[str, Any]:
        """Every constructor argument."""
        return {**super().get_config(), "affine": self.affine, "epsilon": self.epsilon}
