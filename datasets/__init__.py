"""Where examples come from: one dataset a file.

    from zoo import datasets

    data = datasets.load("emoji", language="zh")
    data.split("train")[0]

A reference is a registered name (`emoji`), a path to the user's own data, `tfds:NAME`, or shards: the folder that
`zoo data prepare` wrote, or its URL (`gs://bucket/folder`).
"""

from __future__ import annotations

if __name__ != "zoo.datasets":
    raise ImportError("This folder is the package 'zoo.datasets' of attention-zoo; import it by that name.")

from pathlib import Path
from typing import Any

from zoo.datasets._base import (
    _DATASETS,
    Dataset,
    Licence,
    Record,
    Source,
    is_streamed,
    register_dataset,
    sample_indices,
)
from zoo.datasets._places import is_remote
from zoo.datasets._shard_files import MANIFEST
from zoo.errors import DataError, unknown_name
from zoo.registry import _load_package

__all__ = [
    "Dataset",
    "Licence",
    "Record",
    "Source",
    "dataset_names",
    "is_remote",
    "is_streamed",
    "load",
    "register_dataset",
    "sample_indices",
    "task_of",
]

_BY_PATH = {"captioning": "caption_folder", "text_classification": "text_file", "forecasting": "series_file"}


def dataset_names(task: str | None = None) -> list[str]:
    """Return the names of the registered datasets, of one task or of all."""
    _load_package("zoo.datasets")
    return sorted(name for name, cls in _DATASETS.items() if task in (None, cls.task))


def task_of(reference: str | Path) -> str | None:
    """Return the task that a reference by itself says: that of a registered name or of shards; else None."""
    text = str(reference)
    if text in dataset_names():
        return _DATASETS[text].task or None
    if is_remote(text) or (Path(text) / MANIFEST).is_file():
        cls = _DATASETS["shards"]
        return cls(cls.Options().replace(path=text)).task
    return None


def load(reference: str | Path, *, task: str, **options: Any) -> Dataset:
    """Return the dataset a reference stands for.

    Args:
        reference: A registered name, `tfds:NAME`, a path (a folder or file of the user's own data, or a folder of
            shards), or the URL of a folder of shards.
        task: Name of the task the data is for.
        **options: Fields of the dataset's `Options`.

    Raises:
        UnknownNameError: If it is neither a registered name nor an existing path.
        ConfigError: If an option does not exist or has a bad value.
        DataError: If the dataset serves another task.
    """
    known = dataset_names()
    text = str(reference)
    if text.startswith("tfds:"):
        name, options = "tfds", {"name": text.removeprefix("tfds:"), "task": task, **options}
    elif text in known:
        name = text
    elif is_remote(text) or (Path(text) / MANIFEST).is_file():
        name, options = "shards", {**options, "path": text}
    elif Path(text).exists():
        name, options = _BY_PATH[task], {"path": text, **options}
    else:
        raise unknown_name("dataset or existing path", text, known)
    cls = _DATASETS[name]
    if cls.task not in ("", task):
        fitting = ", ".join(dataset_names(task))
        raise DataError(f"Dataset '{name}' is for {cls.task}, not for {task}; fitting ones: {fitting}.")
    dataset = cls(cls.Options().replace(**options))
    if dataset.task != task:
        raise DataError(f"'{text}' holds {dataset.task}, not {task}; choose a model for that, or other data.")
    return dataset
