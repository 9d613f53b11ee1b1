"""RSICD from a made-up folder of the same layout."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from zoo import datasets
from zoo.datasets import rsicd
from zoo.errors import ConfigError, DataError

Rows = list[dict[str, object]]


def rows() -> Rows:
    """Pictures 0 to 13 for training, 14 to 16 for validation; the same sentence several times, as in RSICD."""
    return [
        {
            "file": f"airport_{number}.jpg",
            "split": "train" if number < 14 else "valid",
            "captions": [f"plane {number} ."] * 3 + ["an airport .", "many  planes ."],
        }
        for number in range(17)
    ]


def write(folder: Path, content: Rows) -> Path:
    folder.mkdir(exist_ok=True)
    lines = "".join(json.dumps(row) + "\n" for row in content)
    (folder / "captions.jsonl").write_text(lines, encoding="utf-8")
    with zipfile.ZipFile(folder / "images.zip", "w") as file:
        for number, row in enumerate(content):
            stream = io.BytesIO()
            pixels = np.random.default_rng(number).integers(0, 256, (16, 16, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(stream, "JPEG", quality=70)
            file.writestr(str(row["file"]), stream.getvalue())
    return folder


def test_official_splits_and_five_captions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(tmp_path / "rsicd", rows())
    monkeypatch.chdir(tmp_path)
    dataset = datasets.load("rsicd", task="captioning", data_dir="rsicd")
    assert {name: len(source) for name, source in dataset.splits().items()} == {"train": 14, "valid": 3}
    record = dataset.split("valid")[0]
    assert record["id"] == "airport_14.jpg" and record["image"][:3] == b"\xff\xd8\xff"
    assert record["captions"] == ("plane 14 .", "plane 14 .", "plane 14 .", "an airport .", "many planes .")
    assert dataset.options.data_dir == str(folder)
    assert dataset.language == "en" and dataset.left_out == ()
    assert not dataset.licence.weights_may_ship and "Lu" in dataset.licence.credit
    assert datasets.task_of("rsicd") == "captioning"


def test_completeness_is_said_and_not_demanded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, rows())
    options = rsicd.Rsicd.Options(data_dir=str(tmp_path))
    for official, complete in (
        ({"train": 14, "valid": 3, "test": 5}, True),  # the test split may be missing
        ({"train": 14, "valid": 4, "test": 5}, False),
    ):
        monkeypatch.setattr(rsicd, "OFFICIAL", official)
        dataset = rsicd.Rsicd(options)
        assert set(dataset.splits()) == {"train", "valid"} and dataset.complete is complete
        said = capsys.readouterr().err
        assert ("14 train / 3 valid pictures; RSICD has 14 train / 4 valid / 5 test" in said) is not complete
    (tmp_path / "captions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows()[:-2]), encoding="utf-8")
    dataset = rsicd.Rsicd(options)
    assert len(dataset.split("valid")) == 1 and not dataset.complete


def test_the_authors_own_file(tmp_path: Path) -> None:
    folder = write(tmp_path, rows())
    images = [
        {"filename": row["file"], "split": {"valid": "val"}.get(str(row["split"]), row["split"]), "imgid": number}
        | {"sentences": [{"raw": caption, "tokens": []} for caption in row["captions"]]}  # type: ignore[attr-defined]
        for number, row in enumerate(rows())
    ]
    before = list(datasets.load("rsicd", task="captioning", data_dir=folder.as_posix()).split("train"))
    (folder / "captions.jsonl").unlink()
    (folder / "dataset_rsicd.json").write_text(json.dumps({"images": images, "dataset": "rsicd"}), encoding="utf-8")
    assert list(datasets.load("rsicd", task="captioning", data_dir=folder.as_posix()).split("train")) == before


def test_what_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"name the folder of your copy with --data-dir DIR .*docs/data.md"):
        datasets.load("rsicd", task="captioning").splits()
    with pytest.raises(DataError, match="There is no folder '.*nowhere'"):
        datasets.load("rsicd", task="captioning", data_dir=str(tmp_path / "nowhere")).splits()
    folder = write(tmp_path / "rsicd", [{**row, "split": ""} for row in rows()])
    with pytest.raises(DataError, match="name no split for 17 pictures; RSICD has official ones"):
        datasets.load("rsicd", task="captioning", data_dir=str(folder)).splits()
    with pytest.raises(DataError, match="is for captioning, not for forecasting"):
        datasets.load("rsicd", task="forecasting")


def test_the_option_for_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert datasets.folder_option("rsicd", "a/../b", "captioning") == {"data_dir": str(tmp_path / "b")}
    assert datasets.folder_option("caption_folder", tmp_path, "captioning") == {"path": str(tmp_path)}
    for reference in ("emoji", str(tmp_path)):
        with pytest.raises(ConfigError, match=f"The data '{reference}' takes no folder"):
            datasets.folder_option(reference, tmp_path, "captioning")
    write(tmp_path / "mine", rows())
    assert datasets.load("mine", task="captioning").options.path == str(tmp_path / "mine")
