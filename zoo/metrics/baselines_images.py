"""Plain image-classification baselines: the class of the nearest training picture, and of the nearest mean colour."""

from __future__ import annotations

import numpy as np

from zoo.errors import DataError
from zoo.metrics.baselines_captions import nearest_indices

SIZES = (32, 8)
"""Edge lengths in pixels at which pictures are compared."""


def nearest_image_classes(
    train_images: np.ndarray, train_labels: np.ndarray, test_images: np.ndarray, size: int
) -> np.ndarray:
    """Return the class of the training picture with the least L2 distance, int64 (M,).

    Args:
        train_images: uint8 (N, H, W, 3).
        train_labels: int (N,).
        test_images: uint8 (M, H, W, 3).
        size: Both are resized to `size` x `size` pixels before the comparison.

    Raises:
        DataError: If the arrays are no pictures, or labels and pictures are not as many.
    """
    if len(train_images) != len(train_labels):
        raise DataError(f"The baseline got {len(train_images)} pictures and {len(train_labels)} labels; give as many.")
    return np.asarray(train_labels, np.int64)[nearest_indices(train_images, test_images, size)]


def mean_colour_classes(train_images: np.ndarray, train_labels: np.ndarray, test_images: np.ndarray) -> np.ndarray:
    """Return the class whose pictures' mean colour, averaged over them, is nearest to the picture's, int64 (M,).

    Args:
        train_images: uint8 (N, H, W, 3).
        train_labels: int (N,).
        test_images: uint8 (M, H, W, 3).
    """
    colours, asked = (images.mean(axis=(1, 2), dtype=np.float64) for images in (train_images, test_images))
    labels = np.asarray(train_labels, np.int64)
    classes = np.unique(labels)
    centres = np.stack([colours[labels == one].mean(axis=0) for one in classes])
    return np.asarray(classes[np.square(asked[:, None] - centres).sum(-1).argmin(axis=1)])
