"""What the forecasting datasets share: splitting by time with a gap."""

from __future__ import annotations

import dataclasses
import datetime
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from zoo.config import BaseConfig, setting
from zoo.datasets._base import Record, Source
from zoo.datasets._split import Rows
from zoo.errors import DataError


@dataclass(frozen=True)
class Series:
    """One unbroken, checked series.

    Attributes:
        name: Identifier.
        columns: Names of the columns.
        target: The column to forecast.
        dates: datetime64 (n,), ascending.
        values: float32 (n, F), raw units.
        split_factor: float32 (n,), 1.0 but on the days a share split takes effect.
    """

    name: str
    columns: tuple[str, ...]
    target: str
    dates: np.ndarray
    values: np.ndarray
    split_factor: np.ndarray

    def record(self, first_target: int, stop: int) -> Record:
        """Return the record whose targets are the rows `first_target` to `stop` (not included)."""
        return {
            "id": self.name,
            "columns": self.columns,
            "target": self.target,
            "dates": self.dates[:stop],
            "values": self.values[:stop],
            "split_factor": self.split_factor[:stop],
            "first_target": first_target,
        }


@dataclass(frozen=True)
class DateOptions(BaseConfig):
    """Options of datasets that split at calendar dates."""

    gap: int = setting(60, low=0, high=10_000)
    """Rows between the targets of two splits: one window of the model, or 0 to follow a published protocol."""
    valid_start: str = setting("2009-07-01")
    """Training ends before this date."""
    test_start: str = setting("2011-01-01")
    """Validation ends before this date."""

    def check(self) -> None:
        """Check that both dates are dates, in order."""
        for name in ("valid_start", "test_start"):
            try:
                datetime.date.fromisoformat(getattr(self, name))
            except ValueError:
                raise self.fail(name, "a date such as 2011-01-31") from None
        if self.test_start <= self.valid_start:
            raise self.fail("test_start", f"after valid_start, {self.valid_start}")


def split_by_date(series: Sequence[Series], options: DateOptions) -> dict[str, Source]:
    """Split all series at the same dates; between the targets of two splits lie `gap` rows.

    The arrays of a split begin with the series (what lies before `first_target` is history) and end with the split.

    Raises:
        DataError: If a split of some series would have no target.
    """
    bounds = {
        one.name: (
            int(np.searchsorted(one.dates, np.datetime64(options.valid_start))),
            int(np.searchsorted(one.dates, np.datetime64(options.test_start))),
        )
        for one in series
    }
    return _split(series, bounds, options.gap)


def split_by_share(one: Series, gap: int, valid_fraction: float, test_fraction: float) -> dict[str, Source]:
    """Split one series by time; the fractions are of the rows that are left without the two gaps.

    Raises:
        DataError: If the series is too short for three splits.
    """
    train_fraction = 1 - valid_fraction - test_fraction
    needed = 2 * gap + math.ceil(max((gap + 1) / train_fraction, 1 / valid_fraction, 1 / test_fraction) - 1e-9)
    if len(one.dates) < needed:
        raise DataError(
            f"Series '{one.name}' has {len(one.dates)} rows; a window of {gap} needs at least {needed} for training, "
            "validation and test: give a longer series or a shorter window."
        )
    usable = len(one.dates) - 2 * gap
    valid, test = round(usable * valid_fraction), round(usable * test_fraction)
    train = usable - valid - test
    return _split([one], {one.name: (train, train + gap + valid)}, gap)


def split_by_rows(one: Series, gap: int, rows: Sequence[int]) -> dict[str, Source]:
    """Split one series into given numbers of rows for training, validation and test, gaps included.

    Raises:
        DataError: If the series has fewer rows or a split would have no target.
    """
    train, valid, test = rows
    total = train + valid + test
    if len(one.dates) < total:
        raise DataError(
            f"Series '{one.name}' has {len(one.dates)} rows, and the splits ask for {total}; ask for fewer."
        )
    kept = {name: getattr(one, name)[:total] for name in ("dates", "values", "split_factor")}
    return _split([dataclasses.replace(one, **kept)], {one.name: (train, train + valid)}, gap)


def _split(series: Sequence[Series], bounds: Mapping[str, tuple[int, int]], gap: int) -> dict[str, Source]:
    splits: dict[str, list[Record]] = {"train": [], "valid": [], "test": []}
    for one in series:
        ends = (*bounds[one.name], len(one.dates))
        for split, start, stop in zip(splits, (0, *ends), ends, strict=False):
            first = min(start + gap, stop)
            if first == stop:
                raise DataError(
                    f"Series '{one.name}' is too short: its split '{split}' has {stop - start} rows and needs more "
                    f"than the window of {gap}; give a longer series, a shorter window or other dates."
                )
            splits[split].append(one.record(first, stop))
    return {name: Rows(records) for name, records in splits.items()}
