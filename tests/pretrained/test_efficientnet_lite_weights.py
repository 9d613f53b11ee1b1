"""Published weights in our layers, against logits that the original PyTorch networks gave to real photographs.

The logits were stored by tests/fixtures/efficientnet_lite/make.py: the package efficientnet_lite_pytorch 0.1.0 under
torch 2.13.0, on pictures that `load_image` made from the same files as here.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import sklearn.datasets
from keras import ops

from zoo.errors import ConfigError, ModelFileError, UnknownNameError
from zoo.layers.efficientnet_lite import IMAGE_SIZES, VARIANTS, EfficientNetLite
from zoo.preprocess.image import load_image
from zoo.pretrained.efficientnet_lite import check_efficientnet_lite, load_efficientnet_lite
from zoo.pretrained.index import Weights, find_weights, weights_names
from zoo.pretrained.sources import locate

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures"
FOLDERS = (FIXTURES / "photos", Path(sklearn.datasets.__file__).parent / "images")
PHOTOS = sorted((path for folder in FOLDERS for path in folder.glob("*.jpg")), key=lambda path: path.name)
CLASSES = {"chelsea": 285, "coffee": 967}  # Egyptian cat, espresso; the variants differ on china.jpg


def classifier(classes: int = 1000) -> keras.layers.Dense:
    layer = keras.layers.Dense(classes)
    layer.build((None, 1280))
    return layer


def answer(layers: list[EfficientNetLite], head: keras.layers.Dense, pictures: np.ndarray) -> np.ndarray:
    x = (pictures.astype(np.float32) - 127) / 128
    for layer in layers:
        x = layer(x)
    return ops.convert_to_numpy(head(ops.mean(x, axis=(1, 2))))


def copied(name: str, folder: Path, *changes: tuple[bytes, bytes]) -> Weights:
    """An entry for a copy of the published file with some bytes changed, and its own SHA-256."""
    entry = find_weights(name)
    content = locate(entry.source).read_bytes()
    for old, new in changes:
        assert old in content and len(old) == len(new)
        content = content.replace(old, new)
    path = folder / "copy.pth"
    path.write_bytes(content)
    return dataclasses.replace(entry, source=f"file:{path}", sha256=hashlib.sha256(content).hexdigest())


@pytest.mark.parametrize("name", weights_names())
def test_logits_of_photographs(name: str) -> None:
    entry = find_weights(name)
    with np.load(FIXTURES / "efficientnet_lite" / "logits.npz") as stored:
        expected = stored[name]
    size = entry.preprocessing.image_size
    pictures = np.stack([load_image(photo, (size, size)) for photo in PHOTOS])
    network, head = EfficientNetLite(entry.variant), classifier()
    load_efficientnet_lite([network], name, classifier=head)
    logits = answer([network], head, pictures)
    assert expected.shape == (6, 1000)
    np.testing.assert_allclose(logits, expected, atol=1e-3, rtol=0)
    np.testing.assert_array_equal(logits.argmax(axis=1), expected.argmax(axis=1))
    for photo, top in zip(PHOTOS, logits.argmax(axis=1), strict=True):
        assert CLASSES.get(photo.stem, top) == top
    trained = [*network.trainable_variables, *head.trainable_variables]
    assert sum(int(np.prod(variable.shape)) for variable in trained) == entry.parameters


@pytest.mark.full
def test_logits_on_jax(repository: Path) -> None:
    command = [
        sys.executable,
        "-P",
        "-m",
        "pytest",
        "-q",
        "-n0",
        "-k",
        "test_logits_of_photographs",
        str(Path(__file__)),
    ]
    environment = {**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        command, cwd=repository, env=environment, capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0 and f"{len(weights_names())} passed" in done.stdout, done.stdout[-3000:]


@pytest.mark.parametrize("cut", [0, 4, 7])
def test_a_network_in_two_layers(cut: int) -> None:
    pictures = load_image(PHOTOS[1], (64, 64))[None]
    whole, head = EfficientNetLite("lite0"), classifier()
    load_efficientnet_lite([whole], "efficientnet_lite0", classifier=head)
    lower, upper = EfficientNetLite("lite0", last=cut), EfficientNetLite("lite0", first=cut + 1)
    load_efficientnet_lite([lower], "efficientnet_lite0")
    load_efficientnet_lite([upper], "efficientnet_lite0")
    assert lower.channels == upper.input_channels and lower.stride * upper.stride == whole.stride == 32
    np.testing.assert_allclose(answer([lower, upper], head, pictures), answer([whole], head, pictures), atol=1e-4)


def test_half_precision_gives_the_same_class() -> None:
    pictures = load_image(PHOTOS[1], (224, 224))[None]
    network, head = EfficientNetLite("lite0", dtype="mixed_bfloat16"), classifier()
    load_efficientnet_lite([network], "efficientnet_lite0", classifier=head)
    assert answer([network], head, pictures).argmax() == CLASSES["chelsea"]


def test_the_known_answer() -> None:
    assert check_efficientnet_lite("efficientnet_lite0") < 1e-4
    entry = find_weights("efficientnet_lite0")
    assert entry.check is not None
    wrong = dataclasses.replace(entry, check=dataclasses.replace(entry.check, logit=entry.check.logit + 0.01))
    with pytest.raises(ModelFileError, match=r"answer class 722 with 5\.7"):
        check_efficientnet_lite(wrong)


def test_the_index_says_what_the_layers_take() -> None:
    entries = [find_weights(name) for name in weights_names()]
    assert {entry.variant: entry.preprocessing.image_size for entry in entries} == IMAGE_SIZES
    assert {entry.variant for entry in entries} == set(VARIANTS)
    with pytest.raises(UnknownNameError, match="Did you mean efficientnet_lite"):
        find_weights("efficientnet_lite3")


def test_a_flipped_bit_puts_nothing_into_the_network(tmp_path: Path) -> None:
    entry = find_weights("efficientnet_lite0")
    content = bytearray(locate(entry.source).read_bytes())
    content[len(content) // 2] ^= 4
    path = tmp_path / "flipped.pth"
    path.write_bytes(content)
    stem = EfficientNetLite("lite0", last=0)
    stem.build((None, None, None, 3))
    before = stem.get_weights()
    with pytest.raises(ModelFileError, match="damaged or not the ones expected: their SHA-256 is"):
        load_efficientnet_lite([stem], dataclasses.replace(entry, source=f"file:{path}"))
    for one, other in zip(stem.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)


def test_every_tensor_has_a_place(tmp_path: Path) -> None:
    renamed = copied("efficientnet_lite0", tmp_path, (b"_blocks.3._bn1.bias", b"_blocks.3._bn1.bios"))
    with pytest.raises(ModelFileError, match=r"lack _blocks\.3\._bn1\.bias \(1 tensors in all\)"):
        load_efficientnet_lite([EfficientNetLite("lite0")], renamed)
    moved = copied("efficientnet_lite0", tmp_path, (b"_fc.bias", b"_fb.bias"))
    with pytest.raises(ModelFileError, match=r"have _fb\.bias, which lite0 has not"):
        load_efficientnet_lite([EfficientNetLite("lite0")], moved)
    deeper = dataclasses.replace(find_weights("efficientnet_lite1"), variant="lite0")
    with pytest.raises(ModelFileError, match="does not fit|which lite0 has not"):
        load_efficientnet_lite([EfficientNetLite("lite0")], deeper)


def test_layers_that_are_not_the_published_network() -> None:
    name = "efficientnet_lite0"
    for layer in (EfficientNetLite("lite1", last=0), EfficientNetLite("lite0", last=0, width=0.5)):
        with pytest.raises(ConfigError, match="are of lite0 as published; the layer"):
            load_efficientnet_lite([layer], name)
    with pytest.raises(ConfigError, match=r"have the stage with block_0\.depthwise_conv; give each stage once"):
        load_efficientnet_lite([EfficientNetLite(last=1), EfficientNetLite(first=1, last=2)], name)
    with pytest.raises(ModelFileError, match=r"_fc\.weight .* has the shape \(1000, 1280\), which does not fit"):
        load_efficientnet_lite([EfficientNetLite()], name, classifier=classifier(10))
