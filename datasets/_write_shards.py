"""Writing a dataset as shards; `zoo.datasets.shards` reads them."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from zoo.datasets._base import Dataset, Source
from zoo.datasets._records import check_record, encode_record, with_image_bytes
from zoo.datasets._shard_files import (
    MANIFEST,
    MAX_CLASSES,
    MAX_MANIFEST_BYTES,
    TASKS,
    Manifest,
    SplitFiles,
    StoredFile,
    parse_manifest,
    sha256_of,
)
from zoo.errors import DataError, ZooError, require
from zoo.files import replace_folder, to_json
from zoo.preprocess.image import decode_image

MAX_SHARDS = 100_000

Progress = Callable[[str, int, int], None]

# Pictures are compressed as they are. One record a chunk: reading one must not decode its neighbours.
_WRITER = {"captioning": "group_size:1,uncompressed"}
_WRITER_DEFAULT = "group_size:1,zstd:3"


def check_task(dataset: Dataset) -> None:
    """Refuse a dataset for whose task there are no shards.

    Raises:
        DataError: If there are none.
    """
    if dataset.task not in TASKS:
        raise DataError(f"There are no shards for {dataset.task}; train on '{dataset.name}' as it is.")


def write_shards(dataset: Dataset, folder: str | Path, *, shards: int, progress: Progress | None = None) -> Manifest:
    """Write every split of a dataset, its records in their order, cut into at most `shards` files a split.

    The records are checked, pictures decoded once, so that training meets no damaged one. The folder is written beside
    its place and renamed. No more than one record is held.

    Args:
        dataset: What to write; pictures given as paths are read.
        folder: A new or empty folder.
        shards: Most files a split; a split with fewer records has as many files as records.
        progress: Called with a split's name, the records written so far, and those it has.

    Returns:
        What `shards.json` says.

    Raises:
        DataError: If there are no shards for the dataset's task, or a record is not what its task asks for.
        ZooError: If the folder is not empty or cannot be written.
    """
    target = Path(folder)
    check_task(dataset)
    if not 1 <= shards <= MAX_SHARDS:
        raise ZooError(f"The number of shards is {shards}; it must be 1 to {MAX_SHARDS}.")
    if target.is_dir() and any(target.iterdir()):
        raise ZooError(f"The folder '{target}' is not empty; give a new one.")
    module = require("array_record.python.array_record_module", extra="tf", purpose="Writing shards")
    splits = dataset.splits()
    manifests: list[Manifest] = []

    def fill(new: Path) -> None:
        written = {}
        for name, source in splits.items():
            written[name] = _Split(module, dataset, name, source, new).write(shards, progress)
        labels = written["train"].labels if "train" in written else {}
        manifest = Manifest(
            name=dataset.name,
            task=dataset.task,
            language=dataset.language,
            licence=dataset.licence,
            class_names=tuple(getattr(dataset, "class_names", ())) or tuple(sorted(labels)),
            options=dataset.options.to_dict(),
            splits=written,
        )
        content = to_json(manifest.to_dict()).encode("utf-8")
        if len(content) > MAX_MANIFEST_BYTES:
            raise DataError(f"'{MANIFEST}' would have over {MAX_MANIFEST_BYTES >> 20} MiB; give fewer shards.")
        parse_manifest(content, MANIFEST)
        (new / MANIFEST).write_bytes(content)
        manifests.append(manifest)

    replace_folder(target, fill)
    return manifests[0]


class _Split:
    """One split on its way to disk."""

    def __init__(self, module: Any, dataset: Dataset, name: str, source: Source, folder: Path) -> None:
        self._module, self._source, self._folder, self._name = module, source, folder, name
        self._task, self._title = dataset.task, f"split '{name}' of '{dataset.name}'"
        self._decode = dataset.task == "captioning" and not dataset.pictures_checked
        self._labels: Counter[str] = Counter()
        self._extents = np.zeros((len(source) if self._task == "forecasting" else 0, 2), "<i8")

    def write(self, shards: int, progress: Progress | None) -> SplitFiles:
        total = len(self._source)
        count = max(1, min(shards, total))
        files = []
        for number in range(count):
            start, stop = (total * edge // count for edge in (number, number + 1))
            path = self._folder / f"{self._name}-{number:05d}-of-{count:05d}.array_record"
            self._write_file(path, start, stop, progress)
            files.append(_stored(path, stop - start))
        index = None
        if self._task == "forecasting":
            path = self._folder / f"{self._name}.index"
            path.write_bytes(self._extents.tobytes())
            index = _stored(path, 0)
        return SplitFiles(total, tuple(files), dict(sorted(self._labels.items())), index)

    def _write_file(self, path: Path, start: int, stop: int, progress: Progress | None) -> None:
        with _failing(path):
            writer = self._module.ArrayRecordWriter(str(path), _WRITER.get(self._task, _WRITER_DEFAULT))
        try:
            for index in range(start, stop):
                data = self._encode(index)
                with _failing(path):
                    writer.write(data)
                if progress is not None:
                    progress(self._name, index + 1, len(self._source))
        finally:
            with _failing(path):
                writer.close()

    def _encode(self, index: int) -> bytes:
        record = self._source[index]
        try:
            record = with_image_bytes(record)
            check_record(self._task, record)
            if self._decode:
                decode_image(record["image"])
            if self._task == "text_classification":
                self._labels[record["label"]] += 1
            elif self._task == "forecasting":
                if not np.isfinite(record["values"]).all():
                    raise ValueError("it has values that are no finite numbers; fill or drop them.")
                self._extents[index] = len(record["values"]), record["first_target"]
            data = encode_record(record)
        except (ValueError, DataError) as error:
            name = record.get("id", index)
            raise DataError(f"Record '{name}' ({self._title}) cannot be written: {error}") from error
        if len(self._labels) > MAX_CLASSES:
            raise DataError(f"The {self._title} has over {MAX_CLASSES:,} different labels; are they classes?")
        return data


@contextlib.contextmanager
def _failing(path: Path) -> Iterator[None]:
    """Turn an error of ArrayRecord's writer (a full disk, ...) into one line."""
    try:
        yield
    except RuntimeError as error:
        raise ZooError(f"Cannot write '{path.name}': {str(error).splitlines()[0][:200]}.") from error


def _stored(path: Path, records: int) -> StoredFile:
    return StoredFile(path.name, path.stat().st_size, sha256_of(path), records)


def table(manifest: Manifest) -> list[dict[str, Any]]:
    """Return one row a split: its name, and its numbers of records, files and bytes."""
    return [
        {
            "split": name,
            "records": split.records,
            "shards": len(split.shards),
            "bytes": sum(item.bytes for item in split.files()),
        }
        for name, split in manifest.splits.items()
    ]
