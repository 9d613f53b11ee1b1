"""Pictures: size, content, text in any script, and bad input."""

import html
import logging
import sys

import numpy as np
import pytest
from matplotlib.font_manager import findfont, fontManager
from PIL import Image

from zoo.errors import DataError, MissingExtraError, ZooError
from zoo.explain import _canvas
from zoo.explain.pictures import (
    attention_overlay,
    caption_sheet,
    confusion_matrix_picture,
    forecast_fan_picture,
    token_weights_html,
    token_weights_picture,
)

LEVELS = [0.1, 0.25, 0.5, 0.75, 0.9]


def read(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def share_of_ink(pixels):
    return (pixels.min(-1) < 200).mean()


def near(pixels, colour, tolerance=6):
    return np.abs(pixels - np.array(colour)).max(-1) <= tolerance


def item(**changes):
    image = np.full((72, 72, 3), 255, np.uint8)
    image[20:50, 20:50] = (200, 30, 30)
    maps = np.random.default_rng(0).random((3, 5, 5))
    words = ["red", "square", "here"]
    return {"image": image, "truth": "red square", "caption": "red square", "attention": maps, "words": words} | changes


def fan(path, **changes):
    history = 100 + np.random.default_rng(0).normal(size=40).cumsum()
    mean = np.full(6, history[-1])
    quantiles = mean[:, None] + np.sqrt(np.arange(1, 7))[:, None] * np.array([-1.3, -0.7, 0, 0.7, 1.3])
    values = {"history": history, "dates": None, "mean": mean, "quantiles": quantiles, "levels": LEVELS}
    values |= {"future": mean + 1, "title": "AAPL", "path": path}
    forecast_fan_picture(**(values | changes))


def test_overlay_shows_where():
    image = np.full((60, 40, 3), 128, np.uint8)
    attention = np.zeros((3, 2))
    attention[0, 1] = 7.0
    result = attention_overlay(image, attention)
    assert result.shape == (60, 40, 3)
    assert result.dtype == np.uint8
    warmth = result[..., 0].astype(int) - result[..., 2]
    assert warmth[5, 35] > 80  # the attended cell is red
    assert abs(warmth[55, 5]) <= 2  # the opposite corner is grey
    np.testing.assert_array_equal(result, attention_overlay(image, attention * 0.01))
    np.testing.assert_array_equal(attention_overlay(image, np.zeros((3, 2))), np.full((60, 40, 3), 160))


@pytest.mark.parametrize(
    ("image", "attention"),
    [
        (np.zeros((4, 4), np.uint8), np.ones((2, 2))),
        (np.zeros((4, 4, 3), np.float32), np.ones((2, 2))),
        (np.zeros((4, 4, 3), np.uint8), np.ones(4)),
        (np.zeros((4, 4, 3), np.uint8), -np.ones((2, 2))),
        (np.zeros((4, 4, 3), np.uint8), np.full((2, 2), np.nan)),
    ],
)
def test_overlay_bad_input(image, attention):
    with pytest.raises(DataError):
        attention_overlay(image, attention)


@pytest.mark.parametrize(("count", "columns"), [(1, 2), (4, 2), (5, 3)])
def test_sheet_grows_with_its_items(tmp_path, count, columns):
    path = tmp_path / "sheet.png"
    caption_sheet([item() for _ in range(count)], path, columns)
    pixels = read(path)
    rows = -(-count // columns)
    assert pixels.shape[0] == pytest.approx(150 * (rows * 2.06 + 0.14), abs=2)
    assert share_of_ink(pixels) > 0.02
    assert near(pixels, (200, 30, 30)).sum() > 5000 * count  # every picture is there
    assert list(tmp_path.iterdir()) == [path]


def test_sheet_marks_right_and_wrong(tmp_path):
    green, red = (0x15, 0x80, 0x3D), (0xB9, 0x1C, 0x1C)
    plain = np.full((20, 20, 3), 255, np.uint8)
    for caption, colour, other in (("Red  square", green, red), ("blue circle", red, green)):
        entry = item(image=plain, caption=caption, truth=["a square", "red square"], attention=None, words=None)
        caption_sheet([entry], tmp_path / "sheet.png")
        pixels = read(tmp_path / "sheet.png")
        assert near(pixels, colour).sum() > 100 > near(pixels, other).sum()


def test_sheet_takes_long_empty_and_unusual_items(tmp_path):
    many = item(words=[f"word{i}" for i in range(9)], attention=np.ones((9, 2, 3)), truth="very long name " * 30)
    empty = item(caption="", words=[], attention=np.zeros((0, 5, 5)))
    odd = item(image=np.zeros((10, 200, 3), np.uint8), caption="$5 or $6_{x}^2 \\frac \n tab\t")
    caption_sheet([many, empty, odd], tmp_path / "sheet.png", title="100% $odd$")
    assert share_of_ink(read(tmp_path / "sheet.png")) > 0.02


def test_equal_sheets_have_equal_bytes(tmp_path):
    for name in ("a.png", "b.png"):
        caption_sheet([item()], tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize(
    "items",
    [
        [],
        [item(image=np.zeros((4, 4), np.uint8))],
        [item(words=["one"])],
        [item(attention=np.ones((3, 5)))],
    ],
)
def test_sheet_bad_input_writes_nothing(tmp_path, items):
    with pytest.raises(DataError):
        caption_sheet(items, tmp_path / "sheet.png")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("size", [1, 2, 3, 9, 25, 300])
def test_confusion_shades_the_diagonal(tmp_path, size):
    path = tmp_path / "confusion.png"
    confusion_matrix_picture(np.eye(size, dtype=int) * 50, [f"class {i}" for i in range(size)], path)
    pixels = read(path)
    height, width = pixels.shape[:2]
    assert 200 < height < 2200
    assert 200 < width < 2200
    dark = near(pixels, (8, 48, 107), 2)  # the full shade
    cells = dark[:, : int(width - 150 * 0.8)]  # without the colour bar
    rows, columns = np.nonzero(cells)
    assert len(rows) > 1000
    if size > 1:
        assert np.corrcoef(rows, columns)[0, 1] > 0.5


def test_confusion_with_an_empty_row_and_bad_input(tmp_path):
    confusion_matrix_picture([[3, 1], [0, 0]], ["seen", "never seen"], tmp_path / "a.png", title="two")
    assert share_of_ink(read(tmp_path / "a.png")) > 0.02
    for matrix, names in (([[1, 2]], ["a"]), ([[1]], ["a", "b"]), ([[-1]], ["a"]), ([], [])):
        with pytest.raises(DataError):
            confusion_matrix_picture(matrix, names, tmp_path / "b.png")
    assert not (tmp_path / "b.png").exists()


@pytest.mark.parametrize("dates", ["none", "known", "all", "minutes"])
def test_fan_shows_bands_and_truth(tmp_path, dates):
    days = {"none": None, "known": np.datetime64("2012-01-01") + np.arange(40)}
    days["all"] = [f"{day}" for day in np.datetime64("2012-01-01") + np.arange(46)]
    days["minutes"] = np.datetime64("2012-01-01T00:00") + 5 * np.arange(46)
    path = tmp_path / "fan.png"
    fan(path, dates=days[dates])
    pixels = read(path)
    assert pixels.shape == (600, 1200, 3)
    orange, blue = (0xD9, 0x77, 0x06), (0x25, 0x63, 0xEB)
    assert near(pixels, orange).sum() > 100
    assert near(pixels, blue).sum() > 100
    bands = [near(pixels, 255 - (255 - np.array(blue)) * share, 3).sum() for share in (0.16, 0.36)]
    assert min(bands) > 500
    fan(path, future=None, dates=days[dates])
    assert near(read(path), orange).sum() == 0


@pytest.mark.parametrize(
    "change",
    [
        {"history": np.zeros((2, 2))},
        {"history": np.zeros(0)},
        {"quantiles": np.zeros((6, 4))},
        {"future": np.zeros(5)},
        {"dates": np.datetime64("2012-01-01") + np.arange(41)},
    ],
)
def test_fan_bad_input(tmp_path, change):
    with pytest.raises(DataError):
        fan(tmp_path / "fan.png", **change)
    assert not list(tmp_path.iterdir())


def test_tokens_are_shaded_by_weight(tmp_path):
    path = tmp_path / "tokens.png"
    token_weights_picture(["dull", "but", "great"], [0.0, 0.1, 0.9], "positive (0.93)", path)
    full = near(read(path), (37, 99, 235), 3)
    assert full.sum() > 1000
    columns = np.nonzero(full.any(0))[0]
    assert columns.min() > 150  # only the last token has the full shade
    short = read(path).shape[0]
    token_weights_picture(["word"] * 120, np.ones(120), "", path)
    assert read(path).shape[0] > 2 * short  # long text wraps
    assert read(path).shape[1] == 1140


def test_html_is_escaped_and_complete():
    page = token_weights_html(["<b>", "好", "&"], [0.5, 0.25, 0.0], "<title>")
    assert "<b>" not in page
    assert html.escape("<title>") in page
    assert "好" in page
    assert "&amp;" in page
    assert page.count("<span title=") == 3
    assert "http" not in page


@pytest.mark.parametrize(
    ("tokens", "weights"), [([], []), (["a"], [1, 2]), (["a"], [-1]), (["a"], [np.nan]), (["a"], [[1]])]
)
def test_tokens_bad_input(tmp_path, tokens, weights):
    for call in (
        lambda: token_weights_picture(tokens, weights, "t", tmp_path / "t.png"),
        lambda: token_weights_html(tokens, weights, "t"),
    ):
        with pytest.raises(DataError):
            call()


def test_glyphs_no_font_has_become_escapes(tmp_path, caplog, recwarn, monkeypatch):
    monkeypatch.setattr(fontManager, "ttflist", [])  # a machine with no font but the base one
    _canvas._families.cache_clear()
    _canvas._warn_once.cache_clear()
    with caplog.at_level(logging.WARNING, "zoo.explain"):
        token_weights_picture(["abc", "好"], [1, 1], "title 好", tmp_path / "a.png")
        caption_sheet([item(caption="好")], tmp_path / "b.png")
    assert [record.name for record in caplog.records] == ["zoo.explain"]
    assert "\n" not in caplog.text.strip()
    assert not [w for w in recwarn if "missing from" in str(w.message)]
    assert _canvas.Script(["x好"])("x好 $5\x07") == r"x\u597d \$5\x07"
    _canvas._families.cache_clear()


def test_a_font_with_the_glyphs_is_found():
    character = "\u2aff"  # an operator: not in DejaVu Sans, but in the STIX fonts that come with matplotlib
    assert ord(character) not in _canvas._charmap(findfont("DejaVu Sans"))
    script = _canvas.Script([f"a{character}"])
    assert script.families[0] == "DejaVu Sans"
    assert len(script.families) == 2
    assert script(character) == character
    assert (script.bold, _canvas.Script(["a"]).bold) == ("normal", "bold")


def test_wrapping():
    assert _canvas.wrap("one two three", 7, 3) == "one two\nthree"
    assert _canvas.wrap("abcdefgh", 3, 4) == "abc\ndef\ngh"
    assert _canvas.wrap("好好好好", 4, 3) == "好好\n好好"  # each as wide as two letters
    cut = _canvas.wrap("one two three four five", 9, 2).split("\n")
    assert len(cut) == 2
    assert cut[1].endswith("…")
    assert len(cut[1]) <= 9
    assert _canvas.wrap("", 5, 2) == ""


def test_a_folder_in_the_way_is_named(tmp_path):
    with pytest.raises(ZooError, match="folder"):
        caption_sheet([item()], tmp_path)


def test_missing_matplotlib_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match=r"attention-zoo\[eval\]"):
        confusion_matrix_picture([[1]], ["a"], tmp_path / "a.png")
