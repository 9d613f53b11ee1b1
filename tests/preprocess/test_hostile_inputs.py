"""What people and programs give to a model by mistake or on purpose: an answer or one line, whatever it is."""

from __future__ import annotations

import datetime
import gzip
import io
import os
import random
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from zoo.errors import DataError
from zoo.preprocess import RawInput
from zoo.preprocess.captioning import CaptionPreprocessor
from zoo.preprocess.image import MAX_IMAGE_BYTES, load_image
from zoo.preprocess.series import SeriesPreprocessor
from zoo.preprocess.text import TextPreprocessor

TOKENS = ["<pad>", "<start>", "<end>", "<unk>", "▁a"]
CAPTIONS = CaptionPreprocessor(TOKENS, image_size=(20, 30), max_length=5)
TEXTS = TextPreprocessor(
    ["[PAD]", "[UNK]", "[MASK]", "[URL]", "good", "a", "##b"], ["no", "yes"], max_length=16, head=8
)
PRICES = SeriesPreprocessor(("close", "volume"), "close", window=4, horizon=2, price_columns=(0,), log_columns=(1,))
MODES = (
    "1",
    "L",
    "LA",
    "La",
    "P",
    "PA",
    "RGB",
    "RGBA",
    "RGBa",
    "RGBX",
    "CMYK",
    "YCbCr",
    "LAB",
    "HSV",
    "I",
    "I;16",
)


def one_line(work: Callable[[], Any]) -> str:
    """Return the one line with which `work` refuses."""
    with pytest.raises(DataError) as caught:
        work()
    message = str(caught.value)
    assert message.isprintable()
    assert 10 < len(message) < 1500
    return message


def answer_or_line(work: Callable[[], Any]) -> Any:
    """Return what `work` gives, or None if it refused with one line."""
    try:
        return work()
    except DataError as error:
        assert str(error).isprintable()
        return None


def picture(mode: str, size: tuple[int, int] = (30, 20)) -> Image.Image:
    values = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 4), np.uint8)
    image = Image.fromarray(values, "RGBA")
    if mode in ("I;16", "I"):
        return Image.fromarray(values[..., 0].astype({"I;16": np.uint16, "I": np.int32}[mode]) * 200)
    if mode in ("La", "PA", "LAB", "HSV"):
        steps = {"La": ("LA", "La"), "PA": ("LA", "PA"), "LAB": ("RGB", "HSV"), "HSV": ("RGB", "HSV")}[mode]
        return image.convert(steps[0]).convert(steps[1])
    return image.convert(mode)


