"""Inverted residual block: wide depthwise convolution between narrow maps."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

Tensor = Any


@keras.saving.register_keras_serializable(package="zoo")
class InvertedResidual(keras.layers.Layer):
    """Expansion, depthwise convolution and linear projection (Sandler et al. 2018, section 3.3 and table 1).

    1. `h = relu6(norm(conv1x1(x)))`, `(batch, rows, columns, expansion * channels)`; left out where `expansion` is 1.
    2. `h = relu6(norm(depthwise(h, stride)))`, `(batch, rows / stride, columns / stride, expansion * channels)`.
    3. `y = norm(conv1x1(h))`, `(..., filters)`; `x` is added where the shape has not changed.

    `norm` is batch normalisation that always uses its stored statistics; see `EfficientNetLite`.

    Args:
        filters: channels of the output.
        expansion: how many times wider the inner map is than `x`.
        kernel_size: side of the depthwise filters in positions.
        stride: step of the depthwise filters in positions.

    Call arguments:
        x: `(batch, rows, columns, channels)`.

    Returns:
        `(batch, ceil(rows / stride), ceil(columns / stride), filters)`.

    Raises:
        ValueError: if an argument is below 1.
    """

    trainable: bool

    def __init__(self, filters: int, expansion: int = 6, kernel_size: int = 3, stride: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if min(filters, expansion, kernel_size, stride) < 1:
            raise ValueError(
                "filters, expansion, kernel_size and stride must be at least 1, "
                f"got {filters}, {expansion}, {kernel_size} and {stride}"
            )
        self.filters = filters
        self.expansion = expansion
        self.kernel_size = kernel_size
        self.stride = stride

    def build(self, x_shape: tuple[Any, ...]) -> None:
        """Creates the weights for maps `(batch, rows, columns, channels)`."""
        policy = self.dtype_policy
        inner = self.expansion * x_shape[-1]
        shape = x_shape
        self.expand_conv = None
        if self.expansion != 1:
            self.expand_conv = pointwise(inner, 2.0, "expand_conv", policy)
            self.expand_norm = stored_norm("expand_norm", policy)
            self.expand_conv.build(shape)
            shape = (*shape[:-1], inner)
            self.expand_norm.build(shape)
        self.depthwise_conv = keras.layers.DepthwiseConv2D(
            self.kernel_size,
            self.stride,
            padding="same",
            use_bias=False,
            depthwise_initializer=keras.initializers.VarianceScaling(2.0, "fan_out"),  # fan_out is kernel_size squared
            name="depthwise_conv",
            dtype=policy,
        )
        self.depthwise_norm = stored_norm("depthwise_norm", policy)
        self.depthwise_conv.build(shape)
        shape = self.depthwise_conv.compute_output_shape(shape)
        self.depthwise_norm.build(shape)
        self.adds = self.stride == 1 and x_shape[-1] == self.filters
        self.project_conv = pointwise(self.filters, 0.5 if self.adds else 1.0, "project_conv", policy)
        self.project_norm = stored_norm("project_norm", policy)
        self.project_conv.build(shape)
        self.project_norm.build((*shape[:-1], self.filters))
        if not self.trainable:
            self.trainable = True
            self.trainable = False  # Keras tells the layers inside only of a change

    def call(self, x: Tensor) -> Tensor:
        """See the class."""
        h = x
        if self.expand_conv is not None:
            h = ops.relu6(self.expand_norm(self.expand_conv(h), training=False))
        h = ops.relu6(self.depthwise_norm(self.depthwise_conv(h), training=False))
        h = self.project_norm(self.project_conv(h), training=False)
        return x + h if self.adds else h

    def compute_output_shape(self, x_shape: tuple[Any, ...]) -> tuple[Any, ...]:
        """The shape of `y`."""
        sides = (None if side is None else -(-side // self.stride) for side in x_shape[1:3])
        return (x_shape[0], *sides, self.filters)

    def get_config(self) -> dict[str, Any]:
        """Every constructor argument."""
        return {
            **super().get_config(),
            "filters": self.filters,
            "expansion": self.expansion,
            "kernel_size": self.kernel_size,
            "stride": self.stride,
        }


def pointwise(filters: int, scale: float, name: str, policy: Any) -> keras.layers.Conv2D:
    """Return a 1x1 convolution without bias whose weights have the variance `scale / channels`."""
    initializer = keras.initializers.VarianceScaling(scale, "fan_in")
    return keras.layers.Conv2D(filters, 1, use_bias=False, kernel_initializer=initializer, name=name, dtype=policy)


def stored_norm(name: str, policy: Any) -> keras.layers.BatchNormalization:
    """Return the batch normalisation of this family; it is called with `training=False` always."""
    return keras.layers.BatchNormalization(epsilon=1e-3, name=name, dtype=policy)
