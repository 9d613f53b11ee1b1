"""EfficientNet-Lite: a convolutional network of built-in operators that reads photographs."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import keras
from keras import ops

from zoo.layers.inverted_residual import InvertedResidual, pointwise, stored_norm

Tensor = Any


class Variant(NamedTuple):
    """How a network of the family is scaled."""

    width: float
    depth: float
    image_size: int


VARIANTS = {
    "lite0": Variant(1.0, 1.0, 224),
    "lite1": Variant(1.0, 1.1, 240),
    "lite2": Variant(1.1, 1.2, 260),
}
"""Factors of width and depth, and side of the input in pixels, by variant."""

IMAGE_SIZES = {name: variant.image_size for name, variant in VARIANTS.items()}
"""Side in pixels of the pictures that the published weights of a variant were trained on."""

STEM, HEAD = 0, 8
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
"""Stages 1 to 7 before scaling: blocks, side of the filters, stride, expansion, channels."""


@keras.saving.register_keras_serializable(package="zoo")
class EfficientNetLite(keras.layers.Layer):
    """A contiguous part of EfficientNet-Lite (Tan and Le 2019, table 1, without squeeze-and-excitation, with ReLU6).

    1. Stage 0, the stem: `relu6(norm(conv3x3(images, stride 2)))`, 32 channels.
    2. Stages 1 to 7: inverted residual blocks (see `STAGES`); channels are scaled by the width and rounded to
       multiples of 8, blocks by the depth, rounded up, but for stages 1 and 7.
    3. Stage 8, the head: `relu6(norm(conv1x1(x)))`, 1,280 channels.

    `first` and `last` choose which stages the layer has, so that a network can be cut in two:
    `EfficientNetLite(last=5)` frozen and `EfficientNetLite(first=6)` trained on what it gives. Of 224 x 224 pixels,
    stages 6 to 8 make a map of 7 x 7.

    Batch normalisation always uses its stored statistics, in training too: the published ones come from 1.3 million
    pictures, those of a small batch of a user's data are far noisier, and what is trained is then what is exported. Its
    scale and offset are trained as any other weight. Without published weights the statistics are mean 0, variance 1.

    Args:
        variant: `"lite0"`, `"lite1"` or `"lite2"`.
        first: first stage of the layer, 0 to 8.
        last: last stage of the layer, `first` to 8.
        width: factor of the channels in place of the variant's, or None.
        depth: factor of the blocks in place of the variant's, or None.
        head: channels of stage 8.

    Call arguments:
        x: where `first` is 0, images float `(batch, height, width, 3)`, RGB scaled by `(value - 127) / 128`; else the
            map that stage `first - 1` gives, `(batch, h, w, input_channels)`.

    Returns:
        `(batch, ceil(h / stride), ceil(w / stride), channels)`.

    Attributes:
        input_channels: channels of `x`.
        channels: channels of the output.
        stride: how many times smaller the sides of the output are than those of `x`.

    Raises:
        ValueError: for an unknown variant or stages out of range.
    """

    trainable: bool

    def __init__(
        self,
        variant: str = "lite0",
        first: int = STEM,
        last: int = HEAD,
        width: float | None = None,
        depth: float | None = None,
        head: int = 1280,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if variant not in VARIANTS:
            raise ValueError(f"variant must be one of {', '.join(VARIANTS)}, got {variant!r}")
        if not STEM <= first <= last <= HEAD:
            raise ValueError(f"first and last must be stages from {STEM} to {HEAD} in order, got {first} and {last}")
        self.variant = variant
        self.first = first
        self.last = last
        self.width = width
        self.depth = depth
        self.head = head
        policy = self.dtype_policy
        outputs = [32, *(_scaled(stage[-1], width or VARIANTS[variant].width) for stage in STAGES), head]
        self.input_channels = outputs[first - 1] if first else 3
        self.channels = outputs[last]
        strides = (2, *(stage[2] for stage in STAGES), 1)
        self.stride = math.prod(strides[first : last + 1])
        self.stem_conv = None
        if first == STEM:
            self.stem_conv = keras.layers.Conv2D(
                outputs[STEM],
                3,
                2,
                padding="same",
                use_bias=False,
                kernel_initializer="he_normal",
                name="stem_conv",
                dtype=policy,
            )
            self.stem_norm = stored_norm("stem_norm", policy)
        self.blocks = []
        self.block_numbers = []
        number = 0
        for stage, count in enumerate(blocks_of_stages(variant, depth), start=1):
            _, size, stride, expansion, _ = STAGES[stage - 1]
            for index in range(count if first <= stage <= last else 0):
                step = stride if index == 0 else 1
                name = f"block_{number + index}"
                block = InvertedResidual(outputs[stage], expansion, size, step, name=name, dtype=policy)
                self.blocks.append(block)
                self.block_numbers.append(number + index)
            number += count
        self.head_conv = None
        if last == HEAD:
            self.head_conv = pointwise(head, 2.0, "head_conv", policy)
            self.head_norm = stored_norm("head_norm", policy)

    def build(self, x_shape: tuple[Any, ...]) -> None:
        """Creates the weights for images or maps `(batch, rows, columns, input_channels)`."""
        if x_shape[-1] != self.input_channels:
            raise ValueError(
                f"stage {self.first} of {self.variant} takes {self.input_channels} channels, got {x_shape}"
            )
        shape = x_shape
        if self.stem_conv is not None:
            self.stem_conv.build(shape)
            shape = self.stem_conv.compute_output_shape(shape)
            self.stem_norm.build(shape)
        for block in self.blocks:
            block.build(shape)
            shape = block.compute_output_shape(shape)
        if self.head_conv is not None:
            self.head_conv.build(shape)
            self.head_norm.build((*shape[:-1], self.head))
        if not self.trainable:
            self.trainable = True
            self.trainable = False  # Keras tells the layers inside only of a change

    def call(self, x: Tensor) -> Tensor:
        """See the class."""
        if self.stem_conv is not None:
            x = ops.relu6(self.stem_norm(self.stem_conv(x), training=False))
        for block in self.blocks:
            x = block(x)
        if self.head_conv is not None:
            x = ops.relu6(self.head_norm(self.head_conv(x), training=False))
        return x

    def parts(self) -> dict[str, keras.layers.Layer]:
        """Return the convolutions and normalisations of a built layer by their names in the whole network.

        They are `stem_conv`, `stem_norm`, `block_3.expand_conv`, `.expand_norm`, `.depthwise_conv`, `.depthwise_norm`,
        `.project_conv`, `.project_norm` (blocks counted from 0 over all stages), `head_conv` and `head_norm`.
        """
        found: dict[str, keras.layers.Layer] = {}
        if self.stem_conv is not None:
            found |= {"stem_conv": self.stem_conv, "stem_norm": self.stem_norm}
        for number, block in zip(self.block_numbers, self.blocks, strict=True):
            for step in ("expand", "depthwise", "project"):
                if step != "expand" or block.expand_conv is not None:
                    for kind in ("conv", "norm"):
                        found[f"block_{number}.{step}_{kind}"] = getattr(block, f"{step}_{kind}")
        if self.head_conv is not None:
            found |= {"head_conv": self.head_conv, "head_norm": self.head_norm}
        return found

    def get_config(self) -> dict[str, Any]:
        """Every constructor argument."""
        return {
            **super().get_config(),
            "variant": self.variant,
            "first": self.first,
            "last": self.last,
            "width": self.width,
            "depth": self.depth,
            "head": self.head,
        }


def blocks_of_stages(variant: str, depth: float | None = None) -> list[int]:
    """Return how many blocks each of the stages 1 to 7 has; `depth` takes the place of the variant's factor."""
    factor = depth or VARIANTS[variant].depth
    counts = [stage[0] for stage in STAGES]
    return [counts[0], *(math.ceil(factor * count) for count in counts[1:-1]), counts[-1]]


def _scaled(channels: int, width: float) -> int:
    """Return `channels * width` as a multiple of 8 that is not over a tenth smaller."""
    exact = channels * width
    rounded = max(8, int(exact + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * exact else rounded
