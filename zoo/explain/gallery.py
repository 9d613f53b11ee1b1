"""All pictures of a folder answered, and one page that shows them: a caption's words light up where the model looked.

The page needs nothing else, no script and no network, and its size is bounded: pictures are reduced to JPEG thumbnails
of at most 40 kB, and a word's map is a PNG of at most 16 x 16 pixels, which the browser makes smooth.
"""

from __future__ import annotations

import base64
import io
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from zoo.errors import ConfigError, DataError, printable
from zoo.explain.captions import heat_colours
from zoo.preprocess import Preprocessor
from zoo.preprocess.image import SUFFIXES, decode_image
from zoo.results import Result

if TYPE_CHECKING:
    from zoo.export.runtime import Edge
    from zoo.run import Run

MOST = 500
"""Pictures of a folder that are answered unless another limit is given."""

_EDGE, _LARGEST = 400, 40_000  # pixels of a thumbnail's longer side, and its bytes
_QUALITIES = (82, 70, 55, 40, 25, 10)
_CELLS = 16
_PAUSE = 0.5  # seconds between two lines of progress
_STRENGTH = 0.8  # opacity of the most attended cell


@dataclass(frozen=True)
class Answered:
    """A picture of a folder.

    Attributes:
        name: Its file name, safe to print.
        result: The answer; None if the picture cannot be read.
        problem: Why it cannot be read, or "".
        thumbnail: JPEG bytes; empty if it cannot be read or none was wanted.
        size: (width, height) of the thumbnail in pixels.
    """

    name: str
    result: Result | None
    problem: str = ""
    thumbnail: bytes = b""
    size: tuple[int, int] = (0, 0)


def takes_pictures(preprocessor: Preprocessor) -> bool:
    """Tell whether a model's input is a picture."""
    inputs, _ = preprocessor.interface()
    return set(inputs) == {"image"}


def find_pictures(folder: str | os.PathLike[str]) -> list[Path]:
    """Return the pictures of a folder by the ends of their names, sorted; not those of folders in it, nor hidden ones.

    A file gives a list of itself.

    Raises:
        DataError: If the folder does not exist, cannot be read or has no picture.
    """
    path = Path(folder)
    try:
        if not path.is_dir():
            if not path.exists():
                raise DataError(f"There is no file or folder '{path}'; name a picture or a folder of pictures.")
            return [path]
        found = [
            entry
            for entry in path.iterdir()
            if entry.suffix.lower() in SUFFIXES and not entry.name.startswith(".") and not entry.is_dir()
        ]
    except OSError as error:
        raise DataError(f"Cannot read the folder '{path}': {error.strerror or error}.") from error
    if not found:
        raise DataError(f"The folder '{path}' has no picture: no file name ends in {', '.join(SUFFIXES)}.")
    return sorted(found, key=lambda entry: entry.name)


def answer_pictures(
    predictor: Run | Edge,
    paths: Sequence[Path],
    *,
    thumbnails: bool = False,
    progress: Callable[[str], None] | None = None,
    **options: Any,
) -> Iterator[Answered]:
    """Answer pictures one after another; one that cannot be read is an entry with the reason, not an error.

    Args:
        predictor: A run or an open file whose task takes pictures.
        paths: The pictures.
        thumbnails: Whether to make thumbnails.
        progress: Is told what is done next.
        **options: Of `predict`.

    Raises:
        ConfigError: If the task takes no pictures.
    """
    if not takes_pictures(predictor.preprocessor):
        raise ConfigError(f"'{predictor.name}' does not take pictures, so it has no gallery and answers no folder.")
    said = float("-inf")
    for number, path in enumerate(paths):
        name = printable(path.name)
        if progress is not None and time.monotonic() > said + _PAUSE:
            said = time.monotonic()
            progress(f"Picture {number + 1} of {len(paths)}: {name}")
        try:
            picture = decode_image(path)
            result = predictor.predict(picture, **options)
        except DataError as error:
            yield Answered(name, None, str(error).replace(printable(str(path)), name))
            continue
        if thumbnails:
            content, size = _thumbnail(picture)
            yield Answered(name, result, "", content, size)
        else:
            yield Answered(name, result)


def write_gallery(
    path: str | os.PathLike[str], answers: Sequence[Answered], preprocessor: Preprocessor, *, model: str, note: str = ""
) -> None:
    """Write answered pictures with thumbnails as one HTML page.

    Args:
        path: The page.
        answers: What `answer_pictures` yields.
        preprocessor: Of the model that answered.
        model: What the page calls the model.
        note: A sentence below the title, or "".

    Raises:
        DataError: If none of the pictures could be read.
    """
    from zoo.explain._gallery_page import render_gallery
    from zoo.files import write_text

    if not any(answer.result for answer in answers):
        raise DataError(f"None of the pictures could be read; the first: {answers[0].problem}")
    write_text(path, render_gallery(answers, preprocessor, model=model, note=note))


def map_png(weights: np.ndarray) -> bytes:
    """Return an attention map, float (h, w), as a small PNG to be laid over a picture: the less attended, the clearer.

    Maps over 16 x 16 are reduced to that.
    """
    picture = Image.fromarray(np.asarray(weights, np.float32))
    size = (min(picture.width, _CELLS), min(picture.height, _CELLS))
    if size != picture.size:
        picture = picture.resize(size, Image.Resampling.BOX)
    heat = np.asarray(picture, np.float64)
    heat = np.clip(heat / max(float(heat.max()), 1e-12), 0.0, 1.0)
    pixels = np.concatenate([heat_colours(heat), 255 * _STRENGTH * heat[..., None]], axis=-1)
    buffer = io.BytesIO()
    Image.fromarray(np.rint(pixels).astype(np.uint8)).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def address(content: bytes, kind: str) -> str:
    """Return bytes as a `data:` address; `kind` is "png" or "jpeg"."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _thumbnail(picture: Image.Image) -> tuple[bytes, tuple[int, int]]:
    """Return a JPEG of at most 400 pixels a side and 40 kB, and its (width, height)."""
    small = picture.copy()
    small.thumbnail((_EDGE, _EDGE), Image.Resampling.LANCZOS)
    for quality in _QUALITIES:
        buffer = io.BytesIO()
        small.save(buffer, "JPEG", quality=quality, optimize=True)
        if buffer.tell() <= _LARGEST:
            break
    return buffer.getvalue(), small.size
