"""The head that turns a summary of a window into the mean and the quantiles of the future path."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Any

import keras
import numpy as np
from keras import ops

Tensor = Any


@keras.saving.register_keras_serializable(package="zoo")
class PathHead(keras.layers.Layer):
    """Mean and quantiles of the next `horizon` steps, as a change from the last value in units of volatility.

    For step h, with `s_h = scale sqrt(h)` and `x` the summary divided by its width, which lets the network speak up
    slowly beside the linear terms (Yang et al. 2022, table 3, output weights):

    1. `m_h = x W_m + r A_m + b_m`, the expected change in units of `s_h`. `r` are the window's last `lags` changes: the
       linear autoregression that recurrent networks learn slowly (Lai et al. 2018, section 3.6).
    2. `g_h = x W_g + v A_g + b_g`, the logarithm of how much wider than `s_h` the distribution is. `v` are the
       volatilities at several time scales (Corsi 2009).
    3. Neighbouring quantiles lie `softplus(d_j + x W_d + b_d)` apart, summed up on both sides of the median `b_c`;
       `d_j` makes them a normal distribution's at 0. So they never cross.
    4. With `log_prices`, `mean = last exp(s_h m_h)` and `quantile_j = last exp(s_h (m_h + exp(g_h) q_j))`; without,
       `last + s_h (...)`. Through `m_h` in the quantiles no gradient flows: a loss of the mean alone decides on it.

    All weights start at 0: the untrained head forecasts the last value (persistence) and the normal quantiles around
    it. `m_h` and `g_h` are bounded smoothly, by 5 and 2. Computed in float32 under every dtype policy.

    Args:
        horizon: steps to forecast.
        levels: quantile levels, ascending, 0.5 among them.
        lags: number of one-step changes in the linear part; 0 leaves it out.
        log_prices: see 4.

    Call arguments:
        summary: `(batch, dim)`.
        features: `(batch, window, features)`; feature 0 is the change in units of `scale` (see `WindowFeatures`).
        volatilities: `(batch, volatilities)`, in logarithms.
        last: `(batch, 1)` raw units.
        scale: `(batch, 1)`.

    Returns:
        `mean` `(batch, horizon)` and `quantiles` `(batch, horizon, levels)`, float32, raw units.

    Raises:
        ValueError: if the levels do not ascend between 0 and 1 or lack 0.5.
    """

    def __init__(
        self, horizon: int, levels: Sequence[float], lags: int = 8, log_prices: bool = True, **kwargs: Any
    ) -> None:
        super().__init__(**{"autocast": False, **kwargs})
        levels = [float(level) for level in levels]
        if 0.5 not in levels or levels != sorted(set(levels)) or levels[0] <= 0 or levels[-1] >= 1:
            raise ValueError(f"levels must ascend between 0 and 1 with 0.5 among them, got {levels}")
        self.horizon = horizon
        self.levels = levels
        self.lags = lags
        self.log_prices = log_prices
        self._below = levels.index(0.5)

    def build(
        self,
        summary_shape: tuple[Any, ...],
        features_shape: tuple[Any, ...],
        volatilities_shape: tuple[Any, ...],
        last_shape: tuple[Any, ...] | None = None,
        scale_shape: tuple[Any, ...] | None = None,
    ) -> None:
        """Creates the weights, all zero, for summaries `(batch, dim)`."""
        if self.lags > (features_shape[1] or self.lags):
            raise ValueError(f"{self.lags} lags do not fit into a window of {features_shape[1]} steps")
        dim, horizon, gaps = summary_shape[-1], self.horizon, len(self.levels) - 1
        self._scaling = 1.0 / dim
        self.mean_kernel, self.mean_bias = self._zeros("mean", dim, horizon)
        self.spread_kernel, self.spread_bias = self._zeros("spread", dim, horizon)
        self.median_bias = self._zero("median_bias", (horizon, 1))
        if gaps:
            self.gaps_kernel, self.gaps_bias = self._zeros("gaps", dim, gaps * horizon)
        if self.lags:
            self.mean_lags = self._zero("mean_lags", (self.lags, horizon))
        self.spread_volatilities = self._zero("spread_volatilities", (volatilities_shape[-1], horizon))

    def _zeros(self, name: str, dim: int | None, width: int) -> tuple[Any, Any]:
        return self._zero(f"{name}_kernel", (dim, width)), self._zero(f"{name}_bias", (width,))

    def _zero(self, name: str, shape: tuple[Any, ...]) -> Any:
        return self.add_weight(name=name, shape=shape, initializer="zeros", autocast=False)

    def call(
        self, summary: Tensor, features: Tensor, volatilities: Tensor, last: Tensor, scale: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See the class."""
        summary = ops.cast(summary, "float32") * self._scaling
        mean = ops.matmul(summary, self.mean_kernel) + self.mean_bias
        spread = ops.matmul(summary, self.spread_kernel) + self.spread_bias
        if self.lags:
            mean = mean + ops.matmul(features[:, -self.lags :, 0], self.mean_lags)
        spread = spread + ops.matmul(volatilities, self.spread_volatilities)
        mean, spread = 5.0 * ops.tanh(mean / 5.0), 2.0 * ops.tanh(spread / 2.0)
        steps = np.sqrt(np.arange(1, self.horizon + 1, dtype="float32"))[None]
        unit = scale * steps
        quantiles = self.median_bias + self._gaps_summed(summary)
        quantiles = ops.expand_dims(ops.stop_gradient(mean), -1) + ops.expand_dims(ops.exp(spread), -1) * quantiles
        change, changes = unit * mean, ops.expand_dims(unit, -1) * quantiles
        if self.log_prices:
            return last * ops.exp(change), ops.expand_dims(last, -1) * ops.exp(changes)
        return last + change, ops.expand_dims(last, -1) + changes

    def _gaps_summed(self, summary: Tensor) -> Tensor:
        """Distances `(batch, horizon, levels)` of all quantiles from the median."""
        if len(self.levels) == 1:
            return ops.zeros((1, self.horizon, 1))
        normal = np.array([NormalDist().inv_cdf(level) for level in self.levels])
        start = np.log(np.expm1(np.diff(normal))).astype("float32")
        free = ops.matmul(summary, self.gaps_kernel) + self.gaps_bias
        gaps = ops.softplus(ops.reshape(free, (-1, self.horizon, len(start))) + start)
        # column j of the triangle adds up the gaps between the median and level j
        triangle = np.zeros((len(start), len(self.levels)), "float32")
        for j in range(len(self.levels)):
            triangle[min(j, self._below) : max(j, self._below), j] = math.copysign(1.0, j - self._below)
        return ops.matmul(gaps, triangle)

    def get_config(self) -> dict[str, Any]:
        """Every constructor argument."""
        return {
            **super().get_config(),
            "horizon": self.horizon,
            "levels": self.levels,
            "lags": self.lags,
            "log_prices": self.log_prices,
        }
