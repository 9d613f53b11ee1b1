"""Forecast metrics, all of them beside persistence (the last known value for ever).

MASE: Hyndman and Koehler 2006, but scaled per window, see `forecast_metrics`. Pinball loss: Koenker and Bassett 1978.
Interval of a share: Wilson 1927.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from zoo.errors import DataError
from zoo.metrics.bootstrap import bootstrap_interval


def pinball_loss(quantiles: np.ndarray, levels: np.ndarray | Sequence[float], future: np.ndarray) -> np.ndarray:
    """Return the pinball loss max(q (y - f), (q - 1)(y - f)), elementwise: float64 (N, H, Q).

    Args:
        quantiles: float (N, H, Q), forecasts f.
        levels: float (Q,), levels q inside 0 and 1.
        future: float (N, H), true values y.
    """
    levels = np.asarray(levels, np.float64)
    error = np.asarray(future, np.float64)[..., None] - quantiles
    return np.maximum(levels * error, (levels - 1) * error)


def wilson_interval(share: float, count: float, z: float = 1.959964) -> tuple[float, float]:
    """Return Wilson's interval of a share seen in `count` independent trials (95% with the default z)."""
    centre = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    # the share itself is always inside; without this, rounding leaves it out at 0 and 1
    return float(max(0.0, min(centre - half, share))), float(min(1.0, max(centre + half, share)))


