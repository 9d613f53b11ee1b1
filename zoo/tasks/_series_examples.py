"""Training examples of forecasting: windows of series, cut a batch at a time."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import numpy as np

from zoo.datasets import Record, Source, is_streamed
from zoo.errors import DataError
from zoo.preprocess.series import SeriesPreprocessor, SeriesWindows, count_windows, volatility
from zoo.tasks._base import Arrays

CACHED_BYTES = 16 << 20
"""Series of shards are kept up to this size, those used last, and always the last one."""


class WindowIndex:
    """All windows of all series of a source, by number; of a streamed source only where they are is known.

    Args:
        source: Records.
        preprocessor: Says how to cut.

    Attributes:
        starts: int64 (series + 1,), number of the first window of every series.

    Raises:
        DataError: If a series does not have the preprocessor's columns; of a streamed source, once it is read.
    """

    def __init__(self, source: Source, preprocessor: SeriesPreprocessor) -> None:
        self.source = source
        self._preprocessor = preprocessor
        self._kept: list[SeriesWindows] | None = None
        self._cached: OrderedDict[int, SeriesWindows] = OrderedDict()
        self._lock = threading.Lock()
        if is_streamed(source):
            rows, first = source.extents().T  # type: ignore[attr-defined]
            counts = count_windows(rows, first, preprocessor.window, preprocessor.horizon)
        else:
            self._kept = [self._cut(source[index]) for index in range(len(source))]
            counts = np.array([len(cut) for cut in self._kept], np.int64)
        self.starts = np.concatenate([[0], np.cumsum(counts)])

    def __len__(self) -> int:
        """Return the number of windows."""
        return int(self.starts[-1])

    def groups(self, indices: np.ndarray) -> Iterator[tuple[int, SeriesWindows, np.ndarray, np.ndarray]]:
        """Yield, series by series, its number, its windows, and which rows of `indices` ask for which of them."""
        owner = np.searchsorted(self.starts, indices, side="right") - 1
        for series in np.unique(owner).tolist():
            rows = np.flatnonzero(owner == series)
            yield series, self.windows_of(series), rows, np.asarray(indices)[rows] - self.starts[series]

    def gather(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return windows float32 (N, W, F) and futures float32 (N, H)."""
        pre = self._preprocessor
        window = np.empty((len(indices), pre.window, len(pre.columns)), np.float32)
        future = np.empty((len(indices), pre.horizon), np.float32)
        for _, cut, rows, positions in self.groups(indices):
            window[rows] = cut.inputs(positions)
            future[rows] = cut.futures(positions)
        return window, future

    def windows_of(self, series: int) -> SeriesWindows:
        """Return the windows of a series."""
        if self._kept is not None:
            return self._kept[series]
        with self._lock:
            cut = self._cached.pop(series, None)
            if cut is None:
                cut = self._cut(self.source[series])
                if len(cut) != self.starts[series + 1] - self.starts[series]:
                    raise DataError(
                        f"Series {series} has other rows than its index says; prepare or copy the shards again."
                    )
            self._cached[series] = cut
            size = sum(each.unbroken.nbytes for each in self._cached.values())
            while size > CACHED_BYTES and len(self._cached) > 1:
                size -= self._cached.popitem(last=False)[1].unbroken.nbytes
            return cut

    def _cut(self, record: Record) -> SeriesWindows:
        pre = self._preprocessor
        if tuple(record["columns"]) != pre.columns or record["target"] != pre.target:
            raise DataError(
                f"Series '{record['id']}' has the columns {', '.join(record['columns'])} with the target "
                f"'{record['target']}'; the model was trained on {', '.join(pre.columns)} with '{pre.target}'."
            )
        return SeriesWindows(record, pre.window, pre.horizon)


class SeriesExamples:
    """Training examples of all windows of all series.

    Targets carry what a loss without unit needs: `mean` float32 (B, H, 3) holds the future, its unit (the window's
    volatility times the square root of the step, in raw units) and the last known value; `quantiles` float32
    (B, H, 3 + Q) the levels too.

    Args:
        source: Records.
        preprocessor: Says how to cut.

    Raises:
        DataError: If no series is long enough for one window.
    """

    def __init__(self, source: Source, preprocessor: SeriesPreprocessor) -> None:
        self._windows = WindowIndex(source, preprocessor)
        self._preprocessor = preprocessor
        if not len(self._windows):
            rows = preprocessor.window + preprocessor.horizon
            raise DataError(f"No series has the {rows} rows that one window and its horizon need; give more rows.")

    def __len__(self) -> int:
        """Return the number of windows."""
        return len(self._windows)

    def batch(self, indices: np.ndarray, rng: np.random.Generator | None) -> tuple[Arrays, Any, None]:
        """See `zoo.tasks.Examples`; there is no augmentation."""
        window, future = self._windows.gather(indices)
        return {"window": window}, _targets(window, future, self._preprocessor), None


def _targets(window: np.ndarray, future: np.ndarray, preprocessor: SeriesPreprocessor) -> dict[str, np.ndarray]:
    known = window[:, :, preprocessor.target_index]
    scale = volatility(known, log_prices=preprocessor.log_prices, floor=preprocessor.scale_floor)
    if preprocessor.log_prices:
        scale = scale * known[:, -1]
    unit = scale[:, None] * np.sqrt(np.arange(1, preprocessor.horizon + 1))
    last = np.broadcast_to(known[:, -1:], future.shape)
    mean = np.stack([future, unit, last], axis=-1).astype(np.float32)
    levels = np.broadcast_to(np.asarray(preprocessor.levels, np.float32), (*future.shape, len(preprocessor.levels)))
    return {"mean": mean, "quantiles": np.concatenate([mean, levels], axis=-1)}
