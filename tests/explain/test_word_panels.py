"""A picture once per word: merged pieces, sizes, outlines, bars, and TensorBoard's sheets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from zoo.errors import DataError
from zoo.explain.word_panels import WordPanel, signed, word_panels, word_panels_array
from zoo.explain.words import caption_words, shown, token_ids
from zoo.preprocess.captioning import SPECIAL, CaptionPreprocessor
from zoo.results import Caption
from zoo.tasks._base import Requests
from zoo.tasks.captioning import TASK, CaptionTruth

PIECES = ["▁red", "▁s", "quare", "-", "ish", "▁left", "▁", "ly", "!", "好", "▁of"]


def preprocessor(language: str = "en") -> CaptionPreprocessor:
    return CaptionPreprocessor([*SPECIAL, *PIECES], image_size=(24, 24), max_length=12, language=language)


def caption_of(pieces: list[str]) -> Caption:
    maps = np.random.default_rng(len(pieces)).dirichlet(np.ones(12), len(pieces)).reshape(-1, 3, 4)
    text = "".join(pieces).replace("▁", " ").strip()
    return Caption(text, -0.5, tuple(pieces), maps.astype(np.float32))


def test_pieces_become_words() -> None:
    caption = caption_of(["▁red", "▁s", "quare", "-", "ish", "▁left"])
    red, square, left = caption_words(caption, preprocessor(), [-0.1, -0.2, -0.4, -0.6, -0.8, -0.3])
    assert [shown(word) for word in (red, square, left)] == ["red", "square-ish", "left"]
    assert square.tokens == ("▁s", "quare", "-", "ish") and square.score == pytest.approx(-0.5)
    np.testing.assert_allclose(square.attention, caption.attention[1:5].mean(0), atol=1e-7)
    np.testing.assert_array_equal(left.attention, caption.attention[5])
    assert token_ids(caption, preprocessor()).tolist() == [4, 5, 6, 7, 8, 9]
    with pytest.raises(DataError, match="'▁blue', which its vocabulary lacks"):
        token_ids(caption_of(["▁blue"]), preprocessor())
    assert np.isnan(caption_words(caption, preprocessor())[0].score)
    assert [word.text for word in caption_words(caption, preprocessor("zh"))[1:4]] == [" s", "quare", "-"]


@given(st.lists(st.sampled_from(PIECES), min_size=1, max_size=12), st.sampled_from(["en", "zh"]))
def test_words_hold_every_piece_once(pieces: list[str], language: str) -> None:
    words = caption_words(caption_of(pieces), preprocessor(language))
    assert [piece for word in words for piece in word.tokens] == pieces
    assert "".join(word.text for word in words) == caption_of(pieces).text
    assert all(shown(word).strip() and word.attention.sum() == pytest.approx(1, abs=1e-5) for word in words)


def photo(height: int, width: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 256, (5, 5, 3)).astype(np.uint8))
    return np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))


def panel(text: str = "word", cell: int = 0, **changes: object) -> WordPanel:
    attention = np.zeros((3, 4), np.float32)
    attention.flat[cell] = 1
    return WordPanel(text, attention, **changes)  # type: ignore[arg-type]


def read(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def red_share(pixels: np.ndarray) -> float:
    return float(((pixels[..., 0] - pixels[..., 2] > 80) & (pixels[..., 1] < 110)).mean())


@pytest.mark.parametrize(
    ("size", "count", "columns", "rows"), [((72, 72), 1, 2, 1), ((300, 500), 3, 4, 1), ((1200, 900), 9, 4, 3)]
)
def test_a_panel_for_every_word(tmp_path: Path, size: tuple[int, int], count: int, columns: int, rows: int) -> None:
    path = tmp_path / "panels.png"
    grey = np.full((*size, 3), 128, np.uint8)
    word_panels(grey, "a caption", [panel(f"word{i}", i) for i in range(count)], path)
    pixels = read(path)
    form = size[0] / size[1]
    assert pixels.shape[1] == pytest.approx(150 * (columns * 2.72 - 0.22 + 0.4), abs=2)
    assert pixels.shape[0] == pytest.approx(150 * (0.74 + rows * (2.5 * form + 0.44)), abs=2)
    # One red cell of twelve a word, smooth at its border.
    assert red_share(pixels) * pixels[..., 0].size == pytest.approx(count * (375 * 375 * form) / 12, rel=0.7)
    assert list(tmp_path.iterdir()) == [path]


def test_probability_bars_outline_and_notes_add_ink(tmp_path: Path) -> None:
    image, hidden = photo(100, 100), np.zeros((3, 4), bool)
    hidden[1, 1:3] = True
    drops = {"most": 1.0, "other": 0.2, "random": -0.5, "least": 0.0}
    heights, ink = [], []
    for number, changes in enumerate(
        [{}, {"probability": 0.5}, {"hidden": hidden}, {"drops": drops}, {"drops": {"most": 1.0}}]
    ):
        path = tmp_path / f"{number}.png"
        word_panels(image, "x", [panel(**changes), panel(cell=5)], path)
        heights.append(len(read(path)))
        ink.append((read(path).max(-1) < 60).sum())
    assert heights[0] == heights[1] == heights[2] < heights[4] < heights[3]
    assert ink[2] > ink[0] + 500  # the outline of two cells
    word_panels(image, "x", [panel(drops=drops)], tmp_path / "note.png", ["A sentence. " * 30])
    pixels = read(tmp_path / "note.png")
    orange, blue = (np.abs(pixels - colour).max(-1) < 6 for colour in ((217, 119, 6), (37, 99, 235)))
    assert orange.sum() > 1.35 * blue.sum() > 0  # 1.0 against 0.2 + 0.5
    assert len(pixels) > heights[3]
    assert [signed(value) for value in (0.004, -0.004, 1.234, -1.0)] == ["0.00", "0.00", "+1.23", "−1.00"]


def test_any_form_length_and_script(tmp_path: Path) -> None:
    for number, size in enumerate([(1, 1), (2000, 10), (10, 2000), (224, 224)]):
        word_panels(
            photo(*size), "$5 _{x} \n 好 " * 20, [panel("long" * 20), panel("好"), panel("")], tmp_path / "a.png"
        )
        pixels = read(tmp_path / "a.png")
        assert max(pixels.shape) < 2500, number
    word_panels(photo(30, 30), "", [], tmp_path / "none.png")
    many = [panel(f"w{i}") for i in range(48)]
    word_panels(photo(30, 30), "many", many, tmp_path / "many.png")
    word_panels(photo(30, 30), "many", many[:47], tmp_path / "fewer.png")
    assert len(read(tmp_path / "fewer.png")) < len(read(tmp_path / "many.png"))  # the sentence on those not drawn
    word_panels(photo(30, 30), "", [], tmp_path / "again.png")
    assert (tmp_path / "none.png").read_bytes() == (tmp_path / "again.png").read_bytes()


@pytest.mark.parametrize(
    ("image", "word"),
    [
        (np.zeros((4, 4), np.uint8), panel()),
        (np.zeros((4, 4, 3), np.float32), panel()),
        (np.zeros((0, 4, 3), np.uint8), panel()),
        (np.zeros((4, 4, 3), np.uint8), WordPanel("x", -np.ones((2, 2)))),
    ],
)
def test_bad_input_writes_nothing(tmp_path: Path, image: np.ndarray, word: WordPanel) -> None:
    with pytest.raises(DataError):
        word_panels(image, "x", [word], tmp_path / "bad.png")
    assert not list(tmp_path.iterdir())


def test_sheets_for_tensorboard() -> None:
    fitted = preprocessor()
    tokens = np.zeros((2, 12), np.int32)
    tokens[0, :3], tokens[1, :5] = (4, 5, 6), (4, 9, 14, 5, 6)
    attention = np.zeros((2, 12, 3, 4), np.float32)
    attention[:, :, 0, 0] = 1
    outputs = {
        "tokens": tokens,
        "length": np.array([3, 5], np.int32),
        "score": np.array([-0.1, -0.25], np.float32),
        "attention": attention,
    }
    truth = CaptionTruth([("red | square",), ("left",)], ["a", "b"], [False, False])
    requests = Requests({"image": np.full((2, 24, 24, 3), 200, np.uint8)}, truth, ["a", "b"])
    text, sheets = TASK.samples(outputs, requests, fitted)
    assert text.splitlines()[2:] == [
        r"| red \| square | red square | -0.10 |",
        "| left | red left of square | -0.25 |",
    ]
    assert [sheet.dtype for sheet in sheets] == [np.uint8] * 2 and all(sheet.ndim == 3 for sheet in sheets)
    # Pieces of a word share a panel: 2 words and 4, beside the picture itself.
    assert sheets[0].shape[1] < sheets[1].shape[1] and sheets[0].shape[0] < sheets[1].shape[0]
    reds = [red_share(sheet.astype(int)) * sheet[..., 0].size for sheet in sheets]
    assert reds[1] == pytest.approx(2 * reds[0], rel=0.1)
    again = word_panels_array(np.full((24, 24, 3), 200, np.uint8), "red square", [])
    assert again.shape[1] < sheets[0].shape[1]
