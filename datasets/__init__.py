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

import os
from dataclasses import fields
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
from zoo.errors import ConfigError, DataError, unknown_name
from zoo.registry import _load_package

__all__ = [
    "Dataset",
    "Licence",
    "Record",
    "Source",
    "dataset_names",
    "folder_option",
    "is_remote",
    "is_streamed",
    "load",
    "register_dataset",
    "sample_indices",
    "task_of",
]

_BY_PATH = {
    "captioning": "caption_folder",
    "image_classification": "image_folder",
    "text_classification": "text_file",
    "forecasting": "series_file",
}


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
    text = str(reference)
    name, own = _find(text, task)
    cls = _DATASETS[name]
    if cls.task not in ("", task):
        fitting = ", ".join(dataset_names(task))
        raise DataError(f"Dataset '{name}' is for {cls.task}, not for {task}; fitting ones: {fitting}.")
    chosen = cls.Options().replace(**{**options, **own})
    dataset = cls(chosen.replace(**{key: _absolute(getattr(chosen, key)) for key in _folder_fields(cls)}))
    if dataset.task != task:
        raise DataError(f"'{text}' holds {dataset.task}, not {task}; choose a model for that, or other data.")
    return dataset


def folder_option(reference: str | Path, folder: str | Path, task: str) -> dict[str, str]:
    """Return the option that tells a dataset where its files lie.

    Args:
        reference: As in `load`.
        folder: The folder.
        task: Name of the task the data is for.

    Raises:
        UnknownNameError: If it is neither a registered name nor an existing path.
        ConfigError: If the dataset takes no folder, or the reference is one.
    """
    name, own = _find(str(reference), task)
    keys = [key for key in _folder_fields(_DATASETS[name]) if key not in own]
    if not keys:
        raise ConfigError(f"The data '{reference}' takes no folder; leave --data-dir (data_dir) out.")
    return {keys[0]: _absolute(str(folder))}


def _find(text: str, task: str) -> tuple[str, dict[str, Any]]:
    """Return the registered name that a reference stands for, and the options it sets."""
    known = dataset_names()
    if text.startswith("tfds:"):
        return "tfds", {"name": text.removeprefix("tfds:"), "task": task}
    if text in known:
        return text, {}
    if is_remote(text) or (Path(text) / MANIFEST).is_file():
        return "shards", {"path": text}
    if Path(text).exists():
        return _BY_PATH[task], {"path": text}
    raise unknown_name("dataset or existing path", text, known)


def _folder_fields(cls: type[Dataset]) -> list[str]:
    return [item.name for item in fields(cls.Options) if item.name in ("data_dir", "path")]


def _absolute(path: str) -> str:
    """Return a path that does not depend on the working folder; nothing and URLs stay."""
    return os.path.abspath(os.path.expanduser(path)) if path and not is_remote(path) else path
