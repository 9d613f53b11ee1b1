from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from zoo.errors import DataError, ModelFileError
from zoo.preprocess import load
from zoo.preprocess.captioning import END, SPECIAL, UNITS, UNKNOWN, CaptionPreprocessor

CAPTIONS = ["waving hand", "waving hand light skin tone", "waving hand medium-light skin tone", "raised hand", "hand"]
CHINESE = ["挥手", "挥手 较浅肤色", "挥手 中等浅肤色", "举手", "男警察", "女警察"]


def fit(captions: list[str] = CAPTIONS, **overrides: Any) -> CaptionPreprocessor:
    options: dict[str, Any] = {"image_size": (6, 8), "vocab_size": 60, "max_length": 20, "language": "en"}
    return CaptionPreprocessor.fit(captions, **{**options, **overrides})


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize(("captions", "language"), [(CAPTIONS, "en"), (CHINESE, "zh")])
def test_captions_survive(captions: list[str], language: str, unit: str) -> None:
    fitted = fit(captions, language=language, unit=unit)
    for caption in captions:
        ids = fitted.encode(caption)
        assert min(ids) > END and UNKNOWN not in ids
        assert fitted.decode([1, *ids, END, 0, 0]) == caption
        assert "".join(fitted.pieces(ids)).replace("▁", " ").strip() == caption
    assert fitted.tokens[:4] == SPECIAL
    assert len(fitted.tokens) <= 60
    assert load(fitted.files()).files() == fitted.files()


def test_words_by_hand() -> None:
    fitted = fit(unit="words", vocab_size=9)
    assert fitted.tokens[4:] == ("▁hand", "▁waving", "▁skin", "▁tone", "-")  # frequent first, then by code point
    assert fitted.encode("hand  waving\n") == [4, 5]
    assert fitted.encode("hand zebra") == [4, UNKNOWN]
    assert fitted.pieces(fitted.encode("hand, waving")) == ("▁hand", "▁waving")  # the comma is unknown


def test_characters_by_hand() -> None:
    fitted = fit(["一只红猫", "一只黑猫", "猫 cat"], language="zh", unit="characters", vocab_size=12)
    # Frequent first, then by code point; the word mark is a character, and what is beyond the size is unknown.
    assert fitted.tokens[4:] == ("猫", "一", "只", "a", "c", "t", "▁", "红")
    assert fitted.encode("黑猫") == [UNKNOWN, 4]
    assert fitted.decode(fitted.encode("红猫 cat")) == "红猫 cat"
    assert fitted.max_length == 5 + 2
    spaced = fit(["red cat"], unit="characters")
    assert "".join(spaced.pieces(spaced.encode("red cat"))) == "▁red▁cat" and spaced.max_length == 8 + 2


def test_a_caption_weighs_as_often_as_it_is_given() -> None:
    captions = ["black cat", "red dog", "red dog", "red dog"]
    assert fit(captions, unit="words", vocab_size=6).tokens[4:] == ("▁dog", "▁red")


def test_the_longest_token_is_taken() -> None:
    tokens = [*SPECIAL, "a", "b", "▁a", "▁ab", "abc", "▁"]
    fitted = CaptionPreprocessor(tokens, image_size=(4, 4), max_length=5)
    assert fitted.pieces(fitted.encode("ab aabc b")) == ("▁ab", "▁a", "abc", "▁", "b")
    assert fitted.encode("axb") == [6, UNKNOWN, 5]


def test_chinese_has_no_word_marks_at_the_start() -> None:
    fitted = fit(CHINESE, language="zh")
    assert fitted.decode(fitted.encode("男警察")) == "男警察"
    assert not any(token.startswith("▁男") for token in fitted.tokens)
    assert "警察" in fitted.tokens


def test_length_and_vocabulary_follow_the_captions() -> None:
    words = fit(unit="words")
    assert words.max_length == 7 + 2  # "waving hand medium - light skin tone", one more, and the end
    assert fit(unit="words", max_length=5).max_length == 5
    assert len(fit(vocab_size=30).tokens) <= 30
    used = {i for caption in CAPTIONS for i in fit().encode(caption)}
    assert all(i in used for i, token in enumerate(fit().tokens) if len(token) > 1 and i >= len(SPECIAL))


