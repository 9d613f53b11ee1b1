"""Residual convolutional block with optional attention."""

from __future__ import annotations

import math
from typing import Any

import keras

from zoo.layers.cbam import CBAM, ChannelAttention

Tensor = Any

ATTENTIONS = ("cbam", "se", None)
NORMS = ("batch", "group")


@keras.saving.register_keras_serializable(package="zoo")
class ResidualBlock(keras.layers.Layer):
    """Two 3x3 convolutions, attention and a residual path (He et al. 2016, figure 2; Woo et al. 2018, figure 3).

    1. `h = activation(norm(conv3x3(x, stride)))`, `(batch, rows / stride, columns / stride, filters)`.
    2. `h = attention(norm(conv3x3(h)))`.
    3. `y = activation(h + shortcut(x))`; the shortcut is `norm(conv1x1(x, stride))` where the shape changes, else `x`.

    Args:
        filters: channels of the output.
        stride: step of the first convolution in positions.
        attention: `"cbam"`, `"se"` (squeeze-and-excitation) or None.
        activation: name of the activation.
        norm: `"batch"` (Ioffe and Szegedy 2015), or `"group"` (Wu and He 2018), which does not depend on the other
            examples of the batch: with it, small batches and accumulated gradients train as large ones do.

    Call arguments:
        x: `(batch, rows, columns, channels)`.
        training: whether the batch's own statistics are used.

    Returns:
        `(batch, ceil(rows / stride), ceil(columns / stride), filters)`.

    Raises:
        ValueError: for an unknown attention or norm.
    """

    def __init__(
        self,
        filters: int,
        stride: int = 1,
        attention: str | None = "cbam",
        activation: str = "relu",
        norm: str = "batch",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if attention not in ATTENTIONS:
            raise ValueError(f"attention must be 'cbam', 'se' or None, got {attention!r}")
        if norm not in NORMS:
            raise ValueError(f"norm must be 'batch' or 'group', got {norm!r}")
        self.filters = filters
        self.stride = stride
        self.attention = attention
        self.activation = activation
        self.norm = norm

    def build(self, x_shape: tuple[Any, ...]) -> None:
        """Creates the weights for maps `(batch, rows, columns, channels)`."""
        policy = self.dtype_policy
        self.conv_1 = _conv(self.filters, 3, self.stride, "conv_1", policy)
        self.norm_1 = image_norm(self.norm, self.filters, "norm_1", policy)
        self.conv_2 = _conv(self.filters, 3, 1, "conv_2", policy)
        self.norm_2 = image_norm(self.norm, self.filters, "norm_2", policy)
        self.act = keras.layers.Activation(self.activation, name="act", dtype=policy)
        self.conv_1.build(x_shape)
        shape = self.conv_1.compute_output_shape(x_shape)
        self.norm_1.build(shape)
        self.conv_2.build(shape)
        self.norm_2.build(shape)
        self.act.build(shape)
        self.gate = None
        if self.attention is not None:
            gate = CBAM(name="gate", dtype=policy) if self.attention == "cbam" else None
            self.gate = gate or ChannelAttention(use_max=False, name="gate", dtype=policy)
            self.gate.build(shape)
        self.shortcut = None
        if self.stride != 1 or x_shape[-1] != self.filters:
            self.shortcut = _conv(self.filters, 1, self.stride, "shortcut", policy)
            self.shortcut.build(x_shape)
            self.shortcut_norm = image_norm(self.norm, self.filters, "shortcut_norm", policy)
            self.shortcut_norm.build(shape)

    def call(self, x: Tensor, training: bool | None = None) -> Tensor:
        """See the class."""
        h = self.act(self.norm_1(self.conv_1(x), training=training))
        h = self.norm_2(self.conv_2(h), training=training)
        if self.gate is not None:
            h = self.gate(h)
        if self.shortcut is not None:
            x = self.shortcut_norm(self.shortcut(x), training=training)
        return self.act(h + x)

    def get_config(self) -> dict[str, Any]:
        """Every constructor argument."""
        return {
            **super().get_config(),
            "filters": self.filters,
            "stride": self.stride,
            "attention": self.attention,
            "activation": self.activation,
            "norm": self.norm,
        }


def _conv(filters: int, size: int, stride: int, name: str, policy: Any) -> keras.layers.Conv2D:
    return keras.layers.Conv2D(
        filters, size, stride, padding="same", use_bias=False, kernel_initializer="he_normal", name=name, dtype=policy
    )


def image_norm(kind: str, channels: int, name: str, policy: Any) -> keras.layers.Layer:
    """Return the normalisation layer of a convolution with so many channels; `kind` is one of `NORMS`."""
    if kind == "batch":
        return keras.layers.BatchNormalization(momentum=0.9, name=name, dtype=policy)
    return keras.layers.GroupNormalization(math.gcd(channels, 8), name=name, dtype=policy)
