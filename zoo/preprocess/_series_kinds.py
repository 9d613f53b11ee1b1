"""What is learned of the columns of training series, one series after the other; none is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from zoo.errors import DataError

if TYPE_CHECKING:
    from zoo.datasets import Record
    from zoo.preprocess.series import SeriesWindows

PRICE_NAMES = ("open", "high", "low", "close", "price")

_LARGEST_STEP = 4.0  # logarithms are for series that never move by more than this factor in one step


class ColumnKinds:
    """The kinds of columns of the series seen so far.

    Args:
        first: Any of the records; it says what the columns are.

    Attributes:
        columns: Names of the columns.
        target: The column to forecast.
        prices: Positions of the columns in the unit of the target.
        log_prices: Whether logarithms suit all series.
        lowest: float64 (F,), smallest value of every column.
        longest: Rows of the longest series.
        scales: Smallest typical volatility of a series with a window: of values, and of logarithms as long as these
            suit. None if there is no such series.
    """

    def __init__(self, first: Record) -> None:
        self._first = first["id"]
        self.columns: tuple[str, ...] = tuple(first["columns"])
        self.target: str = first["target"]
        index = self.columns.index(self.target)
        names = [name.strip().lower() for name in self.columns]
        prices = tuple(i for i, name in enumerate(names) if name in PRICE_NAMES) if names[index] in PRICE_NAMES else ()
        self.prices = prices or (index,)
        self.log_prices = True
        self.lowest = np.full(len(self.columns), np.inf)
        self.longest = 0
        self.scales: tuple[float, float] | None = None

    def check(self, record: Record) -> None:
        """Check that a series has the same columns.

        Raises:
            DataError: If not.
        """
        if tuple(record["columns"]) != self.columns or record["target"] != self.target:
            raise DataError(
                f"Series '{record['id']}' has the columns {', '.join(record['columns'])} and the target "
                f"'{record['target']}', but '{self._first}' has {', '.join(self.columns)} and '{self.target}'; "
                "all series of a dataset must have the same."
            )

    def add(self, cut: SeriesWindows) -> None:
        """Take in one series."""
        self.log_prices &= _suits_logarithm(cut.unbroken[:, self.prices], cut.unbroken[:, cut.target])
        self.lowest = np.minimum(self.lowest, cut.unbroken.min(axis=0, initial=np.inf))
        self.longest = max(self.longest, len(cut.unbroken))
        if len(cut):
            before = self.scales or (np.inf, np.inf)
            logs = _typical_volatility(cut, True) if self.log_prices else np.inf
            self.scales = min(before[0], _typical_volatility(cut, False)), min(before[1], logs)


def _suits_logarithm(prices: np.ndarray, target: np.ndarray) -> bool:
    if not (prices > 0).all():
        return False
    return bool(np.abs(np.diff(np.log(target))).max(initial=0.0) <= np.log(_LARGEST_STEP))


def _typical_volatility(cut: SeriesWindows, log_prices: bool) -> float:
    series = cut.unbroken[:, cut.target]
    changes = np.abs(np.diff(np.log(series) if log_prices else series))
    moves = changes[changes > 0]
    return float(np.median(moves)) if len(moves) else 0.0
