"""Daily prices of Apple, Google, IBM and Microsoft, 1 March 2000 to 1 March 2013 (Google from August 2004).

Package `bokeh_sampledata` carries them as they were quoted: prices are *not* adjusted, so a 2:1 share split halves
them overnight. `split_factor` marks the three splits of the period (each was checked against the halved open). The
file's adjusted close is not used: it depends on splits and dividends that came later, and would leak them.

Facebook is left out: its 196 days are under the 500 that a model needs. Microsoft's special dividend of 3 dollars
(15 November 2004) is a drop like any other.

All tickers are split at the same dates, with a gap of one window, so that what moved the whole market on a test day was
no training target.
"""

from __future__ import annotations

import csv
import gzip
from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from zoo.datasets._base import Dataset, Licence, Source, register_dataset
from zoo.datasets._package import package_file
from zoo.datasets._series import DateOptions, Series, split_by_date
from zoo.errors import DataError

COLUMNS = ("open", "high", "low", "close", "volume")
MIN_DAYS = 500

# Ticker -> first day at the new price -> new shares for one old share.
SHARE_SPLITS = {
    "AAPL": {"2000-06-21": 2.0, "2005-02-28": 2.0},
    "MSFT": {"2003-02-18": 2.0},
}


@register_dataset("stocks", task="forecasting")
class Stocks(Dataset):
    """Open, high, low, close and volume of four stocks; the target is the close."""

    licence = Licence(
        name="public domain",
        credit="Prices: Quandl WIKI Prices, declared public domain, as package bokeh_sampledata carries them.",
        url="https://github.com/bokeh/bokeh_sampledata",
        weights_may_ship=True,
    )

    @dataclass(frozen=True)
    class Options(DateOptions):
        """Options of the stocks dataset."""

    def __init__(self, options: Options | None = None) -> None:
        """Keep the options; prices are read on first use."""
        super().__init__(options)
        self._splits: dict[str, Source] | None = None

    def splits(self) -> dict[str, Source]:
        """Return `train`, `valid` and `test`, each with one record a ticker."""
        if self._splits is None:
            self._splits = split_by_date(_read(), self.options)
        return self._splits


def _read() -> list[Series]:
    path = package_file("bokeh_sampledata", "_data/stocks.csv.gz", distribution="bokeh-sampledata")
    rows: dict[str, list[list[str]]] = defaultdict(list)
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        reader = csv.reader(file)
        if next(reader, None) != ["Ticker", "Date", "Open", "High", "Low", "Close", "Volume", "Adj Close"]:
            raise DataError(f"'{path}' does not have the columns of bokeh_sampledata 2026.1; install that version.")
        for ticker, *fields in reader:
            rows[ticker].append(fields)
    return [_series(ticker, fields) for ticker, fields in sorted(rows.items()) if len(fields) >= MIN_DAYS]


def _series(ticker: str, rows: list[list[str]]) -> Series:
    dates = np.array([row[0] for row in rows], "datetime64[D]")
    factor = np.ones(len(rows), np.float32)
    for day, ratio in SHARE_SPLITS.get(ticker, {}).items():
        factor[dates == np.datetime64(day)] = ratio
    values = np.array([row[1 : 1 + len(COLUMNS)] for row in rows], np.float32)
    return Series(ticker, COLUMNS, "close", dates, values, factor)
