"""From any picture a person has to a uint8 RGB array of the model's size.

What every client must do the same way, in this order:

1. Decode the first frame; turn it as its EXIF orientation says.
2. Palette, grey, 16-bit grey (divided by 257 and rounded), CMYK, YCbCr, Lab and HSV become 8-bit RGB; transparency is
   laid over white. Floating-point pixels are refused: their scale is not known.
3. Resize to (height, width) with a triangle (bilinear) filter whose support grows with the reduction (antialiasing);
   the aspect ratio is not kept. A picture that already has the size is left as it is.
"""

from __future__ import annotations

import contextlib
import io
import os
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageOps

from zoo.errors import DataError
from zoo.preprocess._base import whole

MAX_IMAGE_PIXELS = 64_000_000
"""Pictures with more pixels are refused before they are decoded."""

MAX_IMAGE_BYTES = 256 << 20
"""Picture files with more bytes are refused before they are read."""

MAX_SIDE = 4096
"""Largest height and width of a model's pictures."""

_STRIP = 1 << 21  # pixels converted at once

FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM")
"""File formats that are read; others (such as EPS, which runs a program) are refused."""

SUFFIXES = (
    ".png",
    ".jpg",
    ".jpeg",
    ".jpe",
    ".jfif",
    ".gif",
    ".bmp",
    ".webp",
    ".tif",
    ".tiff",
    ".ppm",
    ".pgm",
    ".pbm",
    ".pnm",
)
"""How the names of pictures in a folder end, in small or capital letters."""

_LARGE = 25_000_000  # pictures with more pixels are decoded one at a time
_one_large = threading.Lock()


def checked_size(size: Any) -> tuple[int, int]:
    """Return the size of a model's pictures, (height, width) in pixels.

    Raises:
        ValueError: If it is not two whole numbers from 1 to `MAX_SIDE`.
    """
    if len(size) != 2 or not all(isinstance(side, int) and 1 <= side <= MAX_SIDE for side in size):
        raise ValueError(f"the image size {size} is not two numbers from 1 to {MAX_SIDE}")
    return size[0], size[1]


def describe_input(size: tuple[int, int]) -> dict[str, Any]:
    """Return what `preprocessor.json` says under `image`."""
    return {
        "height": size[0],
        "width": size[1],
        "channels": "RGB",
        "background": [255, 255, 255],
        "resize": "bilinear-antialias",
    }


def described_size(description: Any) -> tuple[int, int]:
    """Return (height, width) from what `describe_input` gave.

    Raises:
        KeyError, TypeError, ValueError: If it is damaged.
    """
    return whole(description["height"], "height", 1, MAX_SIDE), whole(description["width"], "width", 1, MAX_SIDE)


def load_image(value: Any, size: tuple[int, int]) -> np.ndarray:
    """Return a picture as the model takes it.

    Args:
        value: A path, encoded bytes, a PIL image, or an array: uint8 or bool (H, W), (H, W, 1), (H, W, 3) or
            (H, W, 4), or float of these shapes with values in 0 to 1.
        size: (height, width) in pixels.

    Returns:
        uint8 (height, width, 3).

    Raises:
        DataError: If the picture is missing, damaged, too large or of a kind not read.
    """
    image = decode_image(value)
    height, width = size
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(image, np.uint8).copy()


def decode_image(value: Any) -> Image.Image:
    """Return a picture upright, in RGB over white and in its own size; see `load_image` for what is accepted.

    Threads may decode several at once, but of those with over 25 million pixels only one, so that memory stays bounded.
    """
    if isinstance(value, Image.Image):
        return _upright_rgb(value, "The picture")
    if isinstance(value, np.ndarray):
        return _over_white(_from_array(value))
    if isinstance(value, (bytes, bytearray, memoryview)):
        return _upright_rgb(open_image(bytes(value)), "The picture")
    if isinstance(value, (str, os.PathLike)):
        path = Path(value)
        if path.exists() and not path.is_file():
            kind = "a folder" if path.is_dir() else "not a regular file"
            raise DataError(f"'{path}' is {kind}; give a picture file.")
        try:
            if path.stat().st_size > MAX_IMAGE_BYTES:
                raise DataError(f"'{path}' has over {MAX_IMAGE_BYTES >> 20} MiB; make the picture smaller.")
            content = path.read_bytes()
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise DataError(f"Cannot read the picture '{path}': {reason}.") from error
        name = f"The picture '{path}'"
        return _upright_rgb(open_image(content, name), name)
    raise DataError(f"A picture is a path, bytes, a PIL image or a numpy array, not {type(value).__name__}.")


