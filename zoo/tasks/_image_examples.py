"""Training examples of image classification, a batch at a time."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from zoo.datasets import Source
from zoo.preprocess.image import load_image
from zoo.preprocess.image_classification import ImagePreprocessor
from zoo.tasks._base import Arrays
from zoo.tasks._caption_examples import augment_images
from zoo.tasks._pictures import picture_of
from zoo.tasks._text_examples import class_weights, label_numbers
from zoo.training.features import FrozenFeatures

# Decoded pictures are kept up to this size; of more, those of a batch are read when it is asked for.
_KEPT_BYTES = 1 << 30

_THREADS = 8


class Labels:
    """One-hot classes of a split, with the weights of rare ones.

    In training, example i of class c has the weight `(N / (C * N_c)) ** balance`, scaled to a mean of 1: 0 leaves the
    classes as frequent as they are, 1 makes them count the same.

    Args:
        source: Records with `label`.
        preprocessor: Fitted.
        balance: See above.

    Raises:
        DataError: If a label is not among the classes of the training split.
    """

    def __init__(self, source: Source, preprocessor: Any, balance: float) -> None:
        self._count = len(preprocessor.class_names)
        # One record at a time: pictures in an archive are read with their records.
        records = (source[i] for i in range(len(source)))
        self._numbers = label_numbers([{"id": one["id"], "label": one["label"]} for one in records], preprocessor)
        self._weights = class_weights(np.bincount(self._numbers, minlength=self._count), balance)

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self._numbers)

    def batch(self, indices: np.ndarray, training: bool) -> tuple[np.ndarray, np.ndarray | None]:
        """Return targets float32 (B, C), and weights float32 (B,) in training where classes are balanced."""
        numbers = self._numbers[indices]
        weights = self._weights[numbers] if training and self._weights is not None else None
        return (numbers[:, None] == np.arange(self._count)).astype(np.float32), weights


class ImageExamples:
    """Pictures with one-hot classes; in training they are moved, scaled and brightened a little.

    What fits into a gigabyte is decoded once and kept.

    Args:
        source: Records with `image` and `label`.
        preprocessor: Fitted.
        balance: See `Labels`.
        augment: Strength of the changes to pictures, 0 to 1.

    Raises:
        DataError: If a picture cannot be read; of what is not kept, once it is read.
    """

    def __init__(
        self, source: Source, preprocessor: ImagePreprocessor, balance: float = 0.0, augment: float = 0.0
    ) -> None:
        self._source, self._size, self._augment = source, preprocessor.image_size, augment
        self._labels = Labels(source, preprocessor, balance)
        self._pool = ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1), "pictures")
        self._kept: np.ndarray | None = None
        if len(source) * self._size[0] * self._size[1] * 3 <= _KEPT_BYTES:
            self._kept = self._read(np.arange(len(source)))

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self._labels)

    def batch(self, indices: np.ndarray, rng: np.random.Generator | None) -> tuple[Arrays, Any, np.ndarray | None]:
        """Return ({"image": uint8 (B, H, W, 3)}, targets (B, C), weights (B,) or None)."""
        images = self._read(indices) if self._kept is None else self._kept[indices]
        if rng is not None:
            images = augment_images(images, rng, self._augment)
        return {"image": images}, *self._labels.batch(indices, rng is not None)

    def _read(self, indices: np.ndarray) -> np.ndarray:
        images = np.empty((len(indices), *self._size, 3), np.uint8)
        for row, image in enumerate(self._pool.map(self._image, indices.tolist())):
            images[row] = image
        return images

    def _image(self, index: int) -> np.ndarray:
        return picture_of(self._source[index], lambda image: load_image(image, self._size))


class FeatureExamples:
    """Stored features of pictures with one-hot classes; in training each in one of its views at random.

    Args:
        store: The features of the split.
        labels: Its classes.
    """

    def __init__(self, store: FrozenFeatures, labels: Labels) -> None:
        self._store, self._labels = store, labels

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self._labels)

    def batch(self, indices: np.ndarray, rng: np.random.Generator | None) -> tuple[Arrays, Any, np.ndarray | None]:
        """Return ({"frozen": float16 (B, ...)}, targets (B, C), weights (B,) or None)."""
        return {"frozen": self._store.draw(indices, rng)}, *self._labels.batch(indices, rng is not None)