@pytest.mark.parametrize("mode", MODES)
def test_every_colour_mode(mode: str) -> None:
    for size in ((30, 20), (7, 90), (1, 1)):
        array = CAPTIONS.request(picture(mode, size))["image"]
        assert array.shape == (1, 20, 30, 3)
        assert array.dtype == np.uint8


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM"])
def test_every_file_format_in_every_mode_it_has(kind: str) -> None:
    done = 0
    for mode in MODES:
        stream = io.BytesIO()
        try:
            picture(mode).save(stream, kind)
        except (OSError, ValueError, KeyError):
            continue  # a mode this format cannot hold
        assert load_image(stream.getvalue(), (20, 30)).shape == (20, 30, 3)
        done += 1
    assert done >= 2


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(10))
def test_every_orientation(kind: str, orientation: int) -> None:
    """The picture is stored turned, and EXIF says how; 0 and 9 do not exist and mean nothing."""
    upright = np.zeros((20, 30, 3), np.uint8)
    upright[:10, :15] = (250, 0, 0)
    upright[:10, 15:] = (0, 250, 0)
    upright[10:, :15] = (0, 0, 250)
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # Image.Transpose that makes the stored picture
    image = Image.fromarray(upright)
    stored = image.transpose(Image.Transpose(undo[orientation])) if orientation in undo else image
    exif = Image.Exif()
    exif[0x0112] = orientation
    stream = io.BytesIO()
    stored.save(stream, kind, exif=exif, **({"quality": 95, "subsampling": 0} if kind == "JPEG" else {}))
    found = load_image(stream.getvalue(), (20, 30)).astype(int)
    for row, column in ((2, 3), (2, 26), (17, 3), (17, 26)):
        assert np.abs(found[row, column] - upright[row, column]).max() < 40


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(width: int, height: int, depth: int, colour: int, rows: bytes) -> bytes:
    header = chunk(b"IHDR", struct.pack(">2I5B", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_pictures_of_16_bits() -> None:
    grey = np.array([[0, 257, 65535, 32768 + 128]], ">u2")
    array = load_image(png(4, 1, 16, 0, b"\0" + grey.tobytes()), (1, 4))
    assert array[0, :, 0].tolist() == [0, 1, 255, 128]
    colour = np.array([[0x0000, 0xFFFF, 0x80FF]], ">u2")
    assert load_image(png(1, 1, 16, 2, b"\0" + colour.tobytes()), (1, 1)).tolist() == [[[0, 255, 0x80]]]


def test_decompression_bombs() -> None:
    assert "pixels" in one_line(lambda: load_image(png(60_000, 60_000, 8, 2, b""), (20, 30)))
    assert "pixels" in one_line(lambda: load_image(png(2**31 - 1, 1, 8, 2, b""), (20, 30)))
    text = chunk(b"zTXt", b"key\0\0" + zlib.compress(bytes(80 << 20)))
    whole = png(1, 1, 8, 2, b"\0\1\2\3")
    bomb = whole[:33] + text + whole[33:]
    answer_or_line(lambda: load_image(bomb, (2, 2)))
    gif = Image.new("P", (9_000, 9_000))
    stream = io.BytesIO()
    gif.save(stream, "GIF")
    assert "9000 x 9000" in one_line(lambda: load_image(stream.getvalue(), (20, 30)))


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_several_frames_the_first_counts(kind: str) -> None:
    frames = [Image.new("RGB", (30, 20), colour) for colour in ((250, 250, 250), (0, 0, 0), (250, 0, 0))]
    stream = io.BytesIO()
    frames[0].save(stream, kind, save_all=True, append_images=frames[1:])
    assert load_image(stream.getvalue(), (20, 30)).min() > 240


@settings(max_examples=250, deadline=None)
@given(st.sampled_from(["PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM"]), st.integers(0, 2**32))
def test_damaged_pictures(kind: str, seed: int) -> None:
    rng = random.Random(seed)
    stream = io.BytesIO()
    picture(rng.choice(("L", "RGB"))).save(stream, kind)
    data = bytearray(stream.getvalue())
    for _ in range(rng.randint(1, 12)):
        data[rng.randrange(len(data))] = rng.randrange(256)
    if rng.random() < 0.3:
        del data[rng.randrange(len(data)) :]
    found = answer_or_line(lambda: load_image(bytes(data), (20, 30)))
    assert found is None or found.shape == (20, 30, 3)


def test_things_that_are_no_pictures(tmp_path: Path) -> None:
    large = tmp_path / "large.png"
    with large.open("wb") as file:
        file.truncate(MAX_IMAGE_BYTES + 1)  # sparse
    os.mkfifo(tmp_path / "pipe.png")
    values: list[Any] = [
        b"", b"\x00", "", "a\0b.png", "\ud800.png", "line\nbreak.png", tmp_path, large, tmp_path / "pipe.png",
        "/dev/zero", None, 5, [], {}, object(), np.array(5.0), np.zeros((0, 3, 3), np.uint8),
        np.zeros((2, 2, 2), np.uint8),
        np.zeros((3, 3), np.uint16), np.full((3, 3), np.nan), np.full((3, 3), np.inf), np.zeros((3, 3), object),
        np.zeros((3, 3), complex), np.full((3, 3, 3), 7.0), np.zeros((9_000, 9_000), np.uint8),
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    ]  # fmt: skip
    for value in values:
        one_line(lambda value=value: CAPTIONS.request(value))  # type: ignore[misc]


STRINGS = [
    "", " \t\n", "\0", "\0" * 1000, "\ud800", "\udfff\ud800", "a" * 1_000_000, "ab" * 500_000, "good " * 200_000,
    "👍🏽" * 250_000, "很好" * 300_000, "\u200b" * 1_000_000, "ﷺ" * 100_000, "e\u0301" * 100_000, "&amp;" * 200_000,
    "&" * 1_000_000, "https://" * 100_000,
    "مرحبا بالعالم good 你好 Привет 👩‍👩‍👧‍👦 \U0010ffff \ufffe",
    "\x1b[31mred\x1b[0m",
    "a\u0300" + "\u0301" * 100_000,
]  # fmt: skip


@pytest.mark.parametrize("text", STRINGS, ids=range(len(STRINGS)))
def test_every_string_is_a_text(text: str) -> None:
    tokens = TEXTS.request(text)["tokens"]
    assert tokens.shape == (1, 16)
    assert tokens.any()
    np.testing.assert_array_equal(tokens, TEXTS.request(RawInput.of_text(text).value())["tokens"])


def test_long_words_are_not_kept() -> None:
    """The cache of cut words must not grow with what is sent."""
    texts = TextPreprocessor(["[PAD]", "[UNK]", "[MASK]", "[URL]", "a"], ["no", "yes"], max_length=60_000, head=60_000)
    for i in range(20):
        texts.request(f"{i:b}ab" * 10_000)
    assert sum(map(len, texts._cache)) < 2000


@settings(max_examples=300, deadline=None)
@given(st.text(st.characters(), max_size=400))
def test_any_text(text: str) -> None:
    assert TEXTS.request(text)["tokens"].any()


@pytest.mark.parametrize("value", [None, 5, b"bytes", ["a"], {"a": 1}, object()])
def test_things_that_are_no_texts(value: Any) -> None:
    assert "string" in one_line(lambda: TEXTS.request(value))


ROWS = [{"date": f"2020-01-{i:02}", "close": 10.0 + i, "volume": 5.0} for i in range(1, 8)]


def changed(**cells: Any) -> list[dict[str, Any]]:
    return [*ROWS[:-1], {**ROWS[-1], **cells}]


@pytest.mark.parametrize(
    "cell",
    [None, "", "x", "nan", "NaN", "inf", "-Infinity", "1e999", "1_000", "0x10", "١٢", "1,5", "--5", float("nan"),
     float("inf"), -float("inf"), 10**400, [], {}, np.nan, "9" * 5000, 1e300, 0.0, -3.0, "-1e-50"],
)  # fmt: skip
def test_prices_that_are_no_prices(cell: Any) -> None:
    one_line(lambda: PRICES.request(changed(close=cell)))


@pytest.mark.parametrize("cell", ["7", " 7 ", "+7", "7.", ".7", "7e0", "7E+00", True, np.float32(7), np.int8(7)])
def test_prices_in_every_spelling(cell: Any) -> None:
    assert PRICES.request(changed(close=cell))["window"][0, -1, 0] in (np.float32(7), np.float32(0.7), 1)


@pytest.mark.parametrize("factor", [0, -1, "x", "", float("nan"), float("inf"), 1e308, 5e-324, 10**400])
def test_share_splits_that_are_none(factor: Any) -> None:
    rows = [{**row, "split_factor": factor} for row in ROWS]
    assert answer_or_line(lambda: PRICES.request(rows)) is None


@pytest.mark.parametrize(
    "dates",
    [
        [f"2020-01-0{i}" for i in range(1, 8)],
        [f"2020-01-0{i} 15:30" for i in range(1, 8)],
        [f"2020-01-0{i}T15:30:00Z" for i in range(1, 8)],
        [f"2020-01-0{i}T15:30:00+05:30" for i in range(1, 8)],
        [f"2020/01/0{i}" for i in range(1, 8)],
        [f"01/0{i}/2020" for i in range(1, 8)],
        [f"0{i}.01.2020" for i in range(1, 8)],
        [f"0{i}-Jan-2020" for i in range(1, 8)],
        [f"2020010{i}" for i in range(1, 8)],
        [datetime.date(2020, 1, i) for i in range(1, 8)],
        [datetime.datetime(2020, 1, i) for i in range(1, 8)],
        list(np.datetime64("2020-01-01") + np.arange(7)),
    ],
)
def test_dates_of_many_forms(dates: list[Any]) -> None:
    shuffled = [3, 0, 6, 1, 5, 2, 4]
    table = {"Date": [dates[i] for i in shuffled], "Close": [i + 1.0 for i in shuffled], "volume": [1.0] * 7}
    assert PRICES.request(table)["window"][0, :, 0].tolist() == [4, 5, 6, 7]


@pytest.mark.parametrize(
    "date",
    ["", "x", "2020-13-01", "2020-02-30", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "20200199", "1e5",
     "2020-01-06", None, 5, "2020-01-01\0", "\ud800", "9" * 5000, float("nan"), np.datetime64("NaT")],
)  # fmt: skip
def test_dates_that_are_none(date: Any) -> None:
    one_line(lambda: PRICES.request(changed(date=date)))


@pytest.mark.parametrize(
    "value",
    [
        None, 5, [], {}, [[]], [{}], [{"close": 1}], {"close": 5, "volume": 6}, {"close": "abc", "volume": "abc"},
        {"close": [1.0] * 9}, {"close": [1.0] * 9, "volume": [1.0] * 8}, {"close": [1.0] * 9, "CLOSE ": [2.0] * 9},
        np.zeros((0, 2)), np.ones((3, 2)), np.ones((9, 3)), np.ones(9), np.ones((9, 2, 1)), np.array(5.0),
        np.full((9, 2), np.nan), np.full((9, 2), np.inf), np.full((9, 2), 1e300), np.zeros((9, 2)), -np.ones((9, 2)),
        np.ones((9, 2), complex), np.ones((9, 2), object), np.ones((9, 2), bool), np.array([["1", "2"]] * 9),
        "nowhere.csv", "a\0b.csv", "\ud800.csv", "", ".", b"", b"\xff", b"\0", b"close,volume\n", b"close,close\n1,2\n",
        b"close,volume\n" + b"1,2\n" * 3, b"close,volume\n1,2,3\n", b'close,volume\n"1,2\n', b"close\n1\n" * 5,
        b"close,volume\n" + b"1" * 200_000 + b",1\n", b"x," * 30_000 + b"\n", b"close,volume\n" + b"1,1\n" * 1_000_002,
    ],
    ids=range(44),
)  # fmt: skip
def test_tables_that_are_none(value: Any) -> None:
    one_line(lambda: PRICES.request(value))


def test_tables_that_would_not_fit_into_memory(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.csv.gz"
    with gzip.open(bomb, "wb", compresslevel=1) as file:
        file.write(b"close,volume\n")
        for _ in range(70):
            file.write(b"1,1\n" * (1 << 18))
    assert "larger than 64 MiB" in one_line(lambda: PRICES.request(bomb))
    os.mkfifo(tmp_path / "pipe.csv")
    for path in (tmp_path / "pipe.csv", tmp_path, "/dev/zero"):
        one_line(lambda path=path: PRICES.request(path))  # type: ignore[misc]


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200) | st.text("close,volume;\n\t\"'0123456789.-eEnaif \r", max_size=300).map(str.encode))
def test_any_table(content: bytes) -> None:
    found = answer_or_line(lambda: PRICES.request(content))
    assert found is None or np.isfinite(found["window"]).all()
    found = answer_or_line(lambda: PRICES.request(b"date,close,volume\n" + content))
    assert found is None or np.isfinite(found["window"]).all()


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(), min_size=2, max_size=14))
def test_any_numbers(numbers: list[float]) -> None:
    rows = np.array(numbers[: len(numbers) // 2 * 2]).reshape(-1, 2)
    found = answer_or_line(lambda: PRICES.request(rows))
    assert found is None or np.isfinite(found["window"]).all()