def made_up_picture(height: int, width: int) -> np.ndarray:
    """Return fine stripes, a colour gradient and a disc, uint8 (height, width, 3): hard to resize in another way."""
    rows, columns = np.indices((height, width))
    stripes = 255 * ((rows + columns) // 3 % 2)
    picture = np.stack([stripes, 255 * rows // max(1, height - 1), 255 * columns // max(1, width - 1)], axis=-1)
    inside = (2 * rows - height) ** 2 * width**2 + (2 * columns - width) ** 2 * height**2 < (height * width) ** 2 // 2
    picture[inside] = (255, 204, 77)
    return picture.astype(np.uint8)


def open_image(content: bytes, name: str = "The picture") -> Image.Image:
    """Return a picture whose size is known and whose pixels are not yet decoded; `decode_image` takes it.

    Args:
        content: Encoded bytes.
        name: What to call it in messages.

    Raises:
        DataError: If it is no picture of a kind that is read, or its start is damaged.
    """
    if not content:
        raise DataError(f"{name} is empty; give a {', '.join(FORMATS)} file.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            return Image.open(io.BytesIO(content), formats=FORMATS)
    except Image.UnidentifiedImageError as error:
        raise DataError(f"{name} is not a {', '.join(FORMATS)} file, or its start is damaged.") from error
    except Image.DecompressionBombError as error:
        raise DataError(f"{name} has too many pixels; at most {MAX_IMAGE_PIXELS:,} are read.") from error
    except Exception as error:  # decoders raise whatever their format's code ran into
        raise DataError(f"{name} is damaged ({_one_line(error)}).") from error


def _upright_rgb(image: Image.Image, name: str) -> Image.Image:
    width, height = image.size
    if width * height > MAX_IMAGE_PIXELS:
        raise DataError(
            f"{name} has {width} x {height} pixels; at most {MAX_IMAGE_PIXELS:,} are read: make it smaller."
        )
    if not width or not height:
        raise DataError(f"{name} has no pixels ({width} x {height}).")
    with _one_large if width * height > _LARGE else contextlib.nullcontext():
        return _decoded(image, name)


def _decoded(image: Image.Image, name: str) -> Image.Image:
    try:
        image.load()
    except Exception as error:
        raise DataError(f"{name} is truncated or damaged ({_one_line(error)}).") from error
    if image.mode == "F":
        raise DataError(f"{name} has floating-point pixels, whose scale is not known; save it with 8 or 16 bits.")
    with contextlib.suppress(Exception):  # a picture with broken EXIF data is still a picture, taken as stored
        if image.getexif().get(ExifTags.Base.Orientation, 1) != 1:
            image = ImageOps.exif_transpose(image)
    try:
        return _over_white(image)
    except Exception as error:
        raise DataError(f"{name} has the pixel format {image.mode}, which cannot be turned into RGB.") from error


def _over_white(image: Image.Image) -> Image.Image:
    """Return 8-bit RGB; transparent parts show white. Of a large picture a strip is converted at a time."""
    see_through = image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info
    if not see_through and not image.mode.startswith("I"):
        return image if image.mode == "RGB" else image.convert("RGB")
    rows = max(1, _STRIP // image.width)
    if image.height <= rows:
        return _strip_over_white(image)
    result = Image.new("RGB", image.size)
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(image.height, top + rows)))
        result.paste(_strip_over_white(strip), (0, top))
    return result


def _strip_over_white(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit grey, which Pillow would clip at 255
        grey = np.clip(np.asarray(image, np.float64), 0, 65535) / 257.0
        return Image.fromarray((grey + 0.5).astype(np.uint8)).convert("RGB")
    picture = image.convert({"La": "LA", "PA": "RGBA"}.get(image.mode, "RGBA")).convert("RGBA")
    white = Image.new("RGBA", picture.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, picture).convert("RGB")


def _from_array(array: np.ndarray) -> Image.Image:
    shape = "x".join(map(str, array.shape))
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[-1] not in (1, 3, 4)):
        raise DataError(f"A picture array has the shape (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), not ({shape}).")
    if not array.size:
        raise DataError(f"The picture array ({shape}) has no pixels.")
    if array.shape[0] * array.shape[1] > MAX_IMAGE_PIXELS:
        raise DataError(f"The picture array ({shape}) has too many pixels; at most {MAX_IMAGE_PIXELS:,} are read.")
    if array.dtype == bool:
        array = array.astype(np.uint8) * 255
    elif np.issubdtype(array.dtype, np.floating):
        low, high = float(array.min()), float(array.max())
        if not (low >= 0.0 and high <= 1.0):  # also catches NaN
            raise DataError(f"A float picture has values in 0 to 1, not {low:g} to {high:g}; scale it or use uint8.")
        array = (array.astype(np.float64) * 255.0 + 0.5).astype(np.uint8)
    elif array.dtype != np.uint8:
        raise DataError(f"A picture array is uint8 (0 to 255), bool or float (0 to 1), not {array.dtype}; convert it.")
    if array.ndim == 3 and array.shape[-1] == 1:
        array = array[..., 0]
    return Image.fromarray(np.ascontiguousarray(array))


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
