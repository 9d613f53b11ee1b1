"""Picture to class: EfficientNet-Lite, global average pooling and one dense layer.

"EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks" (Tan and Le 2019, arXiv:1905.11946) in its
Lite form: no squeeze-and-excitation, ReLU6 in place of swish, stem and head not scaled, so that every operation is a
built-in one that quantises well.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from zoo.config import BaseConfig, setting
from zoo.registry import Architecture, Pretrained, register

if TYPE_CHECKING:
    import keras

_SIDES = {"lite0": 224, "lite1": 240, "lite2": 260}
_IMAGENET = {"imagenet": "lite0", "imagenet-lite1": "lite1", "imagenet-lite2": "lite2"}
_HEAD = 1280


class Parts(NamedTuple):
    """A classifier cut in two.

    Attributes:
        extract: The part that does not learn: `image` (B, H, W, 3), 0 to 255 -> features of any shape; float32.
        learn: The part that does: these as `frozen` -> `logits` (B, C). Its layers are those of the whole model.
    """

    extract: keras.Model
    learn: keras.Model


@register(
    "image_efficientnet_lite",
    task="image_classification",
    paper="Tan and Le 2019, EfficientNet (arXiv:1905.11946); Zhou et al. 2016, activation maps (arXiv:1512.04150)",
)
class ImageEfficientNetLite(Architecture):
    """An image classifier for small devices, with published ImageNet weights.

    1. `image` (B, H, W, 3), 0 to 255, is scaled by `(value - 127) / 128`.
    2. `lower` and `features`: `EfficientNetLite`, the stages before `finetune_from` and the others; (B, h, w, 1280).
    3. `classifier`: a dense layer of the map's mean; `logits` (B, C).

    With `start="imagenet"` training begins with the published weights: at first the classifier alone learns, in the
    stage of fine-tuning `features` too, `lower` never. With `start=None` everything learns, from random weights.
    """

    pretrained_weights = tuple(_IMAGENET)

    @dataclass(frozen=True)
    class Config(BaseConfig):
        """Configuration of `image_efficientnet_lite`; training sets `num_classes` to what the data has."""

        variant: str = setting("lite0", choices=tuple(_SIDES))
        """Size of the network: 4.7, 5.4 or 6.1 million parameters."""
        start: str | None = setting("imagenet", choices=("imagenet",))
        """What training begins with: published weights, or none (random ones)."""
        finetune_from: int = setting(6, low=1, high=8)
        """First of the stages 0 to 8 that the stage of fine-tuning trains; those before never learn."""
        num_classes: int = setting(1000, low=2, high=100_000)
        """Number of classes."""
        image_size: int | None = setting(None, low=32, high=1024)
        """Height and width of the picture in pixels; what suits the variant when not given (224, 240, 260)."""
        dropout: float = setting(0.2, low=0.0, high=0.9)
        """Share of the pooled features dropped in training."""
        balance: float = setting(0.5, low=0.0, high=1.0)
        """How far rare classes count more in training: 0 not at all, 1 as much in total as frequent ones."""
        views: str = setting("mirror", choices=("none", "mirror", "all"))
        """Variants of training pictures with published weights: as they are, mirrored too, or mirrored and turned by
        quarters (pictures from the air)."""
        augment: float = setting(0.5, low=0.0, high=1.0)
        """Strength of the shifts, scaling and brightness changes of training pictures without published weights."""
        width: float | None = setting(None, low=0.05, high=4.0)
        """Factor of the channels in place of the variant's; there are no published weights for another."""
        depth: float | None = setting(None, low=0.05, high=4.0)
        """Factor of the blocks in place of the variant's; likewise."""
        head: int = setting(_HEAD, low=8, high=4096)
        """Channels of the last map; likewise."""

        @property
        def side(self) -> int:
            """Height and width of the picture in pixels."""
            return self.image_size or _SIDES[self.variant]

        def check(self) -> None:
            """Check that published weights fit."""
            if self.start is not None and (self.width or self.depth or self.head != _HEAD):
                raise self.fail("start", "None where width, depth or head is not that of the variant")

    @classmethod
    def tiny(cls) -> ImageEfficientNetLite.Config:
        """Return a configuration small enough for a test."""
        return cls.Config(start=None, num_classes=3, image_size=48, width=0.1, depth=0.3, head=16)

    @classmethod
    def build(cls, config: ImageEfficientNetLite.Config) -> keras.Model:
        """Return the uncompiled model: `image` -> `logits`."""
        import keras

        from zoo.layers.efficientnet_lite import EfficientNetLite

        image = keras.Input((config.side, config.side, 3), dtype="float32", name="image")
        x = keras.layers.Rescaling(1 / 128, offset=-127 / 128, name="scale")(image)
        for name, stages in (
            ("lower", {"last": config.finetune_from - 1}),
            ("features", {"first": config.finetune_from}),
        ):
            x = EfficientNetLite(
                config.variant,
                width=config.width,
                depth=config.depth,
                head=config.head,
                name=name,
                trainable=config.start is None,
                **stages,
            )(x)
        x = keras.layers.GlobalAveragePooling2D(name="pooled")(x)
        x = keras.layers.Dropout(config.dropout, name="dropout")(x)
        x = keras.layers.Dense(config.num_classes, dtype="float32", name="classifier")(x)
        logits = keras.layers.Activation("linear", dtype="float32", name="logits")(x)
        return keras.Model({"image": image}, {"logits": logits}, name="image_efficientnet_lite")

    @classmethod
    def load_parts(cls, model: keras.Model, config: ImageEfficientNetLite.Config) -> None:
        """Put the published weights into all but the classifier.

        Raises:
            MissingExtraError: If the package that carries them is not installed.
            ModelFileError: If they are not what they should be.
        """
        if config.start is not None:
            from zoo.pretrained.efficientnet_lite import load_efficientnet_lite

            load_efficientnet_lite(_network(model), f"efficientnet_{config.variant}")

    @classmethod
    def pretrained(cls, weights: str) -> Pretrained:
        """Return ImageNet's 1,000 classes with the published weights, classifier included."""
        from zoo.preprocess.image_classification import ImagePreprocessor
        from zoo.pretrained.index import find_weights
        from zoo.pretrained.labels import imagenet_labels

        config = cls.Config(variant=_IMAGENET[weights])
        entry = find_weights(f"efficientnet_{config.variant}")

        def assign(model: keras.Model) -> None:
            from zoo.pretrained.efficientnet_lite import load_efficientnet_lite

            load_efficientnet_lite(_network(model), entry, classifier=model.get_layer("classifier"))

        return Pretrained(
            config=config,
            preprocessor=ImagePreprocessor(imagenet_labels(), image_size=(config.side, config.side)),
            assign=assign,
            licence=dataclasses.asdict(entry.licence),
        )

    @classmethod
    def cut(cls, model: keras.Model, config: ImageEfficientNetLite.Config, *, finetune: bool) -> Parts | None:
        """Cut a model where learning begins; None where all of it learns.

        Args:
            model: The whole model.
            config: Its configuration.
            finetune: Whether the stages from `finetune_from` on learn too.
        """
        if config.start is None:
            return None
        import keras

        from zoo.models._frozen import frozen_copy

        model.get_layer("features").trainable = finetune
        layers = model.layers[1:]
        first = [layer.name for layer in layers].index("features" if finetune else "dropout")
        extract = frozen_copy(layers[:first], model.inputs[0].shape[1:])
        frozen = keras.Input(extract.output.shape[1:], dtype="float16", name="frozen")
        x = frozen
        for layer in layers[first:]:
            x = layer(x)
        return Parts(extract, keras.Model({"frozen": frozen}, {"logits": x}, name="learn"))


def _network(model: keras.Model) -> list[Any]:
    return [model.get_layer("lower"), model.get_layer("features")]
