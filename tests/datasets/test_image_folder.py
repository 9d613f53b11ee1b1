"""A user's own labelled pictures: folders of folders and tables, what is left out, and the splits."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from zoo import datasets
from zoo.datasets import Dataset
from zoo.datasets._write_shards import write_shards
from zoo.errors import DataError

CLASSES = ("cat", "dog")


def picture(path: Path, seed: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 6, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def make(folder: Path, count: int = 20, start: int = 0) -> Path:
    for label_number, label in enumerate(CLASSES):
        for number in range(count):
            picture(folder / label / f"{number}.png", start + 1000 * label_number + number)
    return folder


def load(path: Path, **options: Any) -> Dataset:
    data = datasets.load(path, task="image_classification", **options)
    data.announce = False
    return data


def rows(data: Dataset) -> dict[str, dict[str, str]]:
    """Split -> id -> label."""
    return {
        name: {source[i]["id"]: source[i]["label"] for i in range(len(source))}
        for name, source in data.splits().items()
    }


def test_one_folder_a_class(tmp_path: Path) -> None:
    make(tmp_path)
    picture(tmp_path / "cat" / "deep" / "er" / "x.PNG", 1)  # the same picture as cat/1.png
    picture(tmp_path / "cat" / "more" / "y.png", 77)
    picture(tmp_path / ".hidden" / "z.png", 78)
    picture(tmp_path / "cat" / ".hidden" / "z.png", 79)
    (tmp_path / "cat" / "Thumbs.db").write_bytes(b"x")
    (tmp_path / "README.txt").write_text("hello")
    data = load(tmp_path)
    found = rows(data)
    assert {name: len(ids) for name, ids in found.items()} == {"train": 33, "valid": 4, "test": 4}
    assert data.class_names == CLASSES and data.left_out == ()  # type: ignore[attr-defined]
    for name in ("valid", "test"):
        assert Counter(found[name].values()) == {"cat": 2, "dog": 2}
    everything = {file: label for ids in found.values() for file, label in ids.items()}
    assert len(everything) == 41 and all(file.split("/")[0] == label for file, label in everything.items())
    assert "cat/more/y.png" in everything and "cat/deep/er/x.PNG" not in everything
    assert set(data.split("train")[0]) == {"id", "group", "image", "label"}
    assert rows(load(tmp_path)) == found and rows(load(tmp_path, seed=1)) != found


@pytest.mark.parametrize("names", [("train", "val", "test"), ("Training", "validation", None), ("train", None, "test")])
def test_folders_of_splits(tmp_path: Path, names: tuple[str | None, ...]) -> None:
    for number, name in enumerate(names):
        if name is not None:
            make(tmp_path / name, (12, 4, 5)[number], 100 * number)
    found = rows(load(tmp_path))
    taken = 0 if names[1] else len(found["valid"])
    assert set(found) == {"train", "valid", *(["test"] if names[2] else [])}
    assert len(found["train"]) == 24 - taken and taken in (0, 2)
    if names[1]:
        assert all(file.startswith(f"{names[1]}/") for file in found["valid"]) and len(found["valid"]) == 8
    if names[2]:
        assert len(found["test"]) == 10


def test_a_class_may_be_called_as_a_split(tmp_path: Path) -> None:
    make(tmp_path)
    (tmp_path / "dog").rename(tmp_path / "train")
    assert load(tmp_path).class_names == ("cat", "train")  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl"])
@pytest.mark.parametrize("place", ["beside", "images", "zip"])
def test_tables(tmp_path: Path, kind: str, place: str) -> None:
    make(tmp_path / "images")
    named = [(f"{label}/{number}.png", label) for label in CLASSES for number in range(20)]
    if kind == "jsonl":
        content = "".join(json.dumps({"file": file, "label": label}) + "\n" for file, label in named)
    else:
        mark = "," if kind == "csv" else "\t"
        content = f"file{mark}label\n" + "".join(f"{file}{mark}{label}\n" for file, label in named)
    table = tmp_path / f"labels.{kind}"
    table.write_text(content)
    if place == "beside":
        for label in CLASSES:
            (tmp_path / "images" / label).rename(tmp_path / label)
    elif place == "zip":
        with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
            for file, _ in named:
                archive.write(tmp_path / "images" / file, file)
        shutil.rmtree(tmp_path / "images")
    found = rows(load(tmp_path))
    assert {name: len(ids) for name, ids in found.items()} == {"train": 32, "valid": 4, "test": 4}
    assert rows(load(table)) == found
    image = load(tmp_path).split("train")[0]["image"]
    assert isinstance(image, bytes) if place == "zip" else Path(image).is_file()


def test_columns_and_splits_of_a_table(tmp_path: Path) -> None:
    make(tmp_path, 12)
    lines = ["name,stars,split"]
    for number in range(12):
        lines += [
            f"cat/{number}.png,10,{'dev' if number < 2 else 'train'}",
            f"dog/{number}.png,9,{'' if number else 'test'}",
        ]
    lines.append("cat/0.png,10,test")  # in two splits: test
    (tmp_path / "my.csv").write_text("\n".join(lines))
    data = load(tmp_path / "my.csv", file_column="name", label_column="stars")
    assert data.class_names == ("9", "10")  # type: ignore[attr-defined]
    found = rows(data)
    assert set(found["test"]) == {"cat/0.png", "dog/0.png"} and set(found["valid"]) == {"cat/1.png"}
    assert len(found["train"]) == 21


def test_bad_pictures_are_left_out_and_named(tmp_path: Path) -> None:
    make(tmp_path)
    (tmp_path / "cat" / "0.png").write_bytes(b"no picture")
    (tmp_path / "dog" / "3.png").write_bytes((tmp_path / "dog" / "3.png").read_bytes()[:60])
    data = load(tmp_path)
    assert sum(len(ids) for ids in rows(data).values()) == 38
    assert {file for file, _ in data.left_out} == {"cat/0.png", "dog/3.png"}


def test_pictures_of_formats_that_are_not_read_are_named(tmp_path: Path) -> None:
    make(tmp_path)
    (tmp_path / "cat" / "0.heic").write_bytes(b"ftypheic")
    (tmp_path / "cat" / "1.png").rename(tmp_path / "cat" / "1.jfif")
    data = load(tmp_path)
    assert "cat/1.jfif" in {file for ids in rows(data).values() for file in ids}
    ((file, reason),) = data.left_out
    assert file == "cat/0.heic" and "is not a PNG" in reason


@pytest.mark.parametrize("seed", range(5))
def test_a_class_of_one_picture_is_learned(tmp_path: Path, seed: int) -> None:
    make(tmp_path)
    for number in range(6):
        picture(tmp_path / f"rare{number}" / "only.png", 5000 + number)
    data = load(tmp_path, seed=seed)
    found = rows(data)
    assert {f"rare{number}/only.png" for number in range(6)} <= set(found["train"])
    assert len(data.class_names) == 8  # type: ignore[attr-defined]


def test_pictures_with_two_labels(tmp_path: Path) -> None:
    make(tmp_path)
    shutil.copy(tmp_path / "cat" / "5.png", tmp_path / "dog" / "five.png")
    shutil.copy(tmp_path / "cat" / "6.png", tmp_path / "dog" / "six.png")
    shutil.copy(tmp_path / "cat" / "6.png", tmp_path / "dog" / "sixth.png")
    data = load(tmp_path)
    everything = {file: label for ids in rows(data).values() for file, label in ids.items()}
    assert everything["cat/6.png"] == "dog"  # two of three
    assert {file for file, _ in data.left_out} == {"cat/5.png", "dog/five.png"}
    assert "has the labels 'cat' and 'dog'" in dict(data.left_out)["cat/5.png"]
    assert len(everything) == 39


def test_copies_never_straddle_splits(tmp_path: Path) -> None:
    make(tmp_path)
    for number in range(20):
        shutil.copy(tmp_path / "cat" / f"{number}.png", tmp_path / "cat" / f"copy{number}.png")
    data = load(tmp_path)
    contents = {
        name: {Path(source[i]["image"]).read_bytes() for i in range(len(source))}
        for name, source in data.splits().items()
    }
    assert sum(map(len, contents.values())) == len(set().union(*contents.values())) == 40


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("file,label\n", "has 0 different pictures"),
        ("file,class\ncat/1.png,a\n", r"has no column 'label'.*Name one with label_column"),
        ("file,label\n../secret.png,a\n", "points outside"),
        ("file,label\n/etc/passwd,a\n", "points outside"),
        ("file,label\n,a\n", "line 2 has no 'file' or 'label'"),
        ("file,label\ncat/1.png,\n", "line 2: the label is empty"),
        ("file,label,split\ncat/1.png,a,other\n", "split 'other' is unknown"),
        ("file,label\nnone.png,a\n", "more than half"),
        ("file,label\n" + "".join(f"cat/{i}.png,a\n" for i in range(20)), "has 1 classes"),
        (
            "file,label,split\n" + "".join(f"cat/{i}.png,{i % 2},\n" for i in range(18)) + "cat/19.png,new,test\n",
            "Split 'test' of .* has the class 'new'",
        ),
    ],
)
def test_tables_that_cannot_be_used(tmp_path: Path, table: str, message: str) -> None:
    make(tmp_path)
    (tmp_path / "labels.csv").write_text(table)
    with pytest.raises(DataError, match=message):
        load(tmp_path).splits()


def test_there_are_no_shards_for_it(tmp_path: Path) -> None:
    data = load(make(tmp_path / "data"))
    with pytest.raises(DataError, match="no shards for image_classification; train on 'image_folder' as it is"):
        write_shards(data, tmp_path / "shards", shards=2)
    assert not (tmp_path / "shards").exists()


def test_folders_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="neither sub-folders with pictures"):
        load(tmp_path / "empty").splits()
    few = make(tmp_path / "few", 3)
    with pytest.raises(DataError, match="has 6 different pictures"):
        load(few).splits()
    twice = tmp_path / "twice"
    for name in ("train", "val", "dev"):
        make(twice / name, 6)
    with pytest.raises(DataError, match="several folders of one split"):
        load(twice).splits()
    make(tmp_path / "stray" / "train")
    make(tmp_path / "stray" / "test", 6, 500)
    make(tmp_path / "stray" / "samples", 6, 900)
    with pytest.raises(DataError, match=r"folders of splits and others \(samples\); move the others away"):
        load(tmp_path / "stray").splits()
    with pytest.raises(DataError, match="There is no file or folder"):
        datasets.load("image_folder", task="image_classification", path="/nowhere/at/all").splits()
    with pytest.raises(DataError, match="need their folder or table"):
        datasets.load("image_folder", task="image_classification").splits()
    outside = make(tmp_path / "outside")
    picture(tmp_path / "secret.png", 5)
    (outside / "cat" / "link.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(DataError, match="is a link that points outside"):
        load(outside).splits()
