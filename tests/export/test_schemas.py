"""The JSON schemas in docs/schemas describe what real bundles hold, and refuse what the reader refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from zoo import preprocess
from zoo.errors import ModelFileError
from zoo.export.bundle import FORMAT_VERSION, read_bundle

ROOT = Path(__file__).resolve().parent.parent.parent
STORED = sorted((ROOT / "tests" / "fixtures").glob("bundle_v?/*.tflite"))
FILES = {
    "preprocessor/preprocessor.json": "preprocessor",
    "golden/golden.json": "golden",
    "report.json": "report",
}


def validator(name: str) -> Draft202012Validator:
    schema = json.loads((ROOT / "docs" / "schemas" / f"{name}.schema.json").read_text())
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


@pytest.mark.parametrize("path", STORED, ids=str)
def test_real_bundles_are_valid(path: Path) -> None:
    bundle = read_bundle(path)
    validator("manifest").validate(bundle.manifest)
    for file, name in FILES.items():
        validator(name).validate(bundle.json(file))


def test_every_schema_is_tested_and_knows_the_version() -> None:
    found = {path.name.removesuffix(".schema.json") for path in (ROOT / "docs" / "schemas").glob("*.json")}
    assert found == {"manifest", *FILES.values()}
    assert validator("manifest").schema["properties"]["format_version"]["maximum"] == FORMAT_VERSION


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("text_attn", {"max_length": 0}),
        ("text_attn", {"max_length": "12"}),
        ("text_attn", {"max_length": 10**9}),
        ("text_attn", {"head": -1}),
        ("text_attn", {"classes": "no"}),
        ("text_attn", {"classes": ["one"]}),
        ("text_attn", {"classes": ["a", "a"]}),
        ("text_attn", {"classes": [1, 2]}),
        ("text_attn", {"format_version": 2}),
        ("text_attn", {"rules": 2}),
        ("text_attn", {"kind": "other"}),
        ("caption_attn", {"image": {"height": 24}}),
        ("caption_attn", {"image": {"height": -24, "width": 24}}),
        ("caption_attn", {"image": {"height": 24.5, "width": 24}}),
        ("caption_attn", {"image": {"height": 10**6, "width": 24}}),
        ("caption_attn", {"image": []}),
        ("caption_attn", {"max_length": None}),
        ("caption_attn", {"unit": "letters"}),
        ("caption_attn", {"language": 5}),
        ("price_attn", {"columns": []}),
        ("price_attn", {"columns": "close"}),
        ("price_attn", {"columns": ["close", 5]}),
        ("price_attn", {"window": 1}),
        ("price_attn", {"window": 10**9}),
        ("price_attn", {"window": True}),
        ("price_attn", {"horizon": "3"}),
        ("price_attn", {"levels": []}),
        ("price_attn", {"levels": [0.1, 1.5]}),
        ("price_attn", {"price_columns": [-1]}),
        ("price_attn", {"log_prices": "yes"}),
        ("price_attn", {"scale_floor": 0}),
    ],
)
def test_what_the_schema_refuses_the_reader_refuses(name: str, change: dict[str, Any]) -> None:
    files = read_bundle(ROOT / "tests" / "fixtures" / "bundle_v2" / f"{name}.tflite").folder("preprocessor")
    description = json.loads(files["preprocessor.json"]) | change
    assert not validator("preprocessor").is_valid(description)
    with pytest.raises(ModelFileError) as caught:
        preprocess.load({**files, "preprocessor.json": json.dumps(description).encode()})
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("price_attn", {"target": "nowhere"}),
        ("price_attn", {"levels": [0.9, 0.1]}),
        ("price_attn", {"price_columns": [99]}),
        ("price_attn", {"columns": ["open", "OPEN", "low", "close", "volume"]}),
        ("text_attn", {"head": 60_000}),
    ],
)
def test_the_reader_refuses_what_no_schema_can_say(name: str, change: dict[str, Any]) -> None:
    files = read_bundle(ROOT / "tests" / "fixtures" / "bundle_v2" / f"{name}.tflite").folder("preprocessor")
    description = json.loads(files["preprocessor.json"]) | change
    with pytest.raises(ModelFileError):
        preprocess.load({**files, "preprocessor.json": json.dumps(description).encode()})


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"5", b"{", b'{"kind": "text_classification"}', b'{"kind": "captioning", "kind": "captioning"}',
     b'{"kind": NaN}', b'{"kind": 1e999}', b'{"kind": "\\ud800"}', b"\xff", b"[" * 100_000, b"9" * 5000],
)  # fmt: skip
def test_preprocessors_that_are_no_json_or_hostile(content: bytes) -> None:
    with pytest.raises(ModelFileError) as caught:
        preprocess.load({"preprocessor.json": content})
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "content",
    [b"", b"\n" * 1_500_000, b"\xff\n", "".join(f"{i}\n" for i in range(1_000_001)).encode(), b"[PAD]\n[UNK]\n[MASK]\n",
     b"[PAD]\n[UNK]\n[MASK]\n[URL]\na\na\n", b"[PAD]\n[UNK]\n[MASK]\n[URL]\n" + b"x" * 1_000_000],
    ids=range(7),
)  # fmt: skip
def test_vocabularies_that_are_none_or_hostile(content: bytes) -> None:
    files = read_bundle(ROOT / "tests" / "fixtures" / "bundle_v2" / "text_attn.tflite").folder("preprocessor")
    with pytest.raises(ModelFileError) as caught:
        preprocess.load({**files, "vocab.txt": content})
    assert len(str(caught.value)) < 500
