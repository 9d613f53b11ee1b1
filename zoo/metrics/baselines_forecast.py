"""Plain forecasts: persistence, drift, EWMA volatility bands and the historical average of a time of day.

EWMA volatility: RiskMetrics technical document, J. P. Morgan 1996, with its decay of 0.94 for daily prices.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

from zoo.errors import DataError


def persistence(last: np.ndarray, horizon: int) -> np.ndarray:
    """Repeat the last known value (N,) for `horizon` steps: float64 (N, H)."""
    return np.repeat(np.asarray(last, np.float64)[:, None], horizon, axis=1)


def drift(history: np.ndarray, horizon: int) -> np.ndarray:
    """Prolong the straight line from the first to the last value of each window.

    Args:
        history: float (N, W), W at least 2.
        horizon: H.

    Returns:
        float64 (N, H).
    """
    history = _windows(history)
    slope = (history[:, -1] - history[:, 0]) / (history.shape[1] - 1)
    return history[:, -1:] + slope[:, None] * np.arange(1, horizon + 1)


def ewma_volatility(history: np.ndarray, decay: float = 0.94) -> np.ndarray:
    """Estimate the standard deviation of one-step log changes with exponentially falling weights.

    Args:
        history: float (N, W), positive prices; the weight of a change k steps old is proportional to decay ** k, and
            the mean change is taken to be zero.
        decay: Inside 0 and 1.

    Returns:
        float64 (N,).
    """
    history = _prices(history)
    if not 0 < decay < 1:
        raise DataError(f"The decay of EWMA volatility must be inside 0 and 1, got {decay}.")
    changes = np.diff(np.log(history), axis=1)
    weights = decay ** np.arange(changes.shape[1] - 1, -1, -1)
    return np.sqrt((changes**2 @ weights) / weights.sum())


def ewma_quantiles(
    history: np.ndarray,
    horizon: int,
    levels: Sequence[float] | np.ndarray,
    decay: float = 0.94,
    standard_quantiles: np.ndarray | None = None,
) -> np.ndarray:
    """Forecast quantiles of the price: the last one times exp(z_q * volatility * sqrt(steps)).

    Args:
        history: float (N, W), positive prices.
        horizon: H.
        levels: float (Q,).
        decay: See `ewma_volatility`.
        standard_quantiles: Optional float (H, Q), z_q at every step, see `calibrate_standard_quantiles`. By default
            those of the normal distribution (so the price is log-normal with its median at the last price).

    Returns:
        float64 (N, H, Q), in the unit of the price.
    """
    history = _prices(history)
    if standard_quantiles is None:
        z = np.array([NormalDist().inv_cdf(float(level)) for level in levels])
        standard_quantiles = np.tile(z, (horizon, 1))
    if standard_quantiles.shape != (horizon, len(levels)):
        raise DataError(
            f"Standard quantiles have shape {standard_quantiles.shape}; expected ({horizon}, {len(levels)})."
        )
    spread = ewma_volatility(history, decay)[:, None] * np.sqrt(np.arange(1, horizon + 1))
    return history[:, -1, None, None] * np.exp(spread[..., None] * standard_quantiles)


def calibrate_standard_quantiles(
    train_history: np.ndarray, train_future: np.ndarray, levels: Sequence[float] | np.ndarray, decay: float = 0.94
) -> np.ndarray:
    """Measure the quantiles of moves divided by their EWMA scale on training windows: fat tails and drift included.

    Args:
        train_history: float (N, W), positive prices.
        train_future: float (N, H), what followed.
        levels: float (Q,).
        decay: See `ewma_volatility`.

    Returns:
        float64 (H, Q), for `ewma_quantiles`.
    """
    train_history, train_future = _prices(train_history), np.asarray(train_future, np.float64)
    moves = np.log(train_future / train_history[:, -1:])
    volatility = ewma_volatility(train_history, decay)
    alive = volatility > 0
    if not alive.any():
        raise DataError("EWMA calibration: the training prices never change; give a series that moves.")
    scaled = moves[alive] / (volatility[alive, None] * np.sqrt(np.arange(1, moves.shape[1] + 1)))
    return np.quantile(scaled, np.asarray(levels, np.float64), axis=0).T


def historical_average(values: np.ndarray, slots: np.ndarray, query_slots: np.ndarray) -> np.ndarray:
    """Predict the training mean of the same slot, such as the time of day or of week.

    Args:
        values: float (T, ...), the training series; NaN is missing.
        slots: int (T,), the slot of every step.
        query_slots: int (N, H), the slots to predict.

    Returns:
        float64 (N, H, ...); a slot without a training value gets the mean over all, a series without any value NaN.

    Raises:
        DataError: If values and slots are not as many or a slot is negative.
    """
    values, slots, query_slots = np.asarray(values, np.float64), np.asarray(slots), np.asarray(query_slots)
    if not len(values) or slots.shape != (len(values),) or slots.min() < 0 or query_slots.min() < 0:
        raise DataError(
            f"The historical average got values {values.shape} and slots {slots.shape}; give one slot >= 0 a step."
        )
    known = np.isfinite(values)
    filled = np.where(known, values, 0.0)
    size = int(max(slots.max(), query_slots.max())) + 1
    totals, counts = np.zeros((2, size, *values.shape[1:]))
    np.add.at(totals, slots, filled)
    np.add.at(counts, slots, known)
    with np.errstate(invalid="ignore"):
        overall = filled.sum(0) / known.sum(0)
        table = np.where(counts > 0, totals / np.maximum(counts, 1), overall)
    return table[query_slots]


def _windows(history: np.ndarray) -> np.ndarray:
    history = np.asarray(history, np.float64)
    if history.ndim != 2 or history.shape[1] < 2:
        raise DataError(f"A forecast baseline got history {history.shape}; give (N, W) with W of at least 2.")
    return history


def _prices(history: np.ndarray) -> np.ndarray:
    history = _windows(history)
    if not (history > 0).all() or not np.isfinite(history).all():
        raise DataError("EWMA volatility needs positive, finite prices.")
    return history
