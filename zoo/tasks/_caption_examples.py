"""Training examples of captioning, a batch at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from zoo.datasets import Record, Source, is_streamed, sample_indices
from zoo.errors import DataError
from zoo.preprocess.captioning import END, PADDING, START, CaptionPreprocessor
from zoo.preprocess.image import load_image
from zoo.tasks._pictures import picture_of

SAMPLED = 50_000
"""Most pictures whose captions a vocabulary, or a baseline, is made of."""

# Decoded pictures and tokens are kept up to this size; above it, and of shards always, nothing is.
_KEPT_BYTES = 1 << 30

_THREADS = 8

_SHIFT = 0.12  # of the picture's side, at strength 1
_SCALE = 0.2
_BRIGHTNESS = 0.05  # small: colours such as skin tones are named in captions


class TrainingCaptions:
    """The captions of a training split, as often as they are gone through; at most those of `SAMPLED` records."""

    def __init__(self, source: Source) -> None:
        """Keep the source."""
        self._source = source

    def __iter__(self) -> Iterator[str]:
        """Read the records one by one."""
        for index in sample_indices(len(self._source), SAMPLED).tolist():
            yield from self._source[index]["captions"]


class CaptionExamples:
    """Pictures with captions as `image`, `tokens` -> next tokens.

    In training a picture with several captions gets one of them at random each time (a caption given twice is twice as
    likely), and the picture is moved, scaled and brightened a little. Without a random generator it is the first
    caption and the picture as it is.

    What fits into a gigabyte is decoded once and kept. Of more, and of a streamed source, nothing is kept: records are
    read, decoded and encoded for every batch.

    Args:
        source: Records with `image` and `captions`.
        preprocessor: Fitted.
        augment: Strength of the changes to pictures, 0 to 1.

    Raises:
        DataError: If a picture cannot be read or a record has no caption; of what is not kept, once it is read.
    """

    def __init__(self, source: Source, preprocessor: CaptionPreprocessor, augment: float = 0.0) -> None:
        self._source = source
        self._preprocessor = preprocessor
        self._augment = augment
        height, width = preprocessor.image_size
        self._pool: ThreadPoolExecutor | None = None
        self._kept: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None
        if not is_streamed(source) and len(source) * height * width * 3 <= _KEPT_BYTES:
            self._kept = self._read_all()
        else:
            self._pool = ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1), "pictures")

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self._source)

    def batch(
        self, indices: np.ndarray, rng: np.random.Generator | None
    ) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
        """Return inputs, targets int32 (B, T) and weights float32 (B, T), 0 at padding."""
        drawn = np.zeros(len(indices)) if rng is None else rng.random(len(indices))
        if self._kept is None:
            images, targets = self._read(indices, drawn)
        else:
            kept, tokens, first = self._kept
            counts = first[indices + 1] - first[indices]
            images, targets = kept[indices], tokens[first[indices] + (drawn * counts).astype(np.int64)]
        if rng is not None:
            images = augment_images(images, rng, self._augment)
        shifted = np.concatenate([np.full((len(targets), 1), START, np.int32), targets[:, :-1]], axis=1)
        shifted[shifted == END] = PADDING  # nothing follows the end
        return {"image": images, "tokens": shifted}, targets, (targets != PADDING).astype(np.float32)

    def images(self, indices: np.ndarray, rng: np.random.Generator | None) -> np.ndarray:
        """Return the pictures alone, uint8 (B, H, W, 3); augmented where there is a random generator."""
        found = self._read(indices, np.zeros(len(indices)))[0] if self._kept is None else self._kept[0][indices]
        return found if rng is None else augment_images(found, rng, self._augment)

    def _read_all(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return all pictures, the targets of all captions, and where those of every picture begin (and the end)."""
        images = np.empty((len(self._source), *self._preprocessor.image_size, 3), np.uint8)
        rows, counts = [], []
        for index in range(len(self._source)):
            record = _checked(self._source[index])
            images[index] = self._image(record)
            rows += [self._targets(caption) for caption in record["captions"]]
            counts.append(len(record["captions"]))
        return images, np.array(rows, np.int32).reshape(-1, self._preprocessor.max_length), np.cumsum([0, *counts])

    def _read(self, indices: np.ndarray, drawn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return pictures and targets; `drawn`, in [0, 1), says which caption."""
        assert self._pool is not None
        records = [_checked(self._source[int(index)]) for index in indices]
        images = np.empty((len(records), *self._preprocessor.image_size, 3), np.uint8)
        for row, image in enumerate(self._pool.map(self._image, records)):
            images[row] = image
        captions = [
            record["captions"][int(part * len(record["captions"]))] for record, part in zip(records, drawn, strict=True)
        ]
        rows = [self._targets(caption) for caption in captions]
        return images, np.array(rows, np.int32).reshape(-1, self._preprocessor.max_length)

    def _image(self, record: Record) -> np.ndarray:
        return picture_of(record, lambda image: load_image(image, self._preprocessor.image_size))

    def _targets(self, caption: str) -> list[int]:
        length = self._preprocessor.max_length
        ids = [*self._preprocessor.encode(caption), END][:length]
        return ids + [PADDING] * (length - len(ids))


def _checked(record: Record) -> Record:
    if not record["captions"]:
        raise DataError(f"The record '{record['id']}' has no caption; give it one or remove it.")
    return record


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
