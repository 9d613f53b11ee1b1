"""Training examples of captioning, a batch at a time."""

from __future__ import annotations

from typing import Any

import numpy as np

from zoo.datasets import Source
from zoo.errors import DataError
from zoo.preprocess.captioning import END, PADDING, START, CaptionPreprocessor
from zoo.preprocess.image import load_image

_KEPT_BYTES = 1 << 30  # decoded pictures are kept up to this size, above it they are decoded for every batch

_SHIFT = 0.12  # of the picture's side, at strength 1
_SCALE = 0.2
_BRIGHTNESS = 0.05  # small: colours such as skin tones are named in captions


class CaptionExamples:
    """Pictures with captions as `image`, `tokens` -> next tokens.

    In training a picture with several captions gets one of them at random each time (a caption given twice is twice as
    likely), and the picture is moved, scaled and brightened a little. Without a random generator it is the first
    caption and the picture as it is.

    Args:
        source: Records with `image` and `captions`.
        preprocessor: Fitted.
        augment: Strength of the changes to pictures, 0 to 1.

    Raises:
        DataError: If a picture cannot be read or a record has no caption.
    """

    def __init__(self, source: Source, preprocessor: CaptionPreprocessor, augment: float = 0.0) -> None:
        self._source = source
        self._size = preprocessor.image_size
        self._augment = augment
        length = preprocessor.max_length
        rows, counts = [], []
        for i in range(len(source)):
            captions = source[i]["captions"]
            if not captions:
                raise DataError(f"The record '{source[i]['id']}' has no caption; give it one or remove it.")
            counts.append(len(captions))
            for caption in captions:
                ids = [*preprocessor.encode(caption), END][:length]
                rows.append(ids + [PADDING] * (length - len(ids)))
        self._targets = np.array(rows, np.int32).reshape(-1, length)
        self._counts = np.array(counts, np.int64)
        self._first = np.cumsum(self._counts) - self._counts
        self._images: np.ndarray | None = None
        if len(source) * self._size[0] * self._size[1] * 3 <= _KEPT_BYTES:
            self._images = self._load(np.arange(len(source)))

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self._counts)

    def batch(
        self, indices: np.ndarray, rng: np.random.Generator | None
    ) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
        """Return inputs, targets int32 (B, T) and weights float32 (B, T), 0 at padding."""
        images = self._load(indices) if self._images is None else self._images[indices]
        captions = self._first[indices]
        if rng is not None:
            captions = captions + (rng.random(len(indices)) * self._counts[indices]).astype(np.int64)
            images = augment_images(images, rng, self._augment)
        targets = self._targets[captions]
        tokens = np.concatenate([np.full((len(targets), 1), START, np.int32), targets[:, :-1]], axis=1)
        tokens[tokens == END] = PADDING  # nothing follows the end
        return {"image": images, "tokens": tokens}, targets, (targets != PADDING).astype(np.float32)

    def _load(self, indices: np.ndarray) -> np.ndarray:
        images = np.empty((len(indices), *self._size, 3), np.uint8)
        for row, index in enumerate(indices):
            images[row] = load_image(self._source[int(index)]["image"], self._size)
        return images


def augment_images(images: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    """Shift, scale (each axis by itself) and brighten pictures at random; borders are continued.

    There is no flip: left and right, and letters, matter to captions.

    Args:
        images: uint8 (B, H, W, 3).
        rng: Source of randomness.
        strength: 0 to 1; 0 returns the pictures themselves.

    Returns:
        uint8 (B, H, W, 3).
    """
    if strength <= 0.0:
        return images
    count, height, width = images.shape[:3]
    pixels = images.astype(np.float32)
    rows = np.arange(count)[:, None]
    for axis, side in ((1, height), (2, width)):
        scale = 1.0 + strength * _SCALE * rng.uniform(-1.0, 1.0, (count, 1))
        shift = strength * _SHIFT * side * rng.uniform(-1.0, 1.0, (count, 1))
        middle = (side - 1) / 2.0
        places = np.clip((np.arange(side) - middle) / scale + middle + shift, 0.0, side - 1.0)
        low = np.minimum(places.astype(np.int64), side - 2)
        part = (places - low).astype(np.float32)[..., None, None]
        turned: Any = pixels if axis == 1 else pixels.swapaxes(1, 2)
        mixed = turned[rows, low] * (1.0 - part) + turned[rows, low + 1] * part
        pixels = mixed if axis == 1 else mixed.swapaxes(1, 2)
    gain = 1.0 + strength * _BRIGHTNESS * rng.uniform(-1.0, 1.0, (count, 1, 1, 1)).astype(np.float32)
    return np.clip(pixels * gain + 0.5, 0.0, 255.0).astype(np.uint8)
