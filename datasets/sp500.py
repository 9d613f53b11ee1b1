"""Daily values of an index, January 1999 to December 2018: S&P 500, or NASDAQ Composite.

Package `arch` carries them for its examples. An index has no share splits; the adjusted close equals the close and is
left out.
"""

from __future__ import annotations

import csv
import datetime
import gzip
from dataclasses import dataclass

import numpy as np

from zoo.config import setting
from zoo.datasets._base import Dataset, Licence, Source, register_dataset
from zoo.datasets._package import package_file
from zoo.datasets._series import DateOptions, Series, split_by_date
from zoo.errors import DataError

COLUMNS = ("open", "high", "low", "close", "volume")


@register_dataset("sp500", task="forecasting")
class Sp500(Dataset):
    """Open, high, low, close and volume of one index; the target is the close."""

    licence = Licence(
        name="NCSA",
        credit="Index values: package arch by Kevin Sheppard (examples' data, from Yahoo! Finance).",
        url="https://github.com/bashtage/arch",
        weights_may_ship=False,
    )

    @dataclass(frozen=True)
    class Options(DateOptions):
        """Options of the index dataset."""

        index: str = setting("sp500", choices=("sp500", "nasdaq"))
        """Which index."""
        valid_start: str = setting("2013-01-01")
        """Training ends before this date."""
        test_start: str = setting("2015-01-01")
        """Validation ends before this date."""

    def __init__(self, options: Options | None = None) -> None:
        """Keep the options; values are read on first use."""
        super().__init__(options)
        self._splits: dict[str, Source] | None = None

    def splits(self) -> dict[str, Source]:
        """Return `train`, `valid` and `test`, each with one record."""
        if self._splits is None:
            self._splits = split_by_date([_read(self.options.index)], self.options)
        return self._splits


def _read(index: str) -> Series:
    path = package_file("arch", f"data/{index}/{index}.csv.gz", distribution="arch")
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        rows = list(reader)
    if [name.lower() for name in reader.fieldnames or ()] != ["date", *COLUMNS[:4], "adj close", "volume"]:
        raise DataError(f"'{path}' does not have the columns of arch 8.0.0; install that version.")
    days = [datetime.datetime.strptime(row["Date"], "%m/%d/%Y").date() for row in rows]
    values = np.array([[row[name.capitalize()] for name in COLUMNS] for row in rows], np.float32)
    return Series(index, COLUMNS, "close", np.array(days, "datetime64[D]"), values, np.ones(len(rows), np.float32))
