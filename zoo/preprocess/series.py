"""Series: parse a table, order it by date, check it, cut windows. Nothing is scaled here; that happens in the graph.

Numpy only; the same code cuts the windows of training and reads the table on the device.

Share splits: a window is in units of its last day's shares. Only splits that took effect up to that day are used, so a
window never knows of a later one; a target beyond a later split is brought to the window's units.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from zoo.errors import DataError
from zoo.files import strict_json
from zoo.preprocess._base import Preprocessor, RawInput, whole
from zoo.preprocess._series_kinds import PRICE_NAMES, ColumnKinds
from zoo.preprocess._table import MAX_ROWS, read_columns, write_csv
from zoo.results import Forecast

if TYPE_CHECKING:
    from zoo.datasets import Record, Source

LEVELS = (0.1, 0.25, 0.5, 0.75, 0.9)
"""Default quantile levels."""

DECAY = 0.94
"""Decay of the exponentially weighted volatility (J.P. Morgan 1996, RiskMetrics, table 5.8, daily data)."""

VOLUME_NAMES = ("volume",)
SPLIT_NAME = "split_factor"

MAX_COLUMNS = 10_000
MAX_LEVELS = 100

_FLOOR_SHARE = 0.05  # the volatility of a dead window counts as this share of the training median


class SeriesWindows:
    """All windows of one record, cut on demand and without a Python loop.

    Args:
        record: A forecasting record (see `zoo.datasets`).
        window: Rows a window, at least 2.
        horizon: Rows to forecast.

    Attributes:
        ends: int64 (N,), row of every window's last step. The windows of a record whose targets all lie in
            `first_target` or later.

    Raises:
        DataError: If a value is not finite.
    """

    def __init__(self, record: Record, window: int, horizon: int) -> None:
        values = np.asarray(record["values"], np.float64)
        _check_finite(values, record["columns"], lambda row: f"{record['id']}, {record['dates'][row]}")
        self.window, self.horizon = window, horizon
        self.target = list(record["columns"]).index(record["target"])
        self._powers = _split_powers(record["columns"])
        self._shares = np.cumprod(np.asarray(record["split_factor"], np.float64))
        # one unbroken series in units of the first day's shares
        self.unbroken = values * self._shares[:, None] ** self._powers
        first = max(window - 1, int(record["first_target"]) - 1)
        self.ends = np.arange(first, len(values) - horizon)

    def __len__(self) -> int:
        """Return the number of windows."""
        return len(self.ends)

    def inputs(self, positions: np.ndarray) -> np.ndarray:
        """Return windows as float32 (N, window, features), in units of each window's last day."""
        ends = self.ends[positions]
        rows = ends[:, None] + np.arange(1 - self.window, 1)
        return (self.unbroken[rows] / self._shares[ends][:, None, None] ** self._powers).astype(np.float32)

    def futures(self, positions: np.ndarray) -> np.ndarray:
        """Return the target column after each window as float32 (N, horizon), in units of the window's last day."""
        ends = self.ends[positions]
        rows = ends[:, None] + np.arange(1, self.horizon + 1)
        units = self._shares[ends][:, None] ** self._powers[self.target]
        return (self.unbroken[rows, self.target] / units).astype(np.float32)


def count_windows(rows: np.ndarray, first_target: np.ndarray, window: int, horizon: int) -> np.ndarray:
    """Return how many windows `SeriesWindows` cuts from records of so many rows, int64 of the arrays' shape."""
    return np.maximum(rows - horizon - np.maximum(window - 1, first_target - 1), 0).astype(np.int64)


