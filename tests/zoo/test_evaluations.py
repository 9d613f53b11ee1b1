"""Names of evaluations and their stored answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from zoo.errors import DataError, ModelFileError
from zoo.evaluations import evaluation_name, read_answers, write_answers

ANSWERS = [{"id": "a", "caption": "a cat – 猫", "score": -0.25, "novel": None}, {"id": "b", "references": ["x", "y"]}]


@pytest.mark.parametrize(
    ("split", "options", "name"),
    [
        ("valid", {}, "valid"),
        ("test", {"max_length": 9, "beam_width": 3}, "test-beam_width=3,max_length=9"),
        ("valid", {"never": ("a/b", "..")}, "valid-never=_a_b_,_.._"),
    ],
)
def test_names(split: str, options: dict[str, object], name: str) -> None:
    assert evaluation_name(split, options) == name


def test_a_name_is_never_too_long_for_a_file() -> None:
    long = [evaluation_name("valid", {"never": ("猫" * 200, last)}) for last in "ab"]
    assert all(len(name.encode()) <= 100 and name.startswith("valid-never=") for name in long) and long[0] != long[1]


def test_answers_come_back(tmp_path: Path) -> None:
    write_answers(tmp_path, "valid-beam_width=3", ANSWERS)
    assert read_answers(tmp_path, "valid-beam_width=3") == ANSWERS
    assert len((tmp_path / "answers" / "valid-beam_width=3.jsonl").read_text(encoding="utf-8").splitlines()) == 2
    write_answers(tmp_path, "valid-beam_width=3", ANSWERS[:1])
    assert read_answers(tmp_path, "valid-beam_width=3") == ANSWERS[:1]


def test_missing_answers_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no answers of 'valid' \(it has: none\); run: zoo evaluate"):
        read_answers(tmp_path, "valid")
    write_answers(tmp_path, "test", ANSWERS)
    (tmp_path / "valid.jsonl").write_text('{"id": "outside"}\n')
    for name in ("valid", "../valid", "..", "", "x/../test"):
        with pytest.raises(DataError, match="it has: test"):
            read_answers(tmp_path, name)


@pytest.mark.parametrize("content", [b"", b"{", b'{"a": NaN}\n', b"[1]\n", b"\xff\n", b'{"a": 1}\n7\n'])
def test_damaged_answers_are_named(tmp_path: Path, content: bytes) -> None:
    write_answers(tmp_path, "test", ANSWERS)
    (tmp_path / "answers" / "test.jsonl").write_bytes(content)
    with pytest.raises(ModelFileError, match="damaged.*evaluate the run again") as error:
        read_answers(tmp_path, "test")
    assert "\n" not in str(error.value)
