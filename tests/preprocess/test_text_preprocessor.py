"""Text to token ids: the rules one by one, the same ids as the `tokenizers` library, and input of every kind."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.errors import DataError, ModelFileError
from zoo.preprocess import load
from zoo.preprocess.text import PAD, SPECIAL, UNK, TextPreprocessor, split_words

ENGLISH = [
    "The film was lovely, and the music too!",
    "An awful film; the plot was awful and the acting worse.",
    "What a lovely plot :) see http://example.com/a?b=1 @critic",
    "the actors were playing, the children played, we replayed it",
] * 3
CHINESE = ["酒店很好，早餐也好。", "房间很小，服务很差！", "书很好看，送货也快，good", "质量差，再也不买了"] * 3


@pytest.fixture(scope="module")
def english() -> TextPreprocessor:
    return TextPreprocessor.fit(ENGLISH, ["bad", "good"], vocab_size=120, max_length=16)


@pytest.fixture(scope="module")
def chinese() -> TextPreprocessor:
    return TextPreprocessor.fit(CHINESE, ["差", "好"], vocab_size=80, max_length=16)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Don't  STOP", ["don", "'", "t", "stop"]),
        ("a &amp; b &lt;3", ["a", "&", "b", "<", "3"]),
        ("&amp;lt;", ["&", "lt", ";"]),
        ("ＦＵＬＬ ｗｉｄｔｈ ①", ["full", "width", "1"]),
        ("see https://t.co/Ab?c=d,e now", ["see", "[URL]", "now"]),
        ("www.example.com", ["[URL]"]),
        ("@Some_One2: hi", ["@", "some", "_", "one2", ":", "hi"]),
        ("soooooo goooood!!!!!!", ["soo", "good", "!", "!"]),
        ("2000 10000", ["200", "100"]),
        ("哈哈哈哈好 ok", ["哈", "哈", "哈", "哈", "好", "ok"]),
        ("很good的", ["很", "good", "的"]),
        ("naïve Ünïcode हिन्दी", ["naïve", "ünïcode", "हिन्दी"]),
        ("👍🏽 ❤️", ["👍", "🏽", "❤"]),
        ("zero\u200bwidth\u0000nul", ["zerowidth", "nul"]),
        ("snake_case", ["snake", "_", "case"]),
        ("\ud800 lone", ["lone"]),
        ("", []),
        (" \t\n", []),
    ],
)
def test_words(text: str, words: list[str]) -> None:
    assert split_words(text, 1000) == words


def test_a_long_text_is_read_from_both_ends() -> None:
    assert split_words("a" + "b " * 50_000 + "c", 8) == ["ab", "b", "b", "c"]
    assert split_words("abcdefgh", 8) == ["abcdefgh"]


def test_longest_piece_first(english: TextPreprocessor) -> None:
    pieces = [english.vocabulary[i] for i in english.encode("the film played")]
    assert pieces[:2] == ["the", "film"]
    assert pieces[2].startswith("play")
    assert english.encode("the")[0] == english.encode("THE ")[0]


def test_agrees_with_the_tokenizers_library(english: TextPreprocessor) -> None:
    from tokenizers import Tokenizer, models

    library = Tokenizer(
        models.WordPiece({token: i for i, token in enumerate(english.vocabulary)}, unk_token="[UNK]")  # type: ignore[call-arg]
    )
    words = sorted({word for text in [*ENGLISH, "unplayable zebra lovelier q"] for word in split_words(text, 1000)})
    for word in words:
        if word not in SPECIAL:
            assert list(english.encode(word)[: len(library.encode(word).ids)]) == library.encode(word).ids, word


def test_characters_of_chinese_are_tokens(chinese: TextPreprocessor) -> None:
    tokens = chinese.encode("酒店差 ok 龘")
    assert [chinese.vocabulary[i] for i in tokens[:3]] == ["酒", "店", "差"]
    assert tokens[5 if tokens[3] != UNK else 4] == UNK
    assert all(len(token) == 1 or token.isascii() for token in chinese.vocabulary)


def test_truncation_keeps_head_and_tail() -> None:
    pieces = [*SPECIAL, *"abcdefgh"]
    text = "a b c d e f g h"
    for head, kept in ((4, "abcd"), (0, "efgh"), (2, "abgh")):
        cut = TextPreprocessor(pieces, ["x", "y"], max_length=4, head=head)
        assert "".join(pieces[i] for i in cut.encode(text)) == kept
        assert cut.encode("a b").tolist() == [4, 5, 0, 0]


@pytest.mark.parametrize(
    "text", ["", " ", "龘" * 3, "x" * 1_000_000, "好 😀! \x00" * 200_000, "\ud83d", "a\u0301" * 9999]
)
def test_every_string_gets_an_answer(english: TextPreprocessor, text: str) -> None:
    tokens = english.request(text)["tokens"]
    assert tokens.shape == (1, 16)
    assert tokens.dtype == np.int32
    assert tokens[0, 0] != PAD


@given(st.text())
@settings(max_examples=200, deadline=None)
def test_ids_are_in_range_and_padding_is_at_the_end(text: str) -> None:
    preprocessor = TextPreprocessor([*SPECIAL, "a", "##a", "好"], ["x", "y"], max_length=8, head=4)
    tokens = preprocessor.encode(text)
    used = int((tokens != PAD).sum())
    assert 1 <= used <= 8
    assert (tokens[:used] != PAD).all()
    assert tokens.max() < len(preprocessor.vocabulary)


@pytest.mark.parametrize("value", [None, 3, b"bytes", ["a"], np.zeros(3)])
def test_what_is_no_string_is_refused(english: TextPreprocessor, value: object) -> None:
    with pytest.raises(DataError, match="must be a string"):
        english.request(value)


def test_fitting_needs_words() -> None:
    with pytest.raises(DataError, match="no word"):
        TextPreprocessor.fit(["", "  ", "http://x.y"], ["a", "b"])


def test_result_joins_pieces_into_words() -> None:
    preprocessor = TextPreprocessor([*SPECIAL, "play", "##ed", "well"], ["bad", "good"], max_length=5, head=5)
    request = preprocessor.request("played well")
    result = preprocessor.result(
        request,
        {"probabilities": np.array([[0.25, 0.75]], np.float32), "token_weights": np.array([[0.5, 0.25, 0.25, 0, 0]])},
    )
    assert result.label == "good"
    assert result.probabilities == {"bad": 0.25, "good": 0.75}
    assert result.token_weights == (("played", 0.75), ("well", 0.25))


def test_files_are_plain_and_round_trip(chinese: TextPreprocessor) -> None:
    files = chinese.files()
    assert set(files) == {"preprocessor.json", "vocab.txt"}
    assert files["vocab.txt"].decode().split("\n")[:4] == list(SPECIAL)
    assert json.loads(files["preprocessor.json"])["kind"] == "text_classification"
    again = load(files)
    assert isinstance(again, TextPreprocessor)
    assert again.files() == files
    for text in (*CHINESE, "", "mixed 文字 text"):
        np.testing.assert_array_equal(again.encode(text), chinese.encode(text))


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("vocab.txt", b"[UNK]", b"[???]"),
        ("vocab.txt", b"[PAD]\n", b""),
        ("vocab.txt", b"[MASK]", b"\xff\xfe"),
        ("preprocessor.json", b'"max_length": 16', b'"max_length": -1'),
        ("preprocessor.json", b'"max_length": 16', b'"max_length": "16"'),
        ("preprocessor.json", b'"head": 16', b'"head": 17'),
        ("preprocessor.json", b'"rules": 1', b'"rules": 2'),
        ("preprocessor.json", b'"classes"', b'"klasses"'),
        ("preprocessor.json", b"{", b"["),
    ],
)
def test_damaged_files_are_refused(chinese: TextPreprocessor, name: str, old: bytes, new: bytes) -> None:
    files = chinese.files()
    assert old in files[name]
    with pytest.raises(ModelFileError, match="damaged"):
        load({**files, name: files[name].replace(old, new, 1)})


def test_the_vocabulary_is_the_same_in_every_process() -> None:
    code = (
        "import hashlib\n"
        "from zoo.preprocess.text import TextPreprocessor\n"
        "texts = [f'{a}{b}ing {b}{a}ed 好{a}' for a in ('play', 'read', 'sing') for b in ('re', 'un', 'over')] * 3\n"
        "files = TextPreprocessor.fit(texts, ['a', 'b'], vocab_size=60, max_length=9).files()\n"
        "print(hashlib.sha256(files['vocab.txt']).hexdigest())\n"
    )
    runs = {
        subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True).stdout
        for _ in range(3)
    }
    assert len(runs) == 1


def test_fitting_alone_needs_the_tokenizers_library(english: TextPreprocessor) -> None:
    code = (
        "import sys\n"
        "sys.modules['tokenizers'] = None\n"
        "from zoo.preprocess.text import SPECIAL, TextPreprocessor\n"
        "print(TextPreprocessor([*SPECIAL, 'a'], ['x', 'y'], max_length=3, head=3).encode('a b').tolist())\n"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[4, 1, 0]"
