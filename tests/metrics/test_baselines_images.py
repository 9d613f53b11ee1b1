"""The plain image-classification baselines on pictures whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from zoo.errors import DataError
from zoo.metrics.baselines_images import mean_colour_classes, nearest_image_classes


def plain(*colours: tuple[int, int, int]) -> np.ndarray:
    return np.stack([np.full((8, 8, 3), colour, np.uint8) for colour in colours])


TRAIN = plain((250, 0, 0), (200, 0, 0), (0, 0, 250), (0, 0, 240))
LABELS = np.array([2, 2, 0, 0])


def test_nearest_picture() -> None:
    asked = plain((230, 10, 0), (0, 0, 150))
    for size in (1, 8):
        assert nearest_image_classes(TRAIN, LABELS, asked, size).tolist() == [2, 0]
    with pytest.raises(DataError, match="4 pictures and 3 labels"):
        nearest_image_classes(TRAIN, LABELS[:3], asked, 8)


def test_nearest_mean_colour_is_that_of_the_class() -> None:
    train = plain((0, 0, 0), (100, 0, 0), (60, 0, 0))
    # The nearest picture is the third one, the nearest mean of a class is that of the other two, 50.
    assert nearest_image_classes(train, np.array([0, 0, 1]), plain((54, 0, 0)), 8).tolist() == [1]
    assert mean_colour_classes(train, np.array([0, 0, 1]), plain((54, 0, 0))).tolist() == [0]
    assert mean_colour_classes(train, np.array([0, 0, 1]), plain((56, 0, 0))).tolist() == [1]


def test_layout_does_not_matter_to_the_mean_colour() -> None:
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (1, 8, 8, 3)).astype(np.uint8)
    flipped = picture[:, ::-1, ::-1]
    other = plain((0, 0, 0))
    assert mean_colour_classes(np.concatenate([picture, other]), np.array([4, 1]), flipped).tolist() == [4]