def windows(record: Record, window: int, horizon: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cut all windows of a record at once.

    Returns:
        Windows float32 (N, window, features), futures float32 (N, horizon), and the row of each window's last step,
        int64 (N,).

    Raises:
        DataError: If a value is not finite.
    """
    cut = SeriesWindows(record, window, horizon)
    positions = np.arange(len(cut))
    return cut.inputs(positions), cut.futures(positions), cut.ends


def volatility(target: np.ndarray, *, log_prices: bool, floor: float, decay: float = DECAY) -> np.ndarray:
    """Exponentially weighted volatility of one step: `sqrt(sum_t w_t r_t^2)`, `w_t` falling by `decay` a step back.

    Args:
        target: (N, W) raw units.
        log_prices: Whether `r` are changes of the logarithm or of the raw value.
        floor: Smallest value returned.
        decay: Between 0 and 1.

    Returns:
        float64 (N,), without unit for `log_prices`, else in raw units.
    """
    target = np.asarray(target, np.float64)
    changes = np.diff(np.log(target) if log_prices else target, axis=1)
    weights = decay ** np.arange(changes.shape[1])[::-1]
    return np.maximum(np.sqrt((changes**2) @ (weights / weights.sum())), floor)


@dataclass(frozen=True)
class SeriesPreprocessor(Preprocessor):
    """Windows of a table with named columns.

    Attributes:
        columns: Names of the columns, in the order of the model's features.
        target: Name of the column to forecast.
        window: Rows the model sees.
        horizon: Rows it forecasts.
        levels: Quantile levels, ascending.
        price_columns: Positions of the columns in the unit of the target (open, high, low, close), the target's among
            them.
        log_columns: Positions of the other columns that were never negative (volume); the graph takes log(1 + x).
        log_prices: Whether the graph works with logarithms of the price columns. Decided on the training split: they
            are positive and the target never moved by more than a factor of 4 in one step. Otherwise it works with
            differences, and values may be negative.
        scale_floor: Smallest volatility, 5% of the training median: a dead window is not infinitely quiet.
    """

    kind: ClassVar[str] = "forecasting"

    columns: tuple[str, ...]
    target: str
    window: int
    horizon: int
    levels: tuple[float, ...] = LEVELS
    price_columns: tuple[int, ...] = ()
    log_columns: tuple[int, ...] = ()
    log_prices: bool = True
    scale_floor: float = 1e-6

    @property
    def target_index(self) -> int:
        """Position of the target column."""
        return self.columns.index(self.target)

    @classmethod
    def fit(cls, train: Source, *, window: int, horizon: int, levels: Sequence[float] = LEVELS) -> Self:
        """Learn names and kinds of columns from the training split alone; every series is read once, one at a time.

        Raises:
            DataError: If the series differ in their columns or are all too short for one window.
        """
        if not len(train):
            raise DataError("The training split has no series; give at least one.")
        kinds = ColumnKinds(train[0])
        for number in range(len(train)):
            record = train[number]
            kinds.check(record)
            kinds.add(SeriesWindows(record, window, horizon))
        if kinds.scales is None:
            raise DataError(
                f"The longest training series has {kinds.longest} rows; one window of {window} and its horizon of "
                f"{horizon} need {window + horizon}: give more rows or a smaller window."
            )
        columns, target, prices, log_prices = kinds.columns, kinds.target, kinds.prices, kinds.log_prices
        return cls(
            columns=columns,
            target=target,
            window=window,
            horizon=horizon,
            levels=tuple(float(level) for level in levels),
            price_columns=prices,
            log_columns=tuple(i for i in range(len(columns)) if i not in prices and kinds.lowest[i] >= 0),
            log_prices=log_prices,
            scale_floor=max(_FLOOR_SHARE * kinds.scales[log_prices], 1e-6 if log_prices else 1e-12),
        )

    def files(self) -> dict[str, bytes]:
        """See the base class."""
        content = {"kind": self.kind, **asdict(self)}
        return {"preprocessor.json": (json.dumps(content, ensure_ascii=False, indent=2) + "\n").encode("utf-8")}

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> Self:
        """See the base class."""
        content = strict_json(files["preprocessor.json"])
        columns, target, levels = content["columns"], content["target"], content["levels"]
        if not _are_names(columns) or target not in columns:
            raise ValueError("the columns are not a list of different names with the target among them")
        if not isinstance(levels, list) or not 1 <= len(levels) <= MAX_LEVELS or sorted(set(levels)) != levels:
            raise ValueError("the levels are not an ascending list")
        floor = float(content["scale_floor"])
        if levels[0] <= 0 or levels[-1] >= 1 or floor <= 0 or type(content["log_prices"]) is not bool:
            raise ValueError("levels, scale_floor or log_prices is out of range")
        prices, logs = (
            tuple(whole(i, key, 0, len(columns) - 1) for i in content[key]) for key in ("price_columns", "log_columns")
        )
        return cls(
            columns=tuple(columns),
            target=target,
            window=whole(content["window"], "window", 2, MAX_ROWS),
            horizon=whole(content["horizon"], "horizon", 1, MAX_ROWS),
            levels=tuple(map(float, levels)),
            price_columns=prices,
            log_columns=logs,
            log_prices=content["log_prices"],
            scale_floor=floor,
        )

    def interface(self) -> Any:
        """See the base class."""
        outputs: dict[str, Any] = {
            "mean": ("float32", ("B", self.horizon)),
            "quantiles": ("float32", ("B", self.horizon, len(self.levels))),
            "step_weights": ("float32", ("B", self.window)),
        }
        return {"window": ("float32", ("B", self.window, len(self.columns)))}, outputs

    def request(self, value: Any) -> dict[str, np.ndarray]:
        """Turn a table into the last window.

        Args:
            value: Path or bytes of a CSV file with a header; an array (n, features) in the order of `columns`; a list
                of dictionaries, one a row; or a mapping of column names to values. Rows are ordered by the date column
                if there is one, else taken as they are, oldest first. Extra columns are ignored; a column
                `split_factor` (2 on the day a 2:1 split takes effect, else 1) brings older rows to the last day's
                units.

        Returns:
            `window` float32 (1, window, features).

        Raises:
            DataError: If a column is missing, rows are too few, or a value is no finite number (or not positive where
                the model takes logarithms).
        """
        factors = np.ones(self.window)
        if isinstance(value, np.ndarray):
            rows = _array_rows(value, self.columns)
            self._check_length(len(rows), "The array")
            table = rows[-self.window :].astype(np.float64)
            names = [f"row {i}" for i in range(len(rows) - self.window + 1, len(rows) + 1)]
        else:
            columns = read_columns(value)
            names = columns.rows[-self.window :]
            missing = [name for name in self.columns if name.strip().lower() not in columns.cells]
            if missing:
                raise DataError(
                    f"{columns.title} has no column {', '.join(map(repr, missing))}; the model needs "
                    f"{', '.join(self.columns)}."
                )
            self._check_length(len(columns), columns.title)
            table = np.stack([columns.numbers(name, self.window) for name in self.columns], axis=1)
            if SPLIT_NAME in columns.cells:
                factors = columns.numbers(SPLIT_NAME, self.window)
        _check_finite(table, self.columns, lambda row: names[row])
        bad = np.argwhere((table[:, self.price_columns] <= 0) & self.log_prices)
        if len(bad):
            row, column = int(bad[0][0]), self.price_columns[int(bad[0][1])]
            raise DataError(
                f"Column '{self.columns[column]}' ({names[row]}) is {table[row, column]:g}; this model was "
                "trained on positive prices: correct the row."
            )
        if not (factors > 0).all() or not np.isfinite(factors).all():
            raise DataError(
                f"Column '{SPLIT_NAME}' must be a number above 0 in every row; use 1 where there is no split."
            )
        with np.errstate(over="ignore", invalid="ignore"):
            shares = np.cumprod(factors)
        table = table * (shares / shares[-1])[:, None] ** _split_powers(self.columns)
        _check_finite(table, self.columns, lambda row: f"{names[row]}, after its share splits")
        return {"window": table.astype(np.float32)[None]}

    def made_up(self) -> list[RawInput]:
        """Return three tables.

        A plain one; one with the newest row first, a share split and a column the model does not know; one as short as
        can be, with semicolons, a byte order mark, carriage returns and names in capitals.
        """
        days = np.datetime64("2020-01-30") + np.arange(self.window + 3)
        steps = np.arange(len(days))
        shift = np.arange(len(self.columns))
        values = (100 + 7 * np.sin(0.3 * steps) + 0.11 * steps)[:, None] + 0.5 * shift + 0.2 * np.cos(steps)[:, None]
        values[:, np.flatnonzero(_split_powers(self.columns) < 0)] *= 10_000
        values = values.round(2)
        factors = np.where(steps == len(days) - self.window // 2, 2.0, 1.0)
        old = np.cumprod(factors)[-1] / np.cumprod(factors)
        split = values * old[:, None] ** _split_powers(self.columns)
        other = {SPLIT_NAME: factors[::-1], "of_no_use": steps}
        names = [name.upper() if name.isascii() else name for name in self.columns]
        short = write_csv(
            days[3:], dict(zip(names, values[3:].T * 1.5, strict=True)), delimiter=";", lineterminator="\r\n"
        )
        return [
            self.raw(days, values),
            RawInput("csv", write_csv(days[::-1], dict(zip(self.columns, split[::-1].T, strict=True)) | other)),
            RawInput("csv", b"\xef\xbb\xbf" + short),
        ]

    def raw(self, dates: np.ndarray, values: np.ndarray, factors: np.ndarray | None = None) -> RawInput:
        """Return rows as a CSV file.

        Args:
            dates: datetime64 (N,).
            values: (N, features), as a user's file has them.
            factors: (N,), share splits.
        """
        shortest = np.asarray(values).astype(str).astype(np.float64)  # 144.66, not what float32 makes of it
        columns = dict(zip(self.columns, shortest.T, strict=True))
        if factors is not None and (np.asarray(factors) != 1).any():
            columns[SPLIT_NAME] = np.asarray(factors, np.float64)
        return RawInput("csv", write_csv(dates, columns))

    def result(self, request: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray]) -> Forecast:
        """See the base class."""
        return Forecast(
            mean=np.asarray(outputs["mean"], np.float32)[0],
            quantiles=np.asarray(outputs["quantiles"], np.float32)[0],
            levels=self.levels,
            last=float(request["window"][0, -1, self.target_index]),
            step_weights=np.asarray(outputs["step_weights"], np.float32)[0],
            target=self.target,
        )

    def _check_length(self, rows: int, title: str) -> None:
        if rows < self.window:
            raise DataError(f"{title} has {rows} rows, but the model looks back {self.window}; give at least as many.")


def _are_names(value: Any) -> bool:
    """Whether `value` is a list of names that differ in more than capitals."""
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_COLUMNS:
        return False
    if not all(isinstance(name, str) and 0 < len(name.strip()) <= 256 for name in value):
        return False
    return len({name.strip().lower() for name in value}) == len(value)


def _split_powers(columns: Sequence[str]) -> np.ndarray:
    """Power of the number of shares a column is multiplied with: prices 1, volumes -1, all else 0."""
    names = [name.strip().lower() for name in columns]
    return np.array([1.0 if name in PRICE_NAMES else -1.0 if name in VOLUME_NAMES else 0.0 for name in names])


def _check_finite(values: np.ndarray, columns: Sequence[str], where: Callable[[int], str]) -> None:
    bad = np.argwhere(~(np.abs(values) <= np.finfo(np.float32).max))
    if len(bad):
        row, column = (int(i) for i in bad[0])
        raise DataError(
            f"Column '{columns[column]}' ({where(row)}) is {values[row, column]}; "
            "a forecast needs finite numbers: fill or drop it."
        )


def _array_rows(value: np.ndarray, columns: Sequence[str]) -> np.ndarray:
    rows = value[:, None] if value.ndim == 1 else value
    if rows.ndim != 2 or rows.shape[1] != len(columns) or rows.dtype.kind not in "fiu":
        raise DataError(
            f"An array of shape {value.shape} and type {value.dtype} was given; it must be numbers of shape "
            f"(rows, {len(columns)}) with the columns {', '.join(columns)}."
        )
    return rows
