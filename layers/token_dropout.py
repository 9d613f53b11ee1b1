"""Replacing tokens at random in training."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

Tensor = Any


@keras.saving.register_keras_serializable(package="zoo")
class TokenDropout(keras.layers.Layer):
    """Replaces each token by a stand-in with probability `rate` in training ("word dropout", Iyyer et al. 2015, 3.1).

    Padding (id 0) stays padding. Outside training the tokens pass unchanged.

    Args:
        rate: probability of replacing a token, 0 to below 1.
        replacement: id of the stand-in, not 0.
        seed: seed of the random numbers, or None for Keras's global one.

    Call arguments:
        tokens: int32 `(batch, length)`, 0 = padding.
        training: whether tokens are replaced.

    Returns:
        int32 `(batch, length)`.

    Raises:
        ValueError: for a rate out of range or a replacement of 0.
    """

    def __init__(self, rate: float, replacement: int, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**{"dtype": "int32", **kwargs})
        if not 0 <= rate < 1:
            raise ValueError(f"rate must be at least 0 and below 1, got {rate}")
        if replacement == 0:
            raise ValueError("replacement must not be 0, which is padding")
        self.rate = rate
        self.replacement = replacement
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed) if rate else None

    def call(self, tokens: Tensor, training: bool | None = None) -> Tensor:
        """See the class."""
        if not training or self.seed_generator is None:
            return tokens
        draws = keras.random.uniform(ops.shape(tokens), dtype="float32", seed=self.seed_generator)
        replaced = ops.logical_and(draws < self.rate, ops.not_equal(tokens, 0))
        return ops.where(replaced, ops.full_like(tokens, self.replacement), tokens)

    def compute_output_shape(self, tokens_shape: tuple[Any, ...]) -> tuple[Any, ...]:
        """The shape of the input."""
        return tokens_shape

    def get_config(self) -> dict[str, Any]:
        """Every constructor argument."""
        return {**super().get_config(), "rate": self.rate, "replacement": self.replacement, "seed": self.seed}
