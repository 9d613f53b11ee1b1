from __future__ import annotations

import json
import pickle
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from zoo import datasets
from zoo.datasets import _images
from zoo.errors import ConfigError, DataError


def picture(path: Path, shade: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), (shade, 0, 0)).save(path)


def jsonl(folder: Path, rows: list[dict]) -> None:
    (folder / "captions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def load(folder, **options):
    return datasets.load(folder, task="captioning", **options).splits()


@pytest.fixture
def folder(tmp_path):
    for number in range(20):
        picture(tmp_path / f"{number}.png", number)
    return tmp_path


def rows(**extra):
    return [{"file": f"{number}.png", "caption": f"shade {number}", **extra} for number in range(20)]


def by_id(splits):
    return {record["id"]: (name, record) for name, source in splits.items() for record in source}


def test_json_lines_are_split_at_random(folder):
    jsonl(folder, rows())
    splits = load(folder)
    assert {name: len(source) for name, source in splits.items()} == {"train": 16, "valid": 2, "test": 2}
    found = by_id(splits)
    assert len(found) == 20
    record = found["7.png"][1]
    assert record["captions"] == ("shade 7",)
    assert Path(record["image"]) == folder / "7.png"
    assert by_id(load(folder)).keys() == found.keys()
    assert {i for i, (name, _) in by_id(load(folder, seed=4)).items() if name != "train"} != {
        i for i, (name, _) in found.items() if name != "train"
    }


def test_given_splits_and_several_captions(folder):
    splits_of = ["train"] * 14 + ["restval", "val", "val", "test", "test", "test"]
    jsonl(folder, [{**row, "captions": ["  a  b ", "c"], "split": s} for row, s in zip(rows(), splits_of, strict=True)])
    splits = load(folder)
    assert {name: len(source) for name, source in splits.items()} == {"train": 15, "valid": 2, "test": 3}
    assert splits["valid"][0]["captions"] == ("a b", "c")


def test_validation_is_taken_from_training_if_it_is_not_given(folder):
    jsonl(folder, [{**row, "split": "test" if i < 4 else "train"} for i, row in enumerate(rows())])
    splits = load(folder, valid_fraction=0.25)
    assert {name: len(source) for name, source in splits.items()} == {"train": 12, "valid": 4, "test": 4}
    assert {record["id"] for record in splits["test"]} == {f"{i}.png" for i in range(4)}


def test_coco(folder):
    (folder / "images").mkdir()
    for path in folder.glob("*.png"):
        path.rename(folder / "images" / path.name)
    content = {
        "images": [{"id": 100 + i, "file_name": f"{i}.png"} for i in range(20)],
        "annotations": [{"image_id": 100 + i, "caption": f"{word} {i}"} for i in range(19) for word in "ab"],
    }
    (folder / "captions_train.json").write_text(json.dumps(content))
    found = by_id(load(folder))
    assert len(found) == 19  # one picture has no caption
    assert found["3.png"][1]["captions"] == ("a 3", "b 3")
    assert Path(found["3.png"][1]["image"]).parent.name == "images"


def test_karpathy(folder):
    picture(folder / "val2014" / "x.png", 200)
    images = [
        {"filename": f"{i}.png", "split": "train", "sentences": [{"raw": f"shade {i}."}, {"raw": "b"}]}
        for i in range(20)
    ]
    images.append({"filename": "x.png", "filepath": "val2014", "split": "val", "sentences": [{"raw": "x"}]})
    (folder / "dataset.json").write_text(json.dumps({"images": images, "dataset": "coco"}))
    splits = load(folder)
    assert {name: len(source) for name, source in splits.items()} == {"train": 20, "valid": 1}
    assert splits["valid"][0]["id"] == "val2014/x.png"
    assert by_id(splits)["0.png"][1]["captions"] == ("shade 0.", "b")


def archive(folder: Path, prefix: str = "") -> Path:
    path = folder / "images.zip"
    with zipfile.ZipFile(path, "w") as file:
        for png in sorted(folder.glob("*.png")):
            file.write(png, prefix + png.name)
            png.unlink()
    return path


@pytest.mark.parametrize("prefix", ["", "images/"])
def test_pictures_in_an_archive(folder, prefix):
    jsonl(folder, rows())
    raw = (folder / "5.png").read_bytes()
    archive(folder, prefix)
    splits = load(folder)
    assert by_id(splits)["5.png"][1]["image"] == raw
    copy = pickle.loads(pickle.dumps(splits["train"]))  # noqa: S301 - as a worker process gets it
    assert copy[0] == splits["train"][0]


def test_equal_pictures_are_one_record_in_the_later_split(folder):
    for number in (3, 4):
        (folder / f"{number}.png").write_bytes((folder / "2.png").read_bytes())
    split = {2: "train", 3: "test", 4: "valid", 5: "valid"}
    jsonl(folder, [{**row, "split": split.get(i, "train")} for i, row in enumerate(rows())])
    splits = load(folder)
    assert {name: len(source) for name, source in splits.items()} == {"train": 16, "valid": 1, "test": 1}
    assert splits["test"][0]["captions"] == ("shade 2", "shade 3", "shade 4")


def test_the_captions_file_itself_may_be_named(folder):
    jsonl(folder, rows())
    assert len(by_id(load(folder / "captions.jsonl"))) == 20
    (folder / "captions.jsonl").rename(folder / "a.jsonl")
    (folder / "b.jsonl").write_text("")
    with pytest.raises(DataError, match=r"several captions files \(a.jsonl, b.jsonl\); name one with captions"):
        load(folder)
    assert len(by_id(load(folder, captions="a.jsonl"))) == 20


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([{"file": "missing.png", "caption": "x"}], r"1 of 1 pictures .* missing.png: is not in .* \(line 1\)"),
        ([{"file": "../x.png", "caption": "x"}], "'../x.png', which points outside the folder"),
        ([{"file": "/etc/passwd", "caption": "x"}], "points outside the folder"),
        ([{"file": "a\\..\\..\\x.png", "caption": "x"}], "points outside the folder"),
        ([{"file": "C:\\x.png", "caption": "x"}], "points outside the folder"),
        ([{"file": "0.png", "caption": " "}], "line 1: the caption of '0.png' is empty"),
        ([{"file": "0.png"}], "line 1 has no 'caption'"),
        ([{"file": "0.png", "captions": [1]}], "line 1 has no 'caption'"),
        ([{"caption": "x"}], "line 1 has no 'file'"),
        ([{"file": "0.png", "caption": "x", "split": "dont"}], "split 'dont' is unknown; use train, valid or test"),
        ([{"file": "0.png", "caption": "x", "split": 3}], "'split' must be"),
        (
            [{"file": "0.png", "caption": "x", "split": s} for s in ("train", "test")],
            "line 2 puts '0.png' into split 'test', line 1 into 'train'",
        ),
        ([], "has no captions"),
        ([[1]], "line 1 is no JSON object"),
        (rows()[:9], "has 9 different pictures; training needs at least 10"),
        (rows(split="test"), "Split 'train' of .* would be empty"),
    ],
)
def test_bad_json_lines(folder, content, message):
    jsonl(folder, content)
    with pytest.raises(DataError, match=message) as caught:
        load(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not valid JSON"),
        ("[" * 100_000, "is not valid JSON"),
        ("[]", "neither COCO nor Karpathy JSON: it has no list 'images'"),
        ('{"images": [{"id": 1}], "annotations": []}', "'file_name'.* is missing"),
        ('{"images": [{"filename": "a.png"}]}', "'sentences'.* is missing"),
        ('{"images": [1]}', "is not the COCO or Karpathy JSON"),
        ('{"images": [{"id": 1, "file_name": 3}], "annotations": []}', "is not the COCO or Karpathy JSON"),
        ('{"images": [{"id": 1, "file_name": "0.png"}], "annotations": []}', "has no captions"),
    ],
)
def test_bad_json(folder, text, message):
    (folder / "all.json").write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        load(folder)
    assert "\n" not in str(caught.value)


