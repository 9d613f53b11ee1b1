"""The preprocessor of image classifiers: its files, what it makes of pictures and of probabilities."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from zoo.errors import DataError, ModelFileError
from zoo.preprocess import load
from zoo.preprocess.image_classification import SHOWN, ImagePreprocessor

LABELS = ("red fox", "arctic fox", "白狐", 'o\'fox, "grey"')
PICTURES = ImagePreprocessor(LABELS, image_size=(6, 9))


def test_files_go_round() -> None:
    files = PICTURES.files()
    assert files["labels.txt"].decode() == "".join(f"{label}\n" for label in LABELS)
    again = load(files)
    assert isinstance(again, ImagePreprocessor)
    assert again.class_names == LABELS and again.image_size == (6, 9) and again.files() == files


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("labels.txt", lambda content: b"one\n"),
        ("labels.txt", lambda content: b"a\na\n"),
        ("labels.txt", lambda content: b"a\n\nb\n"),
        ("labels.txt", lambda content: b"a\nb\x1b[2J\n"),
        ("labels.txt", lambda content: b"a\n\xff\n"),
        ("labels.txt", lambda content: b"a" * 300 + b"\nb\n"),
        ("preprocessor.json", lambda content: content.replace(b'"format_version": 1', b'"format_version": 2')),
        ("preprocessor.json", lambda content: content.replace(b'"height": 6', b'"height": 0')),
        ("preprocessor.json", lambda content: content.replace(b'"height": 6', b'"height": 1e9')),
        ("preprocessor.json", lambda content: content.replace(b'"image"', b'"picture"')),
    ],
)
def test_damaged_files(file: str, change: Callable[[bytes], bytes]) -> None:
    files = PICTURES.files()
    changed = change(files[file])
    assert changed != files[file]
    with pytest.raises(ModelFileError, match="image_classification preprocessor is damaged"):
        load({**files, file: changed})


def test_missing_labels() -> None:
    with pytest.raises(ModelFileError, match="labels.txt"):
        load({"preprocessor.json": PICTURES.files()["preprocessor.json"]})


@pytest.mark.parametrize("size", [(0, 5), (5,), (5, 5000), (5.0, 5)])
def test_sizes(size: Any) -> None:
    with pytest.raises(ValueError, match="image size"):
        ImagePreprocessor(LABELS, image_size=size)


def test_requests() -> None:
    array = PICTURES.request(Image.new("L", (40, 20), 7))["image"]
    assert array.shape == (1, 6, 9, 3) and array.dtype == np.uint8 and (array == 7).all()
    with pytest.raises(DataError, match="No such file"):
        PICTURES.request("nowhere.png")


def test_results() -> None:
    outputs = {
        "probabilities": np.float32([[0.1, 0.4, 0.1, 0.4]]),
        "attention": np.float32([[[0.25, 0.5], [0.25, 0]]]),
    }
    result = PICTURES.result({}, outputs)
    assert result.label == "arctic fox"  # the first of equals
    assert list(result.probabilities) == ["arctic fox", LABELS[3], "red fox", "白狐"]
    assert result.attention.shape == (2, 2) and str(result) == "arctic fox  (0.400)"


def test_of_many_classes_the_most_probable_are_named() -> None:
    many = ImagePreprocessor([f"class {i}" for i in range(1000)], image_size=(6, 9))
    probabilities = np.linspace(0, 1, 1000, dtype=np.float32)
    result = many.result({}, {"probabilities": probabilities[None], "attention": np.ones((1, 1, 1), np.float32)})
    assert list(result.probabilities) == [f"class {i}" for i in range(999, 999 - SHOWN, -1)]


def test_the_description_is_plain_json() -> None:
    description = json.loads(PICTURES.files()["preprocessor.json"])
    assert description["kind"] == "image_classification"
    assert description["image"] == {
        "height": 6,
        "width": 9,
        "channels": "RGB",
        "background": [255, 255, 255],
        "resize": "bilinear-antialias",
    }