def test_equal_captions_give_an_equal_vocabulary() -> None:
    assert fit().files() == fit().files()


def test_text_is_composed_and_marks_in_it_are_spaces() -> None:
    fitted = fit(["café crème", "café▁crème"], unit="words")
    assert fitted.encode("café crème") == fitted.encode("cafe\u0301   cre\u0300me") == fitted.encode("café▁crème")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=6), st.sampled_from(UNITS))
def test_any_text_fits_and_round_trips(captions: list[str], unit: str) -> None:
    if not any(text.replace("▁", " ").split() for text in captions):
        with pytest.raises(DataError, match="no caption"):
            fit(captions, unit=unit)
        return
    fitted = fit(captions, unit=unit, vocab_size=2000, max_length=200, language="")
    again = load(fitted.files())
    assert isinstance(again, CaptionPreprocessor)
    assert again.tokens == fitted.tokens
    for caption in captions:
        ids = fitted.encode(caption)
        assert ids == again.encode(caption)
        if UNKNOWN not in ids:
            pieces = "".join(fitted.pieces(ids))
            assert fitted.decode(ids) == pieces.replace("▁", " ").strip()


def test_files_are_plain_and_complete() -> None:
    fitted = fit(unit="words")
    files = fitted.files()
    assert set(files) == {"preprocessor.json", "vocab.txt"}
    assert files["vocab.txt"].decode().splitlines() == list(fitted.tokens)
    description = json.loads(files["preprocessor.json"])
    assert description["kind"] == "captioning"
    assert description["image"] == {
        "height": 6,
        "width": 8,
        "channels": "RGB",
        "background": [255, 255, 255],
        "resize": "bilinear-antialias",
    }
    again = load(files)
    assert isinstance(again, CaptionPreprocessor)
    assert (again.image_size, again.max_length, again.language, again.unit) == ((6, 8), 9, "en", "words")


@pytest.mark.parametrize(
    "damage",
    [
        {"vocab.txt": b"hand\n"},
        {"vocab.txt": "\n".join([*SPECIAL, "a", "a"]).encode()},
        {"vocab.txt": "\n".join([*SPECIAL, "a b"]).encode()},
        {"vocab.txt": "\n".join([*SPECIAL, "", "b"]).encode()},
        {"vocab.txt": b"\xff\xfe"},
        {"max_length": 0},
        {"max_length": "7"},
        {"image": {"height": 0, "width": 8}},
        {"image": {"height": 10**9, "width": 8}},
        {"unit": "letters"},
        {"language": 3},
        {"format_version": 99},
    ],
)
def test_damaged_files_are_refused(damage: dict[str, Any]) -> None:
    files = fit().files()
    if "vocab.txt" in damage:
        files.update(damage)
    else:
        files["preprocessor.json"] = json.dumps({**json.loads(files["preprocessor.json"]), **damage}).encode()
    with pytest.raises(ModelFileError, match="damaged"):
        load(files)


def test_request_and_result() -> None:
    fitted = fit(unit="words")
    picture = Image.new("RGB", (100, 50), "red")
    request = fitted.request(picture)
    assert request["image"].shape == (1, 6, 8, 3) and request["image"].dtype == np.uint8
    ids = fitted.encode("raised hand")
    attention = np.zeros((1, 8, 2, 3), np.float32)
    attention[0, :2] = [[[0.5, 0, 0], [0, 0, 0.5]], [[0, 1, 0], [0, 0, 0]]]
    outputs = {
        "tokens": np.array([[*ids, 0, 0, 0, 0, 0, 0]], np.int32),
        "length": np.array(2, np.int32),
        "score": np.array([-0.25], np.float32),
        "attention": attention,
    }
    caption = fitted.result(request, outputs)
    assert (caption.text, caption.score, caption.tokens) == ("raised hand", -0.25, ("▁raised", "▁hand"))
    np.testing.assert_array_equal(caption.attention, attention[0, :2])
    with pytest.raises(DataError, match="outside the vocabulary"):
        fitted.result(request, {**outputs, "tokens": outputs["tokens"] + 1000})
