"""Window-relative features of raw series, computed inside the graph."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from zoo.layers.revin import RevIN

Tensor = Any

SPANS = (1, 5, 22)
"""Time scales of the volatilities in steps: a day, a week, a month of trading."""


@keras.saving.register_keras_serializable(package="zoo")
class WindowFeatures(keras.layers.Layer):
    """Turns a window of raw prices into features without level or unit.

    With `c_t` the target column, `c_T` its last value, and `l(x) = log(x / c_T)` (or `x - c_T` without `log_prices`):

    1. `r_t = l(c_t) - l(c_{t-1})`, the change of one step; `r_1 = 0`.
    2. `scale = sqrt(sum_t w_t r_t^2)` with `w_t` falling by `decay` for every step back and summing to 1: the
       volatility of one step (J.P. Morgan 1996, RiskMetrics, section 5.2); at least `floor`.
    3. Features of step t, `(batch, window, features)`: `r_t / scale`; `|r_t| / scale`; the level
       `l(c_t) / (scale sqrt(window))`; for every other price column p `(l(p_t) - l(c_{t-1})) / scale` (ranges and
       gaps); for every remaining column, after log(1 + x) if it is in `log_columns`, its value normalised over the
       window (`RevIN`) and the change of that. All are cut at `limit`.
    4. Volatilities at several time scales (Corsi 2009, equation 7), `(batch, volatilities)`: `log(v_n / scale + 0.2)`
       where `v_n` is the root mean square of `r` over the last n steps, n = 1, 5, 22 and the whole window; and the same
       of `l(p_t) - l(c_{t-1})` over all other price columns p, if there are any: ranges tell more than closes
       (Parkinson 1980).

    Everything is float32 under every dtype policy: prices in half precision would lose their cents. There are no
    weights and no masks.

    Args:
        target: position of the column to forecast.
        price_columns: positions of the columns in the target's unit; the target's own may be left out.
        log_columns: positions of other columns to take log(1 + x) of; below 0 counts as 0.
        log_prices: whether `l` is a logarithm; prices must then be positive.
        decay: share of weight kept for each step back, between 0 and 1.
        floor: smallest `scale`.
        limit: largest magnitude of a feature.

    Call arguments:
        window: `(batch, window, columns)` in raw units.

    Returns:
        Features `(batch, window, features)`, volatilities `(batch, volatilities)`, the last value of the target
        `(batch, 1)` in raw units, and `scale` `(batch, 1)`, all float32.

    Raises:
        ValueError: if a column position is negative or beyond the input's columns.
    """

    def __init__(
        self,
        target: int = 0,
        price_columns: Sequence[int] = (),
        log_columns: Sequence[int] = (),
        log_prices: bool = True,
        decay: float = 0.94,
        floor: float = 1e-6,
        limit: float = 10.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**{"autocast": False, **kwargs})
        self.target = target
        self.price_columns = list(price_columns)
        self.log_columns = list(log_columns)
        self.log_prices = log_prices
        self.decay = decay
        self.floor = floor
        self.limit = limit
        self.normalise = RevIN(affine=False, epsilon=1e-8, name="normalise", dtype="float32")

    def build(self, window_shape: tuple[Any, ...]) -> None:
        """Sorts the columns of inputs `(batch, window, columns)` into their kinds."""
        columns = range(window_shape[-1])
        for position in (self.target, *self.price_columns, *self.log_columns):
            if position not in columns:
                raise ValueError(f"column {position} does not exist, the input has {len(columns)} columns")
        self._prices = [i for i in self.price_columns if i != self.target]
        priced = {self.target, *self._prices}
        self._logged = [i for i in columns if i in self.log_columns and i not in priced]
        self._plain = [i for i in columns if i not in self.log_columns and i not in priced]

    def call(self, window: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """See the class."""
        window = ops.cast(window, "float32")
        steps = window.shape[1]
        last = window[:, -1:, self.target]
        path = self._relative(window[:, :, self.target : self.target + 1], last)
        previous = ops.concatenate([path[:, :1], path[:, :-1]], axis=1)
        change = path - previous
        # the first change is not known and has no weight
        weights = self.decay ** np.arange(steps - 1, -1, -1.0)
        weights[0] = 0.0
        weights = np.reshape(weights / weights.sum(), (1, steps, 1)).astype("float32")
        scale = ops.maximum(ops.sqrt(ops.sum(weights * ops.square(change), axis=1)), self.floor)
        unit = ops.expand_dims(scale, 1)
        change = change / unit
        features = [change, ops.abs(change), path / (unit * math.sqrt(steps))]
        moves = [change]
        if self._prices:
            moves.append((self._relative(ops.take(window, self._prices, axis=-1), last) - previous) / unit)
            features.append(moves[-1])
        others = [ops.take(window, self._plain, axis=-1)] if self._plain else []
        if self._logged:
            others.append(ops.log1p(ops.maximum(ops.take(window, self._logged, axis=-1), 0.0)))
        if others:
            level, _, _ = self.normalise(ops.concatenate(others, axis=-1))
            features += [level, level - ops.concatenate([level[:, :1], level[:, :-1]], axis=1)]
        spans = sorted({min(span, steps - 1) for span in (*SPANS, steps)})
        volatilities = [
            ops.log(ops.sqrt(ops.mean(ops.square(move[:, -span:]), axis=(1, 2))) + 0.2)
            for move in moves
            for span in spans
        ]
        features = ops.clip(ops.concatenate(features, axis=-1), -self.limit, self.limit)
        return features, ops.stack(volatilities, axis=-1), last, scale

    def _relative(self, prices: Tensor, last: Tensor) -> Tensor:
        last = ops.expand_dims(last, 1)
        if not self.log_prices:
            return prices - last
        tiny = 1e-12
        return ops.log(ops.maximum(prices, tiny) / ops.maximum(last, tiny))

    def get_config(self) -> dict[str, Any]:
        """Every constructor argument."""
        return {
            **super().get_config(),
            "target": self.target,
            "price_columns": self.price_columns,
            "log_columns": self.log_columns,
            "log_prices": self.log_prices,
            "decay": self.decay,
            "floor": self.floor,
            "limit": self.limit,
        }
