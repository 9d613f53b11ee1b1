"""Hiding parts of a picture: which cells of an attention map, and what their pixels become."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from zoo.config import BaseConfig, setting
from zoo.errors import DataError

DROPS = {"most": "most", "other": "others'", "random": "random", "least": "least"}
"""What is hidden, with its short name: the word's most attended cells, those of the caption's other words (mean over
them), a region of such a shape at random (mean over the draws), the word's least attended cells."""


@dataclass(frozen=True)
class Deletion(BaseConfig):
    """How parts of a picture are hidden.

    Hidden pixels take the mean colour of the whole picture by default. It removes shape, texture and colour, whereas a
    blur leaves the colour, and with it what words such as "red" or "grass" rest on; black would be a thing of its own.
    """

    share: float = setting(0.2, low=0.01, high=0.5)
    """Share of the map's cells that is hidden; at least one cell."""
    fill: str = setting("mean", choices=("mean", "blur"))
    """What hidden pixels become: "mean", the picture's mean colour, or "blur", blurred by the size of a cell."""
    draws: int = setting(8, low=1, high=1000)
    """Regions at random; the mean over them is the control."""
    seed: int = setting(0, low=0, high=2**32 - 1)
    """Seed of the random regions."""

    def cells(self, grid: tuple[int, int]) -> int:
        """Return how many cells of a map (h, w) are hidden.

        Raises:
            DataError: If the map has one cell only, so that no part of it can be compared with another.
        """
        total = grid[0] * grid[1]
        if total < 2:
            raise DataError("The model's attention has one cell only: there is no part to hide and compare.")
        return max(1, int(self.share * total + 1e-9))


def extremes(maps: np.ndarray, cells: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the most and the least attended cells of maps float (W, h, w), each bool (W, h, w) with `cells` true.

    Of equal cells the first in reading order counts as more attended.
    """
    order = np.argsort(-maps.reshape(len(maps), -1), axis=1, kind="stable")
    found = np.zeros((2, *order.shape), bool)
    np.put_along_axis(found[0], order[:, :cells], True, axis=1)
    np.put_along_axis(found[1], order[:, order.shape[1] - cells :], True, axis=1)
    most, least = found.reshape(2, *maps.shape)
    return most, least


def moved_regions(regions: np.ndarray, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Return regions of the same shapes at random places: bool (W, h, w) -> bool (draws, h, w).

    Each is one of the regions, drawn at random, shifted over the edges of the map by at least one cell: scattered cells
    would be another kind of damage than the patch that attention mostly is.
    """
    height, width = regions.shape[1:]
    moved = []
    for _ in range(draws):
        down, right = divmod(int(rng.integers(1, height * width)), width)
        moved.append(np.roll(regions[rng.integers(len(regions))], (down, right), axis=(0, 1)))
    return np.stack(moved)


def hide(image: np.ndarray, regions: np.ndarray, fill: str = "mean") -> np.ndarray:
    """Return a picture once for every region, with the region's pixels filled.

    Args:
        image: uint8 (H, W, 3).
        regions: bool (N, h, w), cells of a grid laid over the picture.
        fill: As in `Deletion`.

    Returns:
        uint8 (N, H, W, 3).
    """
    height, width = image.shape[:2]
    rows = np.arange(height) * regions.shape[1] // height
    columns = np.arange(width) * regions.shape[2] // width
    pixels = regions[:, rows[:, None], columns[None]][..., None]
    if fill == "blur":
        cell = max(height / regions.shape[1], width / regions.shape[2])
        filling = np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(cell)))
    else:
        filling = np.rint(image.mean(axis=(0, 1))).astype(np.uint8)
    return np.where(pixels, filling, image)
