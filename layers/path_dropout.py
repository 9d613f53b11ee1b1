"""The mean of several paths, of which training at times sees a single one."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

Tensor = Any


@keras.saving.register_keras_serializable(package="zoo")
class PathDropout(keras.layers.Layer):
    """Averages paths, so that each is good alone and the mean an ensemble ("global drop-path", Larsson et al. 2017).

    - Outside training: `y = mean_p x_p`.
    - In training, for every example on its own: with probability `rate`, `y = x_p` of one path p, each as likely as the
      others; else the mean.

    Masks: none.

    Args:
        rate: probability of keeping a single path, 0 to 1.
        seed: seed of the random numbers, or None for Keras's global one.

    Call arguments:
        x: the paths side by side, `(batch, paths, dim)`.
        training: whether paths are left out.

    Returns:
        `(batch, dim)`.

    Raises:
        ValueError: for a rate out of range.
    """

    def __init__(self, rate: float, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not 0 <= rate <= 1:
            raise ValueError(f"rate must be 0 to 1, got {rate}")
        self.rate = rate
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed) if rate else None

    def call(self, x: Tensor, training: bool | None = None) -> Tensor:
        """See the class."""
        if not training or self.seed_generator is None:
            return ops.mean(x, axis=1)
        count, dtype = x.shape[1], self.compute_dtype
        draws = keras.random.uniform((ops.shape(x)[0], 2), dtype="float32", seed=self.seed_generator)
        chosen = ops.one_hot(ops.cast(ops.floor(draws[:, 0] * count), "int32"), count, dtype=dtype)
        single = ops.cast(draws[:, 1:] < self.rate, dtype)
        shares = single * chosen + (1.0 - single) / count
        return ops.sum(x * ops.expand_dims(shares, -1), axis=1)

    def compute_output_shape(self, x_shape: tuple[Any, ...]) -> tuple[Any, ...]:
        """The shape of one path."""
        return (x_shape[0], x_shape[2])

    def get_config(self) -> dict[str, Any]:
        """Every constructor argument."""
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}
