from __future__ import annotations

import gzip
import json
from collections import Counter

import pytest

from zoo import datasets
from zoo.datasets import _table
from zoo.errors import DataError

ROWS = [(f"a quite good thing no{chr(97 + i // 26)}{chr(97 + i % 26)}", ["bad", "good"][i % 2]) for i in range(200)]


def table(rows=ROWS, header="text,label") -> str:
    return header + "\n" + "".join(f"{text},{label}\n" for text, label in rows)


def load(path, **options):
    return datasets.load(path, task="text_classification", **options)


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".csv.gz", ".txt"])
def test_formats(tmp_path, suffix):
    if suffix == ".jsonl":
        content = "".join(json.dumps({"text": text, "label": label, "more": 1}) + "\n" for text, label in ROWS)
    else:
        content = table().replace(",", "\t") if suffix == ".tsv" else table()
    path = tmp_path / f"data{suffix}"
    path.write_bytes(gzip.compress(content.encode()) if suffix.endswith(".gz") else content.encode())
    data = load(path, language="en")
    assert {name: len(source) for name, source in data.splits().items()} == {"train": 160, "valid": 20, "test": 20}
    assert data.class_names == ("bad", "good")
    assert data.language == "en"
    for source in data.splits().values():
        assert set(Counter(record["label"] for record in source).values()) == {len(source) // 2}
    records = [record for source in data.splits().values() for record in source]
    assert sorted((record["text"], record["label"]) for record in records) == sorted(ROWS)


def test_quotes_semicolons_and_marks(tmp_path):
    path = tmp_path / "a.csv"
    body = "".join(f'"{text}; ""so, so""";{label}\r\n' for text, label in ROWS)
    path.write_bytes(b"\xef\xbb\xbf" + f"text;label\r\n{body}\r\n".encode())
    assert load(path).split("train")[0]["text"].endswith('; "so, so"')
    tsv = tmp_path / "b.tsv"
    tsv.write_text("label\ttext\n" + "".join(f'{label}\t"{text}\n' for text, label in ROWS))
    assert load(tsv).split("train")[0]["text"].startswith('"a quite')


def test_columns_are_options_and_numbers_sort_by_value(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(table([(text, str(i % 12)) for i, (text, _) in enumerate(ROWS)], header="review,stars"))
    data = load(path, text_column="review", label_column="stars")
    assert data.class_names == tuple(str(number) for number in range(12))


def test_duplicates_are_removed_and_near_duplicates_stay_together(tmp_path):
    rows = ROWS + ROWS[:50] + [(f"{text}! @user", label) for text, label in ROWS[:60]]
    path = tmp_path / "a.csv"
    path.write_text(table(rows))
    splits = load(path).splits()
    assert sum(len(source) for source in splits.values()) == 260
    owner: dict[str, str] = {}
    for name, source in splits.items():
        for record in source:
            assert owner.setdefault(record["group"], name) == name


def test_a_folder_with_given_splits(tmp_path):
    (tmp_path / "train.tsv").write_text(table().replace(",", "\t"))
    (tmp_path / "dev.csv").write_text(table([*ROWS[:5], ("quite new", "good"), ("test only", "bad")]))
    (tmp_path / "test.jsonl").write_text(json.dumps({"text": "Test only!", "label": "good"}) + "\n")
    (tmp_path / "README.md").write_text("hello")
    data = load(tmp_path)
    assert {name: len(source) for name, source in data.splits().items()} == {"train": 195, "valid": 6, "test": 1}
    (tmp_path / "dev.csv").unlink()
    assert {name: len(source) for name, source in load(tmp_path).splits().items()} == {
        "train": 180,
        "valid": 20,
        "test": 1,
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty; it must have a row of column names"),
        ("text,label\n", "has no rows of data"),
        (table(header="words,label"), "has no column 'text'; it has words, label. Name one with text_column"),
        (table(header="text,stars"), "has no column 'label'; it has text, stars. Name one with label_column"),
        (table(header="text,text"), "has several columns named 'text'"),
        (table([(text, "good") for text, _ in ROWS]), "has a single class, 'good', in column 'label'"),
        (table(ROWS[:19]), "has too few rows: 19 distinct texts, and training needs at least 20"),
        (table([*ROWS, ("", "good")]), "line 202 has no text; fill it in or remove the row"),
        (table([*ROWS, ("x", " ")]), "line 202 has no label"),
        (table([*ROWS, ("a,b", "good")]), "line 202 has 3 fields, but there are 2 columns"),
    ],
)
def test_bad_tables(tmp_path, content, message):
    path = tmp_path / "a.csv"
    path.write_text(content)
    with pytest.raises(DataError, match=message) as caught:
        load(path).splits()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 201 is not valid JSON"),
        ("3", "line 201 is no JSON object"),
        ('{"text": "x"}', "line 201 has no field 'label'; it has text. Name one with label_column"),
        ('{"text": 3, "label": "x"}', "line 201: the text must be a string"),
        ('{"text": "x", "label": null}', "line 201: the text must be a string and the label"),
    ],
)
def test_bad_json_lines(tmp_path, line, message):
    path = tmp_path / "a.jsonl"
    rows = "".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in ROWS)
    path.write_text(rows + line + "\n")
    with pytest.raises(DataError, match=message):
        load(path).splits()


def test_bad_bytes_and_sizes(tmp_path, monkeypatch):
    path = tmp_path / "a.csv"
    path.write_bytes(table().encode() + b"caf\xe9,good\n")
    with pytest.raises(DataError, match="is not UTF-8: line 202 has the byte 0xe9; convert it"):
        load(path).splits()
    path.write_text(table([*ROWS, ("x" * (_table.MAX_FIELD + 1), "good")]))
    with pytest.raises(DataError, match="line 202: field larger than field limit"):
        load(path).splits()
    packed = tmp_path / "a.csv.gz"
    packed.write_bytes(gzip.compress(table().encode())[:-20])
    with pytest.raises(DataError, match="Cannot read .*a.csv.gz"):
        load(packed).splits()
    packed.write_bytes(gzip.compress(table().encode()))
    monkeypatch.setattr(_table.read_text, "__kwdefaults__", {"limit": 1 << 10})
    with pytest.raises(DataError, match="is larger than 0 MiB"):
        load(packed).splits()


def test_bad_folders(tmp_path):
    with pytest.raises(DataError, match="has no CSV, TSV or JSONL file"):
        load(tmp_path).splits()
    (tmp_path / "other.csv").write_text(table())
    with pytest.raises(DataError, match="has no train.csv, train.tsv or train.jsonl; it has other.csv"):
        load(tmp_path).splits()
    (tmp_path / "train.csv").write_text(table())
    (tmp_path / "valid.csv").write_text(table([("new", "strange")]))
    with pytest.raises(DataError, match="Split 'valid' of .* has the class 'strange', which training has not"):
        load(tmp_path).splits()
    (tmp_path / "val.csv").write_text(table())
    with pytest.raises(DataError, match="has both 'val.csv' and 'valid.csv'; remove one"):
        load(tmp_path).splits()


def test_a_label_column_of_free_text(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(table([(f"{ROWS[i % 200][0]} {chr(97 + i // 200)}", f"label {i}") for i in range(1500)]))
    with pytest.raises(DataError, match="has 1[0-9]+ different values; at most 1000 classes"):
        load(path).splits()
