from __future__ import annotations

import io
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from zoo.errors import DataError
from zoo.preprocess import image as image_module
from zoo.preprocess.image import decode_image, load_image

SIZE = (6, 8)  # height, width


def pixels(height: int = 6, width: int = 8, channels: int = 3) -> np.ndarray:
    shape = (height, width, channels)
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


def encoded(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def test_every_way_to_give_a_picture_gives_the_same(tmp_path: Path) -> None:
    array = pixels()
    picture = Image.fromarray(array)
    path = tmp_path / "picture.png"
    picture.save(path)
    for value in (array, picture, path, str(path), encoded(picture), bytearray(encoded(picture)), array / 255.0):
        loaded = load_image(value, SIZE)
        assert loaded.dtype == np.uint8
        np.testing.assert_array_equal(loaded, array)
    loaded[0, 0] = 0  # the caller owns the result
    np.testing.assert_array_equal(load_image(array, SIZE), array)


def test_grey_bool_and_one_channel_arrays() -> None:
    grey = pixels()[..., 0]
    wanted = np.repeat(grey[..., None], 3, axis=-1)
    for value in (grey, grey[..., None], Image.fromarray(grey), grey.astype(np.float32) / 255):
        np.testing.assert_array_equal(load_image(value, SIZE), wanted)
    mask = grey > 100
    np.testing.assert_array_equal(load_image(mask, SIZE)[..., 1], np.where(mask, 255, 0))


def test_transparency_shows_white_whatever_colour_is_hidden() -> None:
    array = pixels(channels=4)
    array[..., 3] = np.resize([0, 128, 255], (6, 8))
    alpha = array[..., 3:] / 255.0
    wanted = array[..., :3] * alpha + 255 * (1 - alpha)
    for value in (array, Image.fromarray(array), encoded(Image.fromarray(array))):
        assert np.abs(load_image(value, SIZE) - wanted).max() <= 1
    np.testing.assert_array_equal(load_image(array, SIZE)[array[..., 3] == 0], 255)


def test_palette_grey_alpha_and_single_transparent_colour() -> None:
    palette = Image.new("P", (8, 6), 1)
    palette.putpalette([10, 20, 30, 200, 100, 50])
    palette.putpixel((0, 0), 0)
    solid = load_image(encoded(palette), SIZE)
    assert solid[0, 0].tolist() == [10, 20, 30] and solid[5, 7].tolist() == [200, 100, 50]
    clear = load_image(encoded(palette, transparency=0), SIZE)
    assert clear[0, 0].tolist() == [255, 255, 255] and clear[5, 7].tolist() == [200, 100, 50]

    grey = Image.new("LA", (8, 6), (40, 0))
    grey.putpixel((3, 2), (40, 255))
    loaded = load_image(encoded(grey), SIZE)
    assert loaded[2, 3].tolist() == [40] * 3 and loaded[0, 0].tolist() == [255] * 3

    keyed = Image.fromarray(np.full((6, 8, 3), 7, np.uint8))
    assert (load_image(encoded(keyed, transparency=(7, 7, 7)), SIZE) == 255).all()
    assert (load_image(encoded(Image.new("PA", (8, 6)).convert("RGBA")), SIZE) == 255).all()
    assert (load_image(Image.new("PA", (8, 6)), SIZE) == 255).all()


def test_sixteen_bit_grey_is_scaled_not_clipped() -> None:
    ramp = np.linspace(0, 65535, 48).astype(np.uint16).reshape(6, 8)
    loaded = load_image(encoded(Image.fromarray(ramp)), SIZE)
    np.testing.assert_array_equal(loaded[..., 0], np.floor(ramp / 257 + 0.5))
    assert loaded[0, 0, 0] == 0 and loaded[5, 7, 0] == 255


def test_floating_point_pixels_are_refused() -> None:
    with pytest.raises(DataError, match="floating-point pixels.*8 or 16 bits"):
        load_image(encoded(Image.fromarray(np.full((6, 8), 0.5, np.float32)), "TIFF"), SIZE)


def test_cmyk_jpeg_is_rgb() -> None:
    red = Image.new("CMYK", (8, 6), (0, 255, 255, 0))
    loaded = load_image(encoded(red, "JPEG", quality=95), SIZE)
    assert np.abs(loaded.astype(int) - [255, 0, 0]).max() < 12


@pytest.mark.parametrize(("orientation", "turned"), [(1, 0), (3, 2), (6, 3), (8, 1)])
def test_exif_orientation(orientation: int, turned: int) -> None:
    array = pixels(8, 8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(Image.fromarray(array), "PNG", exif=exif)
    np.testing.assert_array_equal(load_image(content, (8, 8)), np.rot90(array, turned))


def test_resize_is_antialiased_bilinear() -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 200  # finer than the small picture can show: becomes their mean
    small = load_image(stripes, (16, 16))
    assert small.shape == (16, 16, 3)
    assert np.abs(small.astype(int) - 100).max() <= 14
    tall = load_image(pixels(40, 10), (20, 30))
    assert tall.shape == (20, 30, 3)
    wanted = Image.fromarray(pixels(40, 10)).resize((30, 20), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(tall, np.asarray(wanted))


def test_first_frame_of_an_animation() -> None:
    first, second = (Image.new("RGB", (8, 6), colour) for colour in ("red", "blue"))
    content = encoded(first, "GIF", save_all=True, append_images=[second])
    assert load_image(content, SIZE)[0, 0].tolist() == [255, 0, 0]


def test_damaged_files_give_one_line(tmp_path: Path) -> None:
    noise = Image.fromarray(np.random.default_rng(1).integers(0, 256, (64, 64, 3)).astype(np.uint8))
    for kind in ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF"):
        content = encoded(noise, kind)
        assert load_image(content, SIZE).shape == (6, 8, 3)
        path = tmp_path / f"cut.{kind.lower()}"
        path.write_bytes(content[: len(content) // 2])
        with pytest.raises(DataError) as caught:
            load_image(path, SIZE)
        assert path.name in str(caught.value) and "\n" not in str(caught.value)
    good = bytearray(encoded(noise))
    good[60:200] = bytes(140)
    with pytest.raises(DataError, match="damaged|truncated"):
        load_image(bytes(good), SIZE)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("no/such/picture.png", "No such file"),
        (b"", "empty"),
        (b"this is not a picture", "is not a PNG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "is not a PNG"),
        (np.zeros((4, 4, 2), np.uint8), "not \\(4x4x2\\)"),
        (np.zeros((0, 4, 3), np.uint8), "no pixels"),
        (np.zeros(5, np.uint8), "not \\(5\\)"),
        (np.full((4, 4), 2.0), "0 to 1"),
        (np.full((4, 4), np.nan), "0 to 1"),
        (np.zeros((4, 4), np.int32), "int32"),
        (17, "int"),
        (None, "NoneType"),
        ("bad\0name", "Cannot read"),
    ],
)
def test_unusable_input(value: Any, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        load_image(value, SIZE)
    assert "\n" not in str(caught.value)


def test_a_folder_is_no_picture(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is a folder"):
        load_image(tmp_path, SIZE)


def test_too_many_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_module, "MAX_IMAGE_PIXELS", 1000)
    assert decode_image(encoded(Image.new("L", (100, 10)))).size == (100, 10)
    for value in (encoded(Image.new("L", (101, 10))), Image.new("L", (101, 10)), np.zeros((101, 10), np.uint8)):
        with pytest.raises(DataError, match="1,000"):
            decode_image(value)


@pytest.mark.filterwarnings("error")
def test_a_bomb_is_refused_before_it_is_decoded() -> None:
    content = bytearray(encoded(Image.new("1", (8, 8))))
    for side in (10_000, 60_000):  # Pillow warns of the first and raises at the second
        content[16:24] = side.to_bytes(4, "big") * 2
        content[29:33] = zlib.crc32(bytes(content[12:29])).to_bytes(4, "big")
        with pytest.raises(DataError, match="at most 64,000,000"):
            load_image(bytes(content), SIZE)
