"""`price_attn`: LSTM encoder, multi-head self-attention and attention pooling over a window of prices.

The network (Qin et al. 2017 for attention over a recurrent encoder; Vaswani et al. 2017 for self-attention; Yang et
al. 2016 for the pooling) sees features without level or unit. It answers with a change from the last known price in
units of the window's own volatility, so that it starts as persistence with the bands of an exponentially weighted
volatility, and needs a reason in the data to leave it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from zoo.config import BaseConfig, setting
from zoo.registry import Architecture, register

if TYPE_CHECKING:
    import keras


@register(
    "price_attn",
    task="forecasting",
    paper="Qin et al. 2017, A Dual-Stage Attention-Based Recurrent Neural Network for Time Series Prediction",
)
class PriceAttn(Architecture):
    """Raw window in, mean and quantiles of the future path out, both in raw units."""

    @dataclass(frozen=True)
    class Config(BaseConfig):
        """Size of the network and the kinds of its columns."""

        window: int = setting(64, low=4, high=4096)
        """Rows the model looks back."""
        horizon: int = setting(5, low=1, high=512)
        """Rows it forecasts."""
        levels: tuple[float, ...] = setting((0.1, 0.25, 0.5, 0.75, 0.9), low=0.001, high=0.999)
        """Quantile levels, ascending, 0.5 among them."""
        d_model: int = setting(48, low=4, high=1024)
        """Width of the LSTM and of the attention."""
        num_heads: int = setting(4, low=1, high=64)
        """Attention heads; d_model must be a multiple."""
        num_layers: int = setting(1, low=1, high=8)
        """Self-attention layers after the LSTM."""
        lags: int = setting(8, low=0, high=512)
        """Last changes that enter the head linearly."""
        dropout: float = setting(0.1, low=0.0, high=0.9)
        """Dropout on attention scores and on the pooled summary."""
        features: int = setting(5, low=1, high=4096)
        """Columns of a row; filled from the data."""
        target: int = setting(3, low=0, high=4095)
        """Position of the column to forecast; filled from the data."""
        price_columns: tuple[int, ...] = setting((0, 1, 2, 3), low=0, high=4095)
        """Positions of the columns in the target's unit; filled from the data."""
        log_columns: tuple[int, ...] = setting((4,), low=0, high=4095)
        """Positions of other columns that are never negative; filled from the data."""
        log_prices: bool = setting(True)
        """Whether prices are positive and taken as logarithms; filled from the data."""
        scale_floor: float = setting(1e-6, low=1e-12)
        """Smallest volatility of one step; filled from the data."""

        def check(self) -> None:
            """Check relations between fields."""
            if self.d_model % self.num_heads:
                raise self.fail("d_model", f"a multiple of num_heads={self.num_heads}")
            if 0.5 not in self.levels or list(self.levels) != sorted(set(self.levels)):
                raise self.fail("levels", "ascending with 0.5 among them")
            if self.lags >= self.window:
                raise self.fail("lags", f"less than window={self.window}")
            if self.target >= self.features:
                raise self.fail("target", f"less than features={self.features}")
            for name in ("price_columns", "log_columns"):
                if any(position >= self.features for position in getattr(self, name)):
                    raise self.fail(name, f"positions less than features={self.features}")

    @classmethod
    def tiny(cls) -> Config:
        """Return a configuration small enough for a test."""
        return cls.Config(window=12, horizon=3, d_model=8, num_heads=2, lags=4)

    @classmethod
    def build(cls, config: Config) -> keras.Model:
        """Build the model.

        Args:
            config: A `Config`.

        Returns:
            A model of `window` float32 (B, window, features) to `mean` float32 (B, horizon) and `quantiles` float32
            (B, horizon, levels), all in raw units. Layer "pooling" gives the weight of every step, (B, window).
        """
        import keras

        from zoo.layers import AttentionPooling, LayerNorm, MultiHeadSelfAttention, PathHead, WindowFeatures

        layers = keras.layers
        window = keras.Input((config.window, config.features), dtype="float32", name="window")
        features, volatilities, last, scale = WindowFeatures(
            target=config.target,
            price_columns=config.price_columns,
            log_columns=config.log_columns,
            log_prices=config.log_prices,
            floor=config.scale_floor,
            dtype="float32",
            name="features",
        )(window)
        x = layers.Dense(config.d_model, activation="tanh", name="embed")(features)
        x = layers.LSTM(config.d_model, return_sequences=True, name="encoder")(x)
        for index in range(config.num_layers):
            h = LayerNorm(name=f"attention_norm_{index}")(x)
            h = MultiHeadSelfAttention(config.d_model, config.num_heads, config.dropout, name=f"attention_{index}")(h)
            x = layers.Add(name=f"residual_{index}")([x, layers.Dropout(config.dropout, name=f"drop_{index}")(h)])
        x = LayerNorm(name="norm")(x)
        pooled, _ = AttentionPooling(name="pooling")(x)
        pooled = layers.Dropout(config.dropout, name="drop")(pooled)
        mean, quantiles = PathHead(
            config.horizon, config.levels, config.lags, config.log_prices, dtype="float32", name="head"
        )(pooled, features, volatilities, last, scale)
        outputs: dict[str, Any] = {"mean": mean, "quantiles": quantiles}
        return keras.Model({"window": window}, outputs, name="price_attn")
