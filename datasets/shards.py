"""Shards: a dataset of any task in ArrayRecord files, written by `zoo data prepare`, in a folder or a bucket.

Records are read one at a time, when asked for, so that memory does not grow with the dataset: what is kept is
`shards.json`, ArrayRecord's own index (about 11 bytes a record) and, for series, 16 bytes a record. The order is that
of the dataset the shards were written from, so that a seed gives the batches it gave there. In a run of several
processes each reads the records of its own rows of a batch and no others.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from zoo.config import BaseConfig, setting
from zoo.datasets._base import Dataset, Record, Source, register_dataset
from zoo.datasets._places import Bucket, LocalFolder, is_remote
from zoo.datasets._records import check_record, decode_record
from zoo.datasets._shard_files import MANIFEST, Manifest, SplitFiles, parse_manifest
from zoo.errors import DataError, require


@register_dataset("shards", task="")
class Shards(Dataset):
    """A folder of shards; its task is that of the dataset they were written from."""

    @dataclass(frozen=True)
    class Options(BaseConfig):
        """Options of shards."""

        path: str = setting("")
        """The folder, or its URL: gs://bucket/folder."""
        gap: int | None = setting(None, low=0, high=100_000)
        """Series: rows there must be between the targets of two splits; one window of the model when not given."""
        cache_dir: str = setting("")
        """Folder for copies of what lies in a bucket; empty = the user's cache."""
        cache_gb: float = setting(500.0, low=0.0, high=1e6)
        """Most gigabytes of a split that are copied from a bucket."""

    def __init__(self, options: Options | None = None) -> None:
        """Read `shards.json`; shards are opened, or copied from a bucket, on first use.

        Raises:
            DataError: If it is missing or damaged, or the gap is smaller than asked for.
        """
        super().__init__(options)
        path, cache = self.options.path, self.options.cache_dir
        self._place: LocalFolder | Bucket = (
            Bucket(path, Path(cache) if cache else None, int(self.options.cache_gb * 1e9))
            if is_remote(path)
            else LocalFolder(Path(path))
        )
        self.manifest: Manifest = parse_manifest(self._place.manifest(), f"{path.rstrip('/')}/{MANIFEST}")
        self.task = self.manifest.task  # type: ignore[misc]
        self.language, self.licence = self.manifest.language, self.manifest.licence
        gap, wanted = self.manifest.options.get("gap"), self.options.gap
        if wanted is not None and type(gap) is int and gap < wanted:
            raise DataError(
                f"The shards in '{path}' have {gap} rows between the targets of two splits, and the model's window is "
                f"{wanted}; prepare them with --options.gap {wanted}, or train with --options.gap {gap}."
            )
        self._splits: dict[str, Source] = {
            name: ShardSource(self.task, files, self._place) for name, files in self.manifest.splits.items()
        }

    @property
    def class_names(self) -> tuple[str, ...]:
        """The labels in the order of the original dataset; empty where there are none."""
        return self.manifest.class_names

    def splits(self) -> dict[str, Source]:
        """Return the splits of the original dataset."""
        return self._splits


class ShardSource(Sequence[Record]):
    """The records of a split, read when asked for.

    Attributes:
        streamed: True: nobody should hold all records (see `zoo.datasets.is_streamed`).
        label_counts: Label -> number of records (text classification).
    """

    streamed = True

    def __init__(self, task: str, files: SplitFiles, place: LocalFolder | Bucket) -> None:
        """Keep what is known; nothing is opened yet."""
        self.label_counts = files.labels
        self._task = task
        self._files = files
        self._place = place
        self._shards = [shard for shard in files.shards if shard.records]
        self._starts = np.cumsum([0, *(shard.records for shard in self._shards)])
        self._paths: list[Path] = []
        self._data: Any = None
        self._extents: np.ndarray | None = None

    def __len__(self) -> int:
        """Return the number of records."""
        return self._files.records

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        """Return one record; its arrays are read-only.

        Raises:
            DataError: If the record or its shard is damaged.
        """
        index = operator.index(index)
        if not 0 <= index < len(self):
            raise IndexError(index)
        if self._data is None:
            self._data = self._open()
        try:
            record = decode_record(self._data[index])
            check_record(self._task, record)
        except (ValueError, RuntimeError, IndexError) as error:
            shard = int(np.searchsorted(self._starts, index, side="right")) - 1
            raise DataError(
                f"Record {index - self._starts[shard]} of the shard '{self._paths[shard]}' is damaged: "
                f"{_first_line(error)}; copy the shard again, or prepare the shards again."
            ) from error
        return record

    def extents(self) -> np.ndarray:
        """Return the rows and the `first_target` of every series, int64 (N, 2).

        Raises:
            DataError: If the index is damaged.
        """
        if self._extents is None:
            assert self._files.index is not None, "only series have extents"
            (path,) = self._place.bring([self._files.index])
            extents = np.fromfile(path, "<i8").reshape(-1, 2)
            rows, first = extents.T
            if len(extents) != len(self) or (first < 0).any() or (first > rows).any() or (rows >= 1 << 40).any():
                raise DataError(f"The index '{path}' is damaged; copy it again, or prepare the shards again.")
            self._extents = extents
        return self._extents

    def _open(self) -> Any:
        grain = require("grain", extra="tf", purpose="Reading shards")
        require("array_record", extra="tf", purpose="Reading shards")
        self._paths = self._place.bring(self._shards)
        parts = [_Whole(str(path), shard.records) for path, shard in zip(self._paths, self._shards, strict=True)]
        return grain.sources.ArrayRecordDataSource(parts)


@dataclass(frozen=True)
class _Whole:
    """All records of a file, as ArrayRecord's source wants to be told, so that it need not open every file at once."""

    filename: str
    examples_in_shard: int
    skip: int = 0

    @property
    def take(self) -> int:
        """Number of records."""
        return self.examples_in_shard


def _first_line(error: Exception) -> str:
    line = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return line.rstrip(".")[:200]
