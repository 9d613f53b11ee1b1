"""The page's modules that need no browser, run by Node.js: the same rules as Python's."""

from __future__ import annotations

import base64
import datetime
import json
import re
import shutil
import unicodedata
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zoo import preprocess
from zoo.errors import DataError
from zoo.export.bundle import read_bundle
from zoo.preprocess._table import Columns, parse_date
from zoo.preprocess.image import load_image
from zoo.preprocess.text import TextPreprocessor, split_words

# Node.js is asked for by `make test-full` only.
pytestmark = pytest.mark.full

Run = Callable[[str, Path, dict[str, Any]], dict[str, Any]]


@pytest.fixture(scope="module")
def modules(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the client that Node.js takes for modules."""
    client = tmp_path_factory.mktemp("web") / "client"
    shutil.copytree(repository / "export" / "clients" / "web", client)
    (client / "package.json").write_text('{"type": "module"}')
    return client


@pytest.fixture(scope="module")
def stored(repository: Path) -> dict[str, Path]:
    """A stored bundle of every task."""
    folder = repository / "tests" / "fixtures" / "bundle_v2"
    return {name: folder / f"{name}.tflite" for name in ("caption_attn", "price_attn", "text_attn")}


def test_texts(run_node: Run, modules: Path) -> None:
    texts = strange_texts(500)
    vocabulary = ["[PAD]", "[UNK]", "[MASK]", "[URL]", "love", "##ly", "the", "!", "中", "😀", "so", "é", "##é"]
    vocabulary += [*"abcdefghijklmnopqrstuvwxyz0123456789"] + [f"##{c}" for c in "abcdefghijklmnopqrstuvwxyz"]
    preprocessor = TextPreprocessor(vocabulary, ["bad", "good"], max_length=30, head=20)
    settings = json.loads(preprocessor.files()["preprocessor.json"])
    said = run_node(
        "web_modules.mjs", modules, {"text": {"settings": settings, "vocabulary": vocabulary, "texts": texts}}
    )
    for text, words, ids in zip(texts, said["words"], said["ids"], strict=True):
        assert words == split_words(text, 480), ascii(text[:200])
        assert ids == preprocessor.encode(text).tolist(), ascii(text[:200])


def test_tables(run_node: Run, modules: Path, stored: dict[str, Path], price_table: Callable[[int], str]) -> None:
    bundle = read_bundle(stored["price_attn"])
    preprocessor = preprocess.load(bundle.folder("preprocessor"))
    tables = [price_table(number).encode() for number in range(20)] + strange_tables(price_table(0), price_table(7))
    job = {
        "settings": bundle.json("preprocessor/preprocessor.json"),
        "tables": [base64.b64encode(table).decode() for table in tables],
    }
    answers = run_node("web_modules.mjs", modules, {"series": job})["tables"]
    refused = 0
    for table, answer in zip(tables, answers, strict=True):
        try:
            expected: Any = preprocessor.request(table)["window"].reshape(-1).tolist()
        except DataError as error:
            expected = str(error)
            refused += 1
        assert answer == expected, table[:80]
    assert 8 <= refused <= 12


def test_dates_and_numbers(run_node: Run, modules: Path) -> None:
    said = run_node("web_modules.mjs", modules, {"dates": DATES, "numbers": NUMBERS})
    assert dict(zip(DATES, said["dates"], strict=True)) == {text: seconds_of(text) for text in DATES}
    assert dict(zip(NUMBERS, said["numbers"], strict=True)) == {text: number_of(text) for text in NUMBERS}


def test_resizing_is_pillows(run_node: Run, modules: Path) -> None:
    rng = np.random.default_rng(0)
    pictures = []
    for height, width, new_height, new_width in rng.integers(1, 300, (16, 4)).tolist() + [[40, 30, 40, 30]]:
        pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        pictures.append((pixels, (new_height, new_width)))
    job = [{"rgb": base64.b64encode(p).decode(), "from": p.shape[:2], "to": size} for p, size in pictures]
    answers = run_node("web_modules.mjs", modules, {"resize": job})["pictures"]
    for (pixels, size), answer in zip(pictures, answers, strict=True):
        got = np.frombuffer(base64.b64decode(answer), np.uint8).reshape(*size, 3)
        assert np.abs(got.astype(int) - load_image(pixels, size)).max() <= 1


def test_bundles(run_node: Run, modules: Path, stored: dict[str, Path], tmp_path: Path) -> None:
    whole = stored["text_attn"].read_bytes()
    start, manifest = whole.index(b"manifest.json") - 30, whole.index(b'"format_version"')
    cases = {
        "cut": (whole[:-7], "cut short"),
        "empty": (b"", "not a .tflite file"),
        "foreign": (b"\0" * 100, "not a .tflite file"),
        "bare": (whole[:start], "carries no bundle"),
        "weight": (flip(whole, 3000), "the model does not match its SHA-256"),
        "entry": (flip(whole, whole.index(b"[UNK]")), "entry 'preprocessor/vocab.txt' does not match its SHA-256"),
        "manifest": (flip(whole, manifest + 20), "manifest.json does not match its checksum"),
        "directory": (flip(whole, whole.rindex(b"manifest.json")), "its first entry is no plain manifest.json"),
        "end": (flip(whole, len(whole) - 6), "its end record is inconsistent"),
    }
    cases["newer"] = (newer(whole), "made by a newer version (bundle format 99, this page reads up to 2)")
    for name, (data, _) in cases.items():
        (tmp_path / name).write_bytes(data)
    files = [*stored.values(), *(tmp_path / name for name in cases)]
    answers = run_node("web_modules.mjs", modules, {"files": list(map(str, files))})["files"]
    assert answers[: len(stored)] == [list(read_bundle(path).entries) for path in stored.values()]
    for (name, (_, message)), answer in zip(cases.items(), answers[len(stored) :], strict=True):
        assert message in answer, name
        assert "\n" not in answer


def flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def newer(data: bytes) -> bytes:
    """Return a bundle with format version 99 (and one space less), its checksums set right."""
    changed = re.sub(rb'"format_version": 2,\n ', b'"format_version": 99,\n', data, count=1)
    local, record = data.index(b"manifest.json") - 30, data.rindex(b"manifest.json") - 46
    size = int.from_bytes(data[local + 18 : local + 22], "little")
    crc = zlib.crc32(changed[local + 43 : local + 43 + size]).to_bytes(4, "little")
    for at in (local + 14, record + 16):
        changed = changed[:at] + crc + changed[at + 4 :]
    assert len(changed) == len(data)
    return changed


def strange_texts(count: int) -> list[str]:
    """Return texts of every script, with links, entities, emoji, repeats and control characters."""
    rng = np.random.default_rng(3)
    known = [chr(code) for code in range(0x20, 0x3000) if unicodedata.category(chr(code)) != "Cn"]
    known += [c for c in map(chr, rng.integers(0x3000, 0x30000, 6000).tolist()) if unicodedata.category(c)[0] != "C"]
    pieces = ["https://a.b/ç?d=1", "http://", "www.x", "&lt;", "&amp;amp;", "&nbsp;", "soooooo", "!!!!!", "😀😀😀😀"]
    pieces += [
        "👩🏽‍❤️‍👨🏾",
        "İSTANBUL",
        "ΟΔΥΣΣΕΥΣ",
        "ΑΣ.",
        "straße",
        "ﬁne",
        "½",
        "中文字",
        "한국어",
        "ไทย",
        "नमस्ते",
        "\u200b\ufeff",
    ]
    pieces += ["\x85", "\x1c", "ａｂｃ", "x" * 80, "[URL]", "##ing", "ŉ", "ǅ", "lovely", "awful", "film", "the"]
    texts = []
    for _ in range(count):
        words = []
        for _ in range(rng.integers(0, 25)):
            few = rng.integers(1, 6)
            words.append(str(rng.choice(pieces)) if rng.random() < 0.6 else "".join(rng.choice(known, few)))
        texts.append(str(rng.choice([" ", "", "\n"])).join(words))
    return [*texts, "", "a" * 5000, "lovely b " * 3000]


def strange_tables(plain: str, split: str) -> list[bytes]:
    """Return tables with a fault each, and odd ones without."""
    return [
        b"",
        b"\n\n",
        b"date,open",
        b'date,open,high,low,close,volume\n2020-01-01,"1\n",1,1,1',
        b"date,open,OPEN\n1,2,3",
        b"\xef\xbb\xbfdate,open\n",
        plain.replace("\n", "\r").encode(),
        plain.replace("2021-03-02", "2021-03-01").encode(),
        plain.replace("2021-03-02", "it's May").encode(),
        plain.replace("Date", "when").encode(),
        (plain + "\n,,,,,,\n   \n").encode(),
        re.sub(r"2(?=\r)", "0", split).encode(),
        re.sub(r"\S+(?=,\d+,1$)", "nan", plain).encode(),
        re.sub(r"\S+(?=,\d+,1$)", "-1e-7", plain).encode(),
    ]


DATES = [
    "20110131",
    "1993",
    "3.5",
    "2011-02-30",
    "2011-W05-1",
    "2011W051",
    "2020-W53-7",
    "2021-W53-1",
    "2011-01-31T10:20",
    "2011-01-31 10:20:30.123+02:00",
    "2011-01-31T10Z",
    "2011-01-31T10:20:30-0530",
    "1/31/2011",
    "2011/01/31 9:05",
    "5-jAn-2011",
    "5-Foo-2011",
    " 2011-01-31 ",
    "2011-01-31T24:00",
    "0000-01-01",
    "29.2.2011",
    "29.2.2012",
    "",
]
NUMBERS = [
    "1",
    "1.",
    "-.5",
    ".",
    " 1e3 ",
    "1_000",
    "1__0",
    "nan",
    "-NaN",
    "inf",
    "-Infinity",
    "0x10",
    "1e",
    "",
    "1,0",
]


def seconds_of(text: str) -> int | None:
    date = parse_date(text)
    return None if date is None else int(date.replace(microsecond=0, tzinfo=datetime.UTC).timestamp())


def number_of(text: str) -> str:
    """Return the number of a cell as JavaScript shows it."""
    try:
        (value,) = Columns("The table", {"x": [text]}, ["line 2"]).numbers("x", 1)
    except DataError:
        return "null"
    return {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}.get(str(value), f"{value:g}")
