"""Shards from anywhere: damaged, hostile, or in a bucket that misbehaves. One error that names what is wrong."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest

from zoo import datasets
from zoo.datasets import Dataset
from zoo.datasets._shard_files import MANIFEST, sha256_of
from zoo.errors import DataError, MissingExtraError
from zoo.files import read_json
from zoo.registry import architecture
from zoo.tasks import get_task


@pytest.fixture
def copied(written: Callable[[str], Path], tmp_path: Path) -> Path:
    """Return a copy of the text shards that may be damaged."""
    target = tmp_path / "copy"
    target.mkdir()
    for path in written("text_classification").iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    return target


def load_texts(folder: Path | str, **options: Any) -> Dataset:
    return datasets.load(folder, task="text_classification", **options)


def test_another_task_is_refused(copied: Path) -> None:
    with pytest.raises(DataError, match="holds text_classification, not captioning"):
        datasets.load(copied, task="captioning")


def test_damaged_shards(copied: Path) -> None:
    shard = sorted(copied.glob("train-*"))[1]
    content = shard.read_bytes()
    shard.unlink()
    with pytest.raises(DataError, match=f"{shard.name}' is missing"):
        load_texts(copied).split("train")[0]
    shard.write_bytes(content[:-1])
    with pytest.raises(DataError, match=f"{shard.name}' has [0-9,]+ bytes instead of"):
        load_texts(copied).split("train")[0]
    first = json.loads((copied / MANIFEST).read_text())["splits"]["train"]["shards"][0]["records"]
    for damage in (content[:200] + bytes(b ^ 255 for b in content[200:300]) + content[300:], bytes(len(content))):
        shard.write_bytes(damage)
        source = load_texts(copied).split("train")
        source[first - 1]
        with pytest.raises(DataError, match=rf"Record \d+ of the shard '.*{shard.name}' is damaged"):
            for index in range(first, len(source)):
                source[index]


def test_shards_of_foreign_records(copied: Path) -> None:
    """Files that are whole but hold something else."""
    module = pytest.importorskip("array_record.python.array_record_module")
    shard = sorted(copied.glob("train-*"))[0]
    writer = module.ArrayRecordWriter(str(shard), "group_size:1")
    for data in (b"", b"\xff" * 40, b"\x02\x00\x00\x00{}", b'\x0f\x00\x00\x00{"id":"a","x":1'):
        writer.write(data)
    writer.close()
    manifest = read_json(copied / MANIFEST)
    manifest["splits"]["train"]["shards"][0]["bytes"] = shard.stat().st_size
    (copied / MANIFEST).write_text(json.dumps(manifest))
    source = load_texts(copied).split("train")
    for index in range(4):
        with pytest.raises(DataError, match=f"Record {index} of the shard"):
            source[index]
    with pytest.raises(DataError, match="Record 4 of the shard"):  # there are only four
        source[4]


def _set(*path: Any) -> Callable[[Any], None]:
    *keys, last, value = path

    def change(manifest: Any) -> None:
        for key in keys:
            manifest = manifest[key]
        manifest[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_set("format_version", 2), "format version 2; the newest known is 1; upgrade"),
        (_set("format_version", "1"), "damaged"),
        (_set("kind", "zoo"), "'kind' is not 'shards'"),
        (_set("task", "poetry"), "unknown"),
        (_set("splits", []), "damaged"),
        (_set("splits", "train", "records", 5), "do not add up"),
        (_set("splits", "train", "records", -5), "is no size or number"),
        (_set("splits", "train", "shards", 0, "file", "../../secret"), "no plain file name"),
        (_set("splits", "train", "shards", 0, "file", "/etc/passwd"), "no plain file name"),
        (_set("splits", "train", "shards", 0, "sha256", "00"), "no plain file name, or its hash is none"),
        (_set("splits", "train", "shards", 0, "bytes", 1 << 60), "is no size"),
        (_set("splits", "train", "shards", 0, "records", True), "is no size"),
        (_set("splits", "train", "labels", {"good": 1}), "labels do not add up"),
        (_set("licence", {"name": "x", "credit": "", "evil": 1}), "damaged"),
        (_set("class_names", ["a", "a"]), "classes"),
        (_set("options", 3), "options"),
    ],
)
def test_hostile_manifests(copied: Path, change: Callable[[Any], None], message: str) -> None:
    manifest = read_json(copied / MANIFEST)
    change(manifest)
    (copied / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(DataError, match=message):
        load_texts(copied)


@pytest.mark.parametrize("content", [b"", b"[1]", b"\xff", b"{" * 100_000, b'{"kind": "shards"}', b"NaN"])
def test_manifests_that_are_none(copied: Path, content: bytes) -> None:
    (copied / MANIFEST).write_bytes(content)
    with pytest.raises(DataError, match=r"shards.json' is damaged: .*; prepare the shards again"):
        load_texts(copied)


def test_a_damaged_index(written: Callable[[str], Path], tmp_path: Path) -> None:
    for path in written("forecasting").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    rows, first = np.fromfile(tmp_path / "train.index", "<i8")
    config, task = architecture("price_attn").tiny(), get_task("forecasting")
    preprocessor = task.preprocessor(config, datasets.load(tmp_path, task="forecasting"))
    for extent, message in (([rows, rows + 1], "train.index' is damaged"), ([rows - 1, first], "other rows than")):
        np.array(extent, "<i8").tofile(tmp_path / "train.index")
        with pytest.raises(DataError, match=message):
            source = datasets.load(tmp_path, task="forecasting").split("train")
            task.examples(source, preprocessor, config).batch(np.array([0]), None)


@pytest.fixture
def bucket(copied: Path) -> str:
    """Return the URL of a bucket in memory with the text shards."""
    system = fsspec.filesystem("memory")
    url = f"memory://bucket/{copied.parent.name}"
    for path in copied.iterdir():
        with system.open(f"{url}/{path.name}", "wb") as file:
            file.write(path.read_bytes())
    return url


def test_a_bucket_is_copied_once_and_checked(bucket: str, copied: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    data = load_texts(bucket, cache_dir=str(cache))
    assert datasets.task_of(bucket) == "text_classification" and not cache.exists()
    near, far = load_texts(copied).split("train"), data.split("train")
    assert [far[i] for i in range(len(far))] == [near[i] for i in range(len(near))]
    assert sorted(path.stem for path in cache.iterdir()) == sorted(sha256_of(p) for p in copied.glob("train-*"))
    system = fsspec.filesystem("memory")
    for path in copied.glob("train-*"):
        system.rm(f"{bucket}/{path.name}")
    again = load_texts(bucket + "/", cache_dir=str(cache)).split("train")
    assert again[3] == near[3]


def test_what_a_bucket_can_do_wrong(bucket: str, copied: Path, tmp_path: Path) -> None:
    cache, system = tmp_path / "cache", fsspec.filesystem("memory")
    with pytest.raises(DataError, match="copies may have 0.0 GB; raise the option cache_gb"):
        load_texts(bucket, cache_dir=str(cache), cache_gb=0.0).split("train")[0]
    shard = sorted(copied.glob("train-*"))[0]
    content = shard.read_bytes()
    for wrong in (content[:-1], content + b"x", bytes(len(content))):
        with system.open(f"{bucket}/{shard.name}", "wb") as file:
            file.write(wrong)
        with pytest.raises(DataError, match=f"{shard.name}' is not the one that shards.json describes"):
            load_texts(bucket, cache_dir=str(cache)).split("train")[0]
        assert not list(cache.glob("*"))
    system.rm(f"{bucket}/{shard.name}")
    with pytest.raises(DataError, match=f"There is no 'memory://.*{shard.name}'"):
        load_texts(bucket, cache_dir=str(cache)).split("train")[0]
    with pytest.raises(DataError, match=r"There is no 'memory://nowhere/shards.json'; .*zoo data prepare"):
        load_texts("memory://nowhere")
    with pytest.raises(DataError, match="Cannot read 'nosuch://x'"):
        load_texts("nosuch://x")


def test_a_bucket_whose_package_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(MissingExtraError, match="gcsfs"):
        load_texts("gs://bucket/folder")
