"""What `shards.json` says, checked: the splits of a folder of shards, their files, sizes and hashes.

    {"kind": "shards", "format_version": 1, "name": "emoji", "task": "captioning", "language": "en",
     "licence": {...}, "class_names": [...], "options": {...},
     "splits": {"train": {"records": 3096, "shards": [{"file", "records", "bytes", "sha256"}, ...],
                          "labels": {label: records}, "index": {"file", "bytes", "sha256"}}}}

`labels` is there for texts, `index` for series: int64 (records, 2), little-endian, the rows and the `first_target` of
every record. Records are in the order of the dataset they were written from, shard by shard.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zoo.datasets._base import Licence
from zoo.errors import DataError
from zoo.files import strict_json

KIND = "shards"
FORMAT_VERSION = 1
MANIFEST = "shards.json"
TASKS = ("captioning", "text_classification", "forecasting")
MAX_MANIFEST_BYTES = 64 << 20
MAX_CLASSES = 10_000

_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,200}")
_HASH = re.compile(r"[0-9a-f]{64}")
_MOST = 1 << 50


@dataclass(frozen=True)
class StoredFile:
    """One file beside `shards.json`.

    Attributes:
        file: Its plain name.
        bytes: Its size.
        sha256: Hash of its content.
        records: Number of records; 0 for an index.
    """

    file: str
    bytes: int
    sha256: str
    records: int = 0


@dataclass(frozen=True)
class SplitFiles:
    """The files of a split.

    Attributes:
        records: Number of records in all shards.
        shards: In the order of the records.
        labels: Text classification: label -> number of records.
        index: Forecasting: the file with the extent of every series.
    """

    records: int
    shards: tuple[StoredFile, ...]
    labels: dict[str, int] = field(default_factory=dict)
    index: StoredFile | None = None

    def files(self) -> tuple[StoredFile, ...]:
        """Return all files of the split."""
        return self.shards if self.index is None else (*self.shards, self.index)


@dataclass(frozen=True)
class Manifest:
    """What `shards.json` says; see the module."""

    name: str
    task: str
    language: str
    licence: Licence
    class_names: tuple[str, ...]
    options: dict[str, Any]
    splits: dict[str, SplitFiles]

    def to_dict(self) -> dict[str, Any]:
        """Return the content of `shards.json`."""
        content = {"kind": KIND, "format_version": FORMAT_VERSION, **dataclasses.asdict(self)}
        for split in content["splits"].values():
            for key in [key for key in ("labels", "index") if not split[key]]:
                del split[key]
        return content


def parse_manifest(content: bytes, title: str) -> Manifest:
    """Return what the bytes of a `shards.json` say.

    Args:
        content: The file.
        title: Its name, for messages.

    Raises:
        DataError: If it is damaged or was written by a newer version.
    """
    try:
        if len(content) > MAX_MANIFEST_BYTES:
            raise ValueError(f"it has over {MAX_MANIFEST_BYTES >> 20} MiB")
        stored = strict_json(content)
        if not isinstance(stored, dict) or stored.get("kind") != KIND:
            raise ValueError(f"its 'kind' is not '{KIND}'")
        version = stored.get("format_version")
        if type(version) is int and version > FORMAT_VERSION:
            raise DataError(f"'{title}' has format version {version}; the newest known is {FORMAT_VERSION}; upgrade.")
        if version != FORMAT_VERSION or stored["task"] not in TASKS:
            raise ValueError("its format version or task is unknown")
        licence = Licence(**stored["licence"])
        names = tuple(stored["class_names"])
        texts = (stored["name"], stored["language"], licence.name, licence.credit, licence.url, *names)
        if not all(isinstance(text, str) for text in texts) or type(licence.weights_may_ship) is not bool:
            raise ValueError("a name or the licence is of the wrong type")
        if len(names) > MAX_CLASSES or len(set(names)) != len(names) or not isinstance(stored["options"], dict):
            raise ValueError("its classes or options are not what they should be")
        return Manifest(
            name=stored["name"],
            task=stored["task"],
            language=stored["language"],
            licence=licence,
            class_names=names,
            options=stored["options"],
            splits={_split_name(name): _split(split, stored["task"]) for name, split in stored["splits"].items()},
        )
    except KeyError as error:
        raise DataError(f"'{title}' is damaged: it lacks {error}; prepare the shards again.") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise DataError(f"'{title}' is damaged: {error}; prepare the shards again.") from error


def sha256_of(path: Path, progress: Callable[[int], None] | None = None) -> str:
    """Return the hash of a file; `progress` hears of every part's number of bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(1 << 20):
            digest.update(part)
            if progress is not None:
                progress(len(part))
    return digest.hexdigest()


def _split_name(name: str) -> str:
    if not _FILE.fullmatch(name):
        raise ValueError(f"{name[:40]!r} is no name of a split")
    return name


def _split(stored: dict[str, Any], task: str) -> SplitFiles:
    shards = tuple(_file(item, "records") for item in stored["shards"])
    labels: dict[str, int] = stored["labels"] if task == "text_classification" else {}
    index = _file(stored["index"]) if task == "forecasting" else None
    split = SplitFiles(_whole(stored["records"]), shards, labels, index)
    if sum(shard.records for shard in shards) != split.records or len({item.file for item in shards}) != len(shards):
        raise ValueError("the records of its shards do not add up, or a shard is named twice")
    if len(labels) > MAX_CLASSES or sum(map(_whole, labels.values())) not in (split.records, 0):
        raise ValueError("the records of its labels do not add up")
    if task == "text_classification" and split.records and not labels:
        raise ValueError("a split has no labels")
    if index is not None and index.bytes != 16 * split.records:
        raise ValueError("the index of its series has the wrong size")
    return split


def _file(stored: dict[str, Any], *counts: str) -> StoredFile:
    name, digest = stored["file"], stored["sha256"]
    if not (isinstance(name, str) and _FILE.fullmatch(name) and isinstance(digest, str) and _HASH.fullmatch(digest)):
        raise ValueError(f"{str(name)[:80]!r} is no plain file name, or its hash is none")
    return StoredFile(name, _whole(stored["bytes"]), digest, *(_whole(stored[count]) for count in counts))


def _whole(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= _MOST:
        raise ValueError(f"{str(value)[:40]!r} is no size or number of records")
    return value
