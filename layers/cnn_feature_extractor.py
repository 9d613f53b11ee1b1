"""Residual convolutional network that turns an image into a grid of vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from zoo.layers.residual_block import ResidualBlock, image_norm

Tensor = Any


@keras.saving.register_keras_serializable(package="zoo")
class CNNFeatureExtractor(keras.layers.Layer):
    """Residual stages with channel and spatial attention (He et al. 2016; Woo et al. 2018; Hu et al. 2018).

    1. Stem: `h = activation(norm(conv3x3(images, stem_stride)))`, `filters[0]` channels.
    2. Stage `i`: `blocks[i]` residual blocks of `filters[i]` channels, the first with stride `strides[i]`.
    3. `y = dropout(h W + b)`, `(batch, h, w, d_model)`; without `d_model` there is no projection.

    Every side is divided by the product of the strides, rounded up at each: 72 x 72 gives 5 x 5 by default and 9 x 9
    with `stem_stride=1`. With the default `filters` and `d_model=128` there are about 0.33 million parameters.

    Args:
        filters: channels of every stage.
        blocks: residual blocks of every stage.
        strides: stride of every stage; None means 2 for each.
        stem_stride: stride of the first convolution.
        attention: `"cbam"`, `"se"` (squeeze-and-excitation, cheaper) or None.
        d_model: width of the output, or None for that of the last stage.
        dropout: probability of dropping an output value in training.
        activation: name of the activation.
        norm: `"batch"` or `"group"` (see `ResidualBlock`).

    Call arguments:
        images: float `(batch, height, width, channels)`, scaled to about [0, 1] or [-1, 1].
        training: whether dropout and the batch's own statistics are used.

    Returns:
        `(batch, h, w, d_model)`.

    Raises:
        ValueError: if `filters`, `blocks` and `strides` differ in length.
    """

    def __init__(
        self,
        filters: Sequence[int] = (32, 64, 128),
        blocks: Sequence[int] = (1, 1, 1),
        strides: Sequence[int] | None = None,
        stem_stride: int = 2,
        attention: str | None = "cbam",
        d_model: int | None = None,
        dropout: float = 0.0,
        activation: str = "relu",
        norm: str = "batch",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.filters = tuple(filters)
        self.blocks = tuple(blocks)
        self.strides = tuple(strides) if strides is not None else (2,) * len(self.filters)
        if not len(self.filters) == len(self.blocks) == len(self.strides) > 0:
            raise ValueError(
                f"filters, blocks and strides need one value a stage, got {self.filters}, {self.blocks}, {self.strides}"
            )
        self.stem_stride = stem_stride
        self.attention = attention
        self.d_model = d_model
        self.dropout = dropout
        self.activation = activation
        self.norm = norm
        policy = self.dtype_policy
        self.stem = keras.layers.Conv2D(
            self.filters[0],
            3,
            stem_stride,
            padding="same",
            use_bias=False,
            kernel_initializer="he_normal",
            name="stem",
            dtype=policy,
        )
        self.stem_norm = image_norm(norm, self.filters[0], "stem_norm", policy)
        self.stem_act = keras.layers.Activation(activation, name="stem_act", dtype=policy)
        self.stages = [
            ResidualBlock(
                width,
                stride if index == 0 else 1,
                attention,
                activation,
                norm,
                name=f"stage_{stage}_{index}",
                dtype=policy,
            )
            for stage, (width, count, stride) in enumerate(zip(self.filters, self.blocks, self.strides, strict=True))
            for index in range(count)
        ]
        self.projection = keras.layers.Dense(d_model, name="projection", dtype=policy) if d_model else None
        self.output_dropout = keras.layers.Dropout(dropout, name="output_dropout", dtype=policy)

    def build(self, images_shape: tuple[Any, ...]) -> None:
        """Creates the weights for images `(batch, height, width, channels)`."""
        self.stem.build(images_shape)
        shape = self.stem.compute_output_shape(images_shape)
        self.stem_norm.build(shape)
        self.stem_act.build(shape)
        for block in self.stages:
            block.build(shape)
            shape = block.conv_1.compute_output_shape(shape)
        if self.projection is not None:
            self.projection.build(shape)
            shape = (*shape[:-1], self.d_model)
        self.output_dropout.build(shape)

    def call(self, images: Tensor, training: bool | None = None) -> Tensor:
        """See the class."""
        x = self.stem_act(self.stem_norm(self.stem(images), training=training))
        for block in self.stages:
            x = block(x, training=training)
        if self.projection is not None:
            x = self.projection(x)
        return self.output_dropout(x, training=training)

    def get_config(self) -> dict[str, Any]:
        """Every constructor argument."""
        return {
            **super().get_config(),
            "filters": self.filters,
            "blocks": self.blocks,
            "strides": self.strides,
            "stem_stride": self.stem_stride,
            "attention": self.attention,
            "d_model": self.d_model,
            "dropout": self.dropout,
            "activation": self.activation,
            "norm": self.norm,
        }
