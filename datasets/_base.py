"""What a dataset is: named splits of numpy records, with a licence.

Record fields by task (all datasets of a task give the same):

- captioning: `id` str, `group` str (records of one group never straddle splits), `image` (path or encoded bytes),
  `captions` tuple of str.
- image_classification: `id` str, `group` str, `image` (path or encoded bytes), `label` str.
- text_classification: `id` str, `text` str, `label` str.
- forecasting: `id` str (series name), `columns` tuple of str, `target` str, `dates` datetime64 (n,), `values` float32
  (n, F) raw units, `split_factor` float32 (n,) (2.0 on the day a 2:1 share split takes effect, else 1.0),
  `first_target` int: index of the first row that may be a target. All rows before it are history only; rows after the
  split's end are not in the arrays at all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeVar

import numpy as np

from zoo.config import BaseConfig
from zoo.errors import DataError, ZooError

Record = dict[str, Any]


class Source(Protocol):
    """A random-access sequence of records."""

    def __len__(self) -> int:
        """Return the number of records."""
        ...

    def __getitem__(self, index: int) -> Record:
        """Return record `index`, 0 <= index < len."""
        ...


def is_streamed(source: Source) -> bool:
    """Tell whether a source may not fit in memory (shards), so that nobody may hold more than a bounded part of it."""
    return bool(getattr(source, "streamed", False))


def sample_indices(total: int, limit: int) -> np.ndarray:
    """Return at most `limit` indices below `total`, ascending, int64; all of them if there are no more.

    Of more, one is drawn at random, always the same, from each of `limit` equal stretches: spread evenly, and without a
    stride that could fall in step with the data.
    """
    if total <= limit:
        return np.arange(total)
    edges = np.linspace(0, total, limit + 1)
    return (edges[:-1] + np.random.default_rng(0).random(limit) * np.diff(edges)).astype(np.int64)


@dataclass(frozen=True)
class Licence:
    """Under what terms data may be used.

    Attributes:
        name: SPDX identifier or a short phrase.
        credit: The credit line it asks for.
        url: Where it comes from.
        weights_may_ship: Whether weights trained on it may be given away.
    """

    name: str
    credit: str
    url: str = ""
    weights_may_ship: bool = False


class Dataset:
    """Named splits of records.

    Sub-classes define a nested frozen dataclass `Options(BaseConfig)` and `splits()`; `Dataset` checks names.

    Attributes:
        name: Registered name.
        task: Name of the task it serves.
        licence: Terms of use.
        options: The options it was made with.
        language: ISO 639-1 code of its text, or "".
        pictures_checked: Whether its pictures are decoded once when it is read, and bad ones left out.
        left_out: What was left out, as pairs of a file and a reason; known once it is read.
        announce: Whether what is left out is said on standard error.
        quiet: Whether to show no progress of long reading there.
    """

    name: ClassVar[str]
    task: ClassVar[str]
    Options: ClassVar[type[BaseConfig]] = BaseConfig
    licence: Licence
    language: str = ""
    pictures_checked: ClassVar[bool] = False
    left_out: tuple[tuple[str, str], ...] = ()
    announce: bool = True
    quiet: bool = False

    def __init__(self, options: Any = None) -> None:
        """Keep the options; data is read on first use."""
        self.options: Any = options if options is not None else self.Options()

    def splits(self) -> dict[str, Source]:
        """Return every split by name; "train" and "valid" always, "test" mostly; read once, then kept."""
        raise ZooError(f"Dataset {type(self).__name__} lacks splits().")

    def split(self, name: str) -> Source:
        """Return one split.

        Raises:
            DataError: If there is no such split.
        """
        splits = self.splits()
        if name not in splits:
            raise DataError(f"Dataset '{self.name}' has no split '{name}'; it has {', '.join(splits)}.")
        return splits[name]


_DATASETS: dict[str, type[Dataset]] = {}
D = TypeVar("D", bound="type[Dataset]")


def register_dataset(name: str, *, task: str) -> Callable[[D], D]:
    """Register a dataset class under `name`.

    Raises:
        ZooError: If the name is taken.
    """

    def decorate(cls: D) -> D:
        if name in _DATASETS:
            raise ZooError(f"Dataset '{name}' is already registered by {_DATASETS[name].__module__}.")
        cls.name, cls.task = name, task
        _DATASETS[name] = cls
        return cls

    return decorate