def test_bad_folders(tmp_path, folder):
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DataError, match="is empty; put pictures and captions.jsonl there"):
        load(empty)
    with pytest.raises(DataError, match="has no captions file; write captions.jsonl"):
        load(folder)
    with pytest.raises(DataError, match="has no captions file 'no.json'"):
        load(folder, captions="no.json")
    jsonl(folder, rows())
    with pytest.raises(DataError, match="There is no folder or ZIP archive .*nowhere"):
        load(folder, images="nowhere")
    with pytest.raises(ConfigError, match="has no field 'caption'. Did you mean captions"):
        load(folder, caption="x")


def test_a_link_does_not_lead_outside(folder, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside") / "secret.png"
    picture(outside, 9)
    (folder / "0.png").unlink()
    (folder / "0.png").symlink_to(outside)
    jsonl(folder, rows())
    with pytest.raises(DataError, match="is a link that points outside the folder"):
        load(folder)


def test_bad_archives(folder, monkeypatch):
    jsonl(folder, rows())
    path = archive(folder)
    monkeypatch.setattr(_images, "MAX_IMAGE_BYTES", 50)
    with pytest.raises(DataError, match="20 of 20 pictures .*'0.png' in .* is larger than"):
        load(folder)
    monkeypatch.undo()
    data = bytearray(path.read_bytes())
    data[40:60] = bytes(20)
    path.write_bytes(data)
    dataset = datasets.load(folder, task="captioning")
    assert len(by_id(dataset.splits())) == 19
    assert [file for file, _ in dataset.left_out] == ["0.png"]
    assert dataset.left_out[0][1].startswith("Cannot read '0.png' in")
    path.write_bytes(b"no archive")
    with pytest.raises(DataError, match="Cannot read .*images.zip': File is not a zip file"):
        load(folder)


def coco(path: Path, numbers: range) -> None:
    path.parent.mkdir(exist_ok=True)
    images = [{"id": i, "file_name": f"{i}.png"} for i in numbers]
    captions = [{"image_id": i, "caption": f"shade {i}"} for i in numbers]
    path.write_text(json.dumps({"images": images, "annotations": captions}))


@pytest.mark.parametrize("place", ["", "annotations"])
@pytest.mark.parametrize("year", ["", "2017"])
def test_coco_in_a_file_a_split(tmp_path, place, year):
    """As COCO is laid out; equal names in two folders are different pictures."""
    for number in range(12):
        picture(tmp_path / f"train{year}" / f"{number}.png", number)
        picture(tmp_path / f"val{year}" / f"{number}.png", 100 + number)
    coco(tmp_path / place / f"captions_train{year}.json", range(12))
    coco(tmp_path / place / f"captions_val{year}.json", range(2, 12))
    (tmp_path / place / f"person_keypoints_val{year}.json").write_text("{}")
    splits = load(tmp_path)
    assert {name: len(source) for name, source in splits.items()} == {"train": 12, "valid": 10}
    assert {Path(record["image"]).parent.name for record in splits["valid"]} == {f"val{year}"}
    alone = load(tmp_path, captions=f"{place}/captions_val{year}.json".lstrip("/"), valid_fraction=0.4)
    assert {Path(record["image"]).parent.name for record in alone["valid"]} == {f"val{year}"}
    coco(tmp_path / place / f"captions_test{year}.json", range(3, 7))  # its pictures are not there
    dataset = datasets.load(tmp_path, task="captioning")
    assert list(dataset.splits()) == ["train", "valid"] and len(dataset.left_out) == 4


def test_repeated_captions_are_weights(folder):
    """They are kept as often as they are given, by one picture or by two of the same bytes; the text is held once."""
    (folder / "1.png").write_bytes((folder / "0.png").read_bytes())
    jsonl(folder, [{**row, "captions": ["a  cat", "a cat", "a dog"], "split": "train"} for row in rows()[:2]])
    with (folder / "captions.jsonl").open("a") as file:
        file.writelines(
            json.dumps({**row, "split": "valid" if i > 12 else "train"}) + "\n" for i, row in enumerate(rows()[2:])
        )
    captions = by_id(load(folder))["0.png"][1]["captions"]
    assert captions == ("a cat", "a cat", "a dog") * 2
    assert len({id(caption) for caption in captions}) == 2


def test_captions_by_language(folder):
    both = [{**row, "captions": {"en": [f"shade {i}"], "zh": f"颜色{i}"}} for i, row in enumerate(rows())]
    del both[3]["captions"]["zh"]
    jsonl(folder, both)
    with pytest.raises(DataError, match=r"line 1 has captions by language \(en, zh\); choose one with language"):
        load(folder)
    assert by_id(load(folder, language="en"))["3.png"][1]["captions"] == ("shade 3",)
    chinese = by_id(load(folder, language="zh"))
    assert len(chinese) == 19 and chinese["4.png"][1]["captions"] == ("颜色4",)
    with pytest.raises(DataError, match="has no captions in 'fr'"):
        load(folder, language="fr")
    (folder / "captions.de.jsonl").write_text(
        "".join(json.dumps({"file": f"{i}.png", "caption": f"Ton {i}"}) + "\n" for i in range(20))
    )
    assert by_id(load(folder, language="de"))["3.png"][1]["captions"] == ("Ton 3",)
    assert by_id(load(folder, language="en"))["3.png"][1]["captions"] == ("shade 3",)
