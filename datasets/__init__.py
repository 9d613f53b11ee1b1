"""Where examples come from: one dataset a file.

    from zoo import datasets

    data = datasets.load("emoji", language="zh")
    data.split("train")[0]

A reference is a registered name (`emoji`), a path to the user's own data, or `tfds:NAME`.
"""

from __future__ import annotations

if __name__ != "zoo.datasets":
    raise ImportError("This folder is the package 'zoo.datasets' of attention-zoo; import it by that name.")

from pathlib import Path
from typing import Any

from zoo.datasets._base import _DATASETS, Dataset, Licence, Record, Source, register_dataset
from zoo.errors import DataError, unknown_name
from zoo.registry import _load_package

__all__ = ["Dataset", "Licence", "Record", "Source", "dataset_names", "load", "register_dataset"]

_BY_PATH = {"captioning": "caption_folder", "text_classification": "text_file", "forecasting": "series_file"}


def dataset_names(task: str | None = None) -> list[str]:
    """Return the names of the registered datasets, of one task or of all."""
    _load_package("zoo.datasets")
    return sorted(name for name, cls in _DATASETS.items() if task in (None, cls.task))


def load(reference: str | Path, *, task: str, **options: Any) -> Dataset:
    """Return the dataset a reference stands for.

    Args:
        reference: A registered name, `tfds:NAME`, or a path (a folder or file of the user's own data).
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
    elif Path(text).exists():
        name, options = _BY_PATH[task], {"path": text, **options}
    else:
        raise unknown_name("dataset or existing path", text, known)
    cls = _DATASETS[name]
    if name != "tfds" and cls.task != task:
        fitting = ", ".join(dataset_names(task))
        raise DataError(f"Dataset '{name}' is for {cls.task}, not for {task}; fitting ones: {fitting}.")
    return cls(cls.Options().replace(**options))
