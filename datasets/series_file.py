"""A user's own series: a CSV file with a date column and columns of numbers.

Split by time, 70 / 10 / 20, with a gap of one window between the targets of two splits. A column `split_factor` (2 on
the day a 2:1 share split takes effect, else 1) is taken as what it says, not as a feature.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from zoo.config import BaseConfig, setting
from zoo.datasets._base import Dataset, Licence, Source, register_dataset
from zoo.datasets._series import Series, split_by_rows, split_by_share
from zoo.datasets._table import Table, read_table
from zoo.errors import DataError
from zoo.preprocess._table import DATE_NAMES, parse_date

SPLIT_NAME = "split_factor"


@register_dataset("series_file", task="forecasting")
class SeriesFile(Dataset):
    """One series from a file of the user's own."""

    licence = Licence(name="the user's own", credit="", weights_may_ship=False)

    @dataclass(frozen=True)
    class Options(BaseConfig):
        """Options of a series."""

        path: str = setting("")
        """The CSV file, plain or gzipped."""
        date_column: str = setting("auto")
        """Column of the dates; "auto" finds it, "none" takes the rows as they are, oldest first."""
        target: str = setting("auto")
        """Column to forecast; "auto" is `close`, else the last one."""
        columns: tuple[str, ...] = setting(())
        """Columns of numbers the model sees; none named = all but the date."""
        header: bool = setting(True)
        """Whether the first line has the names; otherwise they are column1, column2, ..."""
        gap: int = setting(60, low=0, high=100_000)
        """Rows between the targets of two splits: one window of the model, or 0 to follow a published protocol."""
        valid_fraction: float = setting(0.1, low=0.01, high=0.4)
        """Share of the rows in `valid`."""
        test_fraction: float = setting(0.2, low=0.01, high=0.4)
        """Share of the rows in `test`."""
        split_rows: tuple[int, ...] = setting((), low=1)
        """Rows of train, valid and test instead of the shares (a published protocol); later rows are left out."""

        def check(self) -> None:
            """Check that all splits have their rows."""
            if len(self.split_rows) not in (0, 3):
                raise self.fail("split_rows", "three numbers: rows of train, valid and test")

    def __init__(self, options: Options | None = None) -> None:
        """Keep the options; the file is read on first use."""
        super().__init__(options)
        self._splits: dict[str, Source] | None = None

    def splits(self) -> dict[str, Source]:
        """Return `train`, `valid` and `test`, each with one record."""
        if self._splits is None:
            options = self.options
            series = _read(options)
            if options.split_rows:
                self._splits = split_by_rows(series, options.gap, options.split_rows)
            else:
                self._splits = split_by_share(series, options.gap, options.valid_fraction, options.test_fraction)
        return self._splits


def _read(options: SeriesFile.Options) -> Series:
    path = Path(options.path)
    table = read_table(path, header=options.header)
    if not table.rows:
        raise DataError(f"'{path}' has no rows of data.")
    date = _date_column(table, options.date_column)
    names = list(options.columns) or [
        name for i, name in enumerate(table.columns) if i != date and name.lower() != SPLIT_NAME
    ]
    positions = [table.position(name, "columns") for name in names]
    if not names:
        raise DataError(f"'{path}' has no column of numbers beside the date.")
    target = _target(table, names, options.target)
    values = np.array([[_number(table, row, i) for i in positions] for row in range(len(table.rows))])
    dates, order = _dates(table, date)
    factor = _factor(table)
    return Series(path.name.split(".")[0], tuple(names), target, dates[order], values[order], factor[order])


def _date_column(table: Table, wanted: str) -> int | None:
    if wanted == "none":
        return None
    if wanted != "auto":
        return table.position(wanted, "date_column")
    lowered = [name.lower() for name in table.columns]
    for name in DATE_NAMES:
        if name in lowered:
            return lowered.index(name)
    for position, field in enumerate(table.rows[0]):
        if parse_date(field):
            return position
    raise DataError(
        f"'{table.title}' has no date column; it has {', '.join(table.columns[:20])}. Name one with date_column, or "
        "give date_column=none if the rows are in order."
    )


def _target(table: Table, names: list[str], wanted: str) -> str:
    if wanted == "auto":
        return next((name for name in names if name.lower() == "close"), names[-1])
    if wanted not in names:
        raise DataError(f"'{table.title}' has no column '{wanted}' to forecast; it has {', '.join(names[:20])}.")
    return wanted


def _number(table: Table, row: int, column: int) -> np.float32:
    field = table.rows[row][column].strip()
    try:
        value = float(field)
    except ValueError:
        value = math.nan
    if not abs(value) <= float(np.finfo(np.float32).max):
        raise DataError(
            f"'{table.title}', line {table.lines[row]}: column '{table.columns[column]}' is {field[:40]!r}, which is "
            "no finite number; correct it, or name the columns to use with columns."
        )
    return np.float32(value)


def _dates(table: Table, column: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the dates of all rows and the order that makes them ascend."""
    count = len(table.rows)
    if column is None:
        return np.datetime64("1970-01-01", "D") + np.arange(count), np.arange(count)
    parsed = []
    for fields, line in zip(table.rows, table.lines, strict=True):
        value = parse_date(fields[column])
        if value is None:
            raise DataError(
                f"'{table.title}', line {line}: {fields[column][:40]!r} in column '{table.columns[column]}' is no "
                "date; write dates as 2011-01-31."
            )
        parsed.append(value)
    dates = np.array(parsed, "datetime64[s]")
    order = np.argsort(dates, kind="stable")
    twice = np.flatnonzero(np.diff(dates[order]) == np.timedelta64(0, "s"))
    if len(twice):
        first, second = (table.lines[order[twice[0] + i]] for i in (0, 1))
        day = table.rows[order[twice[0]]][column]
        raise DataError(
            f"'{table.title}' has the date {day} twice, in lines {first} and {second}; keep one row a date."
        )
    return dates, order


def _factor(table: Table) -> np.ndarray:
    lowered = [name.lower() for name in table.columns]
    if SPLIT_NAME not in lowered:
        return np.ones(len(table.rows), np.float32)
    column = lowered.index(SPLIT_NAME)
    factor = np.array([_number(table, row, column) for row in range(len(table.rows))])
    if not (factor > 0).all():
        line = table.lines[int(np.argmin(factor > 0))]
        raise DataError(
            f"'{table.title}', line {line}: '{SPLIT_NAME}' must be above 0; write 1 where there is no split."
        )
    return factor
