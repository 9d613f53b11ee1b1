"""Channel and spatial attention for feature maps: CBAM, and squeeze-and-excitation as its average-only case."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

Tensor = Any


@keras.saving.register_keras_serializable(package="zoo")
class ChannelAttention(keras.layers.Layer):
    """Scales every channel by a gate computed from the whole map (Woo et al. 2018, equation 2).

    1. `a = mean(x)`, `m = max(x)` over rows and columns, `(batch, 1, 1, channels)`.
    2. `gate = sigmoid(MLP(a) + MLP(m))` with one shared `MLP(z) = W_1 relu(W_0 z)` of `channels / reduction` hidden
       units.
    3. `y = x * gate`.

    With `use_max=False` the gate is `sigmoid(MLP(a))`: squeeze-and-excitation (Hu et al. 2018, equations 2 to 4).

    Args:
        reduction: how many times narrower the hidden layer is than the map has channels; it has at least 4 units.
        use_max: whether the maximum is looked at beside the mean.

    Call arguments:
        x: `(batch, rows, columns, channels)`.

    Returns:
        A tensor of the shape of `x`.

    Raises:
        ValueError: if `reduction` is below 1.
    """

    def __init__(self, reduction: int = 8, use_max: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if reduction < 1:
            raise ValueError(f"reduction must be at least 1, got {reduction}")
        self.reduction = reduction
        self.use_max = use_max

    def build(self, x_shape: tuple[Any, ...]) -> None:
        """Creates the shared network for maps `(batch, rows, columns, channels)`."""
        channels = x_shape[-1]
        hidden = max(4, channels // self.reduction)
        self.squeeze = keras.layers.Dense(hidden, activation="relu", name="squeeze", dtype=self.dtype_policy)
        self.excite = keras.layers.Dense(channels, name="excite", dtype=self.dtype_policy)
        self.squeeze.build((x_shape[0], 1, 1, channels))
        self.excite.build((x_shape[0], 1, 1, hidden))

    def call(self, x: Tensor) -> Tensor:
        """See the class."""
        energy = self.excite(self.squeeze(ops.mean(x, axis=(1, 2), keepdims=True)))
        if self.use_max:
            energy = energy + self.excite(self.squeeze(ops.max(x, axis=(1, 2), keepdims=True)))
        return x * ops.sigmoid(energy)

    def get_config(self) -> dict[str, Any]:
        """Every constructor argument."""
        return {**super().get_config(), "reduction": self.reduction, "use_max": self.use_max}


@keras.saving.register_keras_serializable(package="zoo")
class SpatialAttention(keras.layers.Layer):
    """Scales every position by a gate computed from its neighbourhood (Woo et al. 2018, equation 3).

    1. `s = concat(mean(x), max(x))` over the channels, `(batch, rows, columns, 2)`.
    2. `gate = sigmoid(conv(s))` with one `kernel_size x kernel_size` filter, `(batch, rows, columns, 1)`.
    3. `y = x * gate`.

    Args:
        kernel_size: side of the filter in positions (the paper's best is 7).

    Call arguments:
        x: `(batch, rows, columns, channels)`.

    Returns:
        A tensor of the shape of `x`.
    """

    def __init__(self, kernel_size: int = 7, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.kernel_size = kernel_size
        self.conv = keras.layers.Conv2D(
            1, kernel_size, padding="same", activation="sigmoid", name="conv", dtype=self.dtype_policy
        )

    def build(self, x_shape: tuple[Any, ...]) -> None:
        """Creates the filter for maps `(batch, rows, columns, channels)`."""
        self.conv.build((*x_shape[:-1], 2))

    def call(self, x: Tensor) -> Tensor:
        """See the class."""
        summary = ops.concatenate([ops.mean(x, axis=-1, keepdims=True), ops.max(x, axis=-1, keepdims=True)], axis=-1)
        return x * self.conv(summary)

    def get_config(self) -> dict[str, Any]:
        """Every constructor argument."""
        return {**super().get_config(), "kernel_size": self.kernel_size}


@keras.saving.register_keras_serializable(package="zoo")
class CBAM(keras.layers.Layer):
    """Convolutional block attention module (Woo et al. 2018, equation 1).

    1. `h = ChannelAttention(x)`.
    2. `y = SpatialAttention(h)`.

    Args:
        reduction: see `ChannelAttention`.
        kernel_size: see `SpatialAttention`.

    Call arguments:
        x: `(batch, rows, columns, channels)`.

    Returns:
        A tensor of the shape of `x`.
    """

    def __init__(self, reduction: int = 8, kernel_size: int = 7, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.reduction = reduction
        self.kernel_size = kernel_size
        self.channel = ChannelAttention(reduction, name="channel", dtype=self.dtype_policy)
        self.spatial = SpatialAttention(kernel_size, name="spatial", dtype=self.dtype_policy)

    def build(self, x_shape: tuple[Any, ...]) -> None:
        """Creates both parts for maps `(batch, rows, columns, channels)`."""
        self.channel.build(x_shape)
        self.spatial.build(x_shape)

    def call(self, x: Tensor) -> Tensor:
        """See the class."""
        return self.spatial(self.channel(x))

    def get_config(self) -> dict[str, Any]:
        """Every constructor argument."""
        return {**super().get_config(), "reduction": self.reduction, "kernel_size": self.kernel_size}
