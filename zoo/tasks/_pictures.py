"""Pictures of records, for the tasks that read them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from zoo.datasets import Record, Source
from zoo.errors import DataError
from zoo.preprocess import RawInput
from zoo.preprocess.image import decode_image, load_image
from zoo.tasks._base import spread

_RAW_PIXELS = 128 * 128  # golden pictures with more pixels are stored in the model's size


def picture_of(record: Record, load: Callable[[Any], np.ndarray]) -> np.ndarray:
    """Return what `load` makes of a record's picture.

    Raises:
        DataError: If it cannot be read; the message has the record's id.
    """
    try:
        return load(record["image"])
    except DataError as error:
        raise DataError(f"Record '{record['id']}': {error}") from error


def requested_pictures(
    source: Source, size: tuple[int, int], limit: int | None
) -> tuple[list[Record], np.ndarray, Callable[[int], RawInput]]:
    """Return records (evenly spread if there are over `limit`), their pictures, and `Requests.raw` for them.

    The records are without `image`, which may be the bytes of a large file.

    Args:
        source: Records with `image`.
        size: (height, width) of the pictures, which are uint8 (N, height, width, 3).
        limit: Most records; all when None.
    """
    kept = spread(len(source), limit).tolist()
    records: list[Record] = []
    images = np.zeros((len(kept), *size, 3), np.uint8)
    for row, index in enumerate(kept):
        record = source[index]
        images[row] = picture_of(record, lambda image: load_image(image, size))
        records.append({name: value for name, value in record.items() if name != "image"})

    def raw(index: int) -> RawInput:
        image = decode_image(source[kept[index]]["image"])
        small = image.width * image.height <= max(_RAW_PIXELS, images[index].size // 3)
        return RawInput.of_image(np.asarray(image) if small else images[index])

    return records, images, raw