def forecast_metrics(
    mean: np.ndarray,
    quantiles: np.ndarray,
    levels: np.ndarray | Sequence[float],
    future: np.ndarray,
    last: np.ndarray,
    history: np.ndarray | None = None,
    times: np.ndarray | None = None,
    series: Sequence[str] | np.ndarray | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Score forecasts of N windows, H steps ahead.

    Args:
        mean: float (N, H), in the series' unit.
        quantiles: float (N, H, Q), in the same unit.
        levels: float (Q,), ascending, inside 0 and 1.
        future: float (N, H), the truth.
        last: float (N,), the last known value.
        history: Optional float (N, W), the windows; gives the scaled metrics.
        times: Optional (N,), the time of the last known value, sortable; windows of several series at one time are then
            resampled together. By default the windows are taken to be in the order of time.
        series: Optional, N names; adds the metrics of every series by itself.
        seed: Of the bootstrap.

    Returns:
        ``mae``, ``rmse``; ``rmse_ratio`` = RMSE / persistence's and ``skill`` = 1 - ratio; ``pinball``, its mean over
        everything, and ``pinball_by_level``; ``coverage`` of the band between the outermost levels with
        ``coverage_nominal`` (the difference of these levels); ``directional_accuracy``: share of windows whose
        predicted change from the last known value to the last step has the sign of the true one (windows that did not
        change are left out, a forecast of no change counts one half), its 95% interval ``directional_low`` and
        ``directional_high``, and ``directional_count``; ``count``. With `history` ``mase`` = mean of |error| divided by
        the mean absolute one-step change inside that window, and ``pinball_scaled``, the pinball loss divided by the
        same; windows without any change are left out of these two. With `series`, ``per_series`` by name.

        Windows H steps long that start one step apart overlap, so neighbouring hits are not independent: the interval
        is a moving-block bootstrap over times with blocks of H, and where all hits are equal, Wilson's with 1/H of the
        times.

    Raises:
        DataError: If the shapes do not fit or something is not finite.
    """
    mean, quantiles, levels, future, last = (
        np.asarray(value, np.float64) for value in (mean, quantiles, levels, future, last)
    )
    history = None if history is None else np.asarray(history, np.float64)
    _check(mean, quantiles, levels, future, last, history, times, series)
    if times is not None:
        times = np.asarray(times)
    result = _metrics(mean, quantiles, levels, future, last, history, times, seed)
    if series is not None:
        names = np.asarray(series)
        result["per_series"] = {}
        for name in dict.fromkeys(names.tolist()):
            rows = names == name
            past = None if history is None else history[rows]
            when = None if times is None else times[rows]
            result["per_series"][name] = _metrics(
                mean[rows], quantiles[rows], levels, future[rows], last[rows], past, when, seed
            )
    return result


def _metrics(
    mean: np.ndarray,
    quantiles: np.ndarray,
    levels: np.ndarray,
    future: np.ndarray,
    last: np.ndarray,
    history: np.ndarray | None,
    times: np.ndarray | None,
    seed: int,
) -> dict[str, Any]:
    error = mean - future
    rmse = _root_mean_square(error)
    persistence = _root_mean_square(last[:, None] - future)
    # where nothing ever moves persistence is perfect and there is no skill to have
    ratio = rmse / persistence if persistence > 0 else (1.0 if rmse == 0 else float("inf"))
    pinball = pinball_loss(quantiles, levels, future)
    inside = (future >= quantiles[..., 0]) & (future <= quantiles[..., -1])
    result: dict[str, Any] = {
        "mae": float(np.abs(error).mean()),
        "rmse": rmse,
        "rmse_ratio": ratio,
        "skill": 1.0 - ratio,
        "pinball": float(pinball.mean()),
        "pinball_by_level": {f"{level:g}": float(pinball[..., i].mean()) for i, level in enumerate(levels)},
        "coverage": float(inside.mean()),
        "coverage_nominal": float(levels[-1] - levels[0]),
    }
    if history is not None:
        scale = np.abs(np.diff(history, axis=1)).mean(1)
        moves = scale > 0
        for name, loss in (("mase", np.abs(error).mean(1)), ("pinball_scaled", pinball.mean((1, 2)))):
            result[name] = float((loss[moves] / scale[moves]).mean()) if moves.any() else float("nan")
    result |= _direction(mean, future, last, times, seed)
    result["count"] = len(mean)
    return result


def _direction(
    mean: np.ndarray, future: np.ndarray, last: np.ndarray, times: np.ndarray | None, seed: int
) -> dict[str, Any]:
    predicted, actual = np.sign(mean[:, -1] - last), np.sign(future[:, -1] - last)
    hits = np.where(predicted == 0, 0.5, predicted == actual)
    order = np.arange(len(hits)) if times is None else np.argsort(times, kind="stable")
    order = order[actual[order] != 0]
    if not len(order):
        nothing = float("nan")
        return dict.fromkeys(("directional_accuracy", "directional_low", "directional_high"), nothing) | {
            "directional_count": 0
        }
    hits, groups = hits[order], None if times is None else times[order].tolist()
    horizon = mean.shape[1]
    share, low, high = bootstrap_interval(hits, seed=seed, block=horizon, groups=groups)
    if hits.min() == hits.max():
        units = len(hits) if groups is None else len(set(groups))
        low, high = wilson_interval(share, max(1.0, units / horizon))
    return {
        "directional_accuracy": share,
        "directional_low": low,
        "directional_high": high,
        "directional_count": len(hits),
    }


def _root_mean_square(error: np.ndarray) -> float:
    return float(np.sqrt((error**2).mean()))


def _check(
    mean: np.ndarray,
    quantiles: np.ndarray,
    levels: np.ndarray,
    future: np.ndarray,
    last: np.ndarray,
    history: np.ndarray | None,
    times: np.ndarray | None,
    series: Sequence[str] | np.ndarray | None,
) -> None:
    count = len(mean)
    if mean.ndim != 2 or not mean.size or future.shape != mean.shape or last.shape != (count,):
        raise DataError(
            f"Forecast metrics got mean {mean.shape}, future {future.shape} and last {last.shape}; "
            "give (N, H), (N, H) and (N,)."
        )
    if levels.ndim != 1 or not levels.size or quantiles.shape != (*mean.shape, len(levels)):
        raise DataError(
            f"Forecast metrics got quantiles {quantiles.shape} and levels {levels.shape}; give (N, H, Q), (Q,)."
        )
    if (np.diff(levels) <= 0).any() or levels[0] <= 0 or levels[-1] >= 1:
        raise DataError(f"Quantile levels must ascend inside 0 and 1, got {levels.tolist()}.")
    if history is not None and (history.ndim != 2 or len(history) != count or history.shape[1] < 2):
        raise DataError(f"Forecast metrics got history {history.shape}; give ({count}, W) with W of at least 2.")
    for name, value in (("times", times), ("series", series)):
        if value is not None and len(value) != count:
            raise DataError(f"Forecast metrics got {len(value)} {name} for {count} windows; give as many.")
    for name, array in (("mean", mean), ("quantiles", quantiles), ("future", future), ("last", last)):
        if not np.isfinite(array).all():
            raise DataError(f"Forecast metrics: {name} holds a value that is not finite.")
    if history is not None and not np.isfinite(history).all():
        raise DataError("Forecast metrics: history holds a value that is not finite.")
