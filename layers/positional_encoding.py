"""Absolute positions for sequences and feature maps."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

Tensor = Any

KINDS = ("sinusoidal", "learned", "2d", "learned_2d")


def sinusoidal_table(positions: Tensor, dim: int) -> Tensor:
    """Sines and cosines of the positions, float32 `(length, dim)` (Vaswani et al. 2017, section 3.5).

    `PE(pos, 2i) = sin(pos / 10000^(2i / dim))` and `PE(pos, 2i + 1) = cos(pos / 10000^(2i / dim))`.
    """
    rates = ops.exp(ops.arange(0, dim, 2, dtype="float32") * (-math.log(10000.0) / dim))
    angles = ops.expand_dims(ops.cast(positions, "float32"), -1) * rates
    return ops.reshape(ops.stack([ops.sin(angles), ops.cos(angles)], axis=-1), (-1, dim))


@keras.saving.register_keras_serializable(package="zoo")
class PositionalEncoding(keras.layers.Layer):
    """Adds an encoding of the position to every vector.

    - `"sinusoidal"`: `y[b, t] = x[b, t] + PE(t)`, fixed (Vaswani et al. 2017, section 3.5).
    - `"learned"`: `y[b, t] = x[b, t] + P[t]` with a trained table `P` `(max_length, dim)`.
    - `"2d"`: for feature maps; the first half of the channels gets `PE(row)`, the second half `PE(column)`, fixed.
    - `"learned_2d"`: `y[b, r, c] = x[b, r, c] + R[r] + C[c]` with trained tables `(rows, dim)` and `(columns, dim)`.

    Rotary positions act on queries and keys, not on vectors: see `zoo.layers.apply_rotary` and the `rotary` argument of
    the attention layers.

    Masks pass through unchanged.

    Args:
        kind: one of the four above.
        max_length: number of positions of the learned table; None takes the length the layer is built with. Unused by
            the other kinds.

    Call arguments:
        x: `(batch, length, dim)`, or `(batch, rows, columns, dim)` for the two-dimensional kinds.

    Returns:
        A tensor of the shape and dtype of `x`.

    Raises:
        ValueError: for an unknown kind, a width that cannot be halved, or a learned table without a length.
    """

    def __init__(self, kind: str = "sinusoidal", max_length: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
        self.kind = kind
        self.max_length = max_length
        self.supports_masking = True

    def build(self, x_shape: tuple[Any, ...]) -> None:
        """Creates the learned tables for inputs of this shape."""
        rank = 4 if self.kind.endswith("2d") else 3
        if len(x_shape) != rank:
            raise ValueError(
                f"positions of kind {self.kind!r} need an input of rank {rank}, got shape {tuple(x_shape)}"
            )
        dim = x_shape[-1]
        parts = {"sinusoidal": 2, "2d": 4}.get(self.kind, 1)
        if dim % parts:
            raise ValueError(f"positions of kind {self.kind!r} need a width divisible by {parts}, got {dim}")
        if self.kind == "learned":
            self.table = self._add_table("table", self.max_length or x_shape[1], dim)
            if x_shape[1] is not None and x_shape[1] > self.table.shape[0]:
                raise ValueError(f"an input of {x_shape[1]} positions is longer than max_length={self.table.shape[0]}")
        elif self.kind == "learned_2d":
            self.rows = self._add_table("rows", x_shape[1], dim)
            self.columns = self._add_table("columns", x_shape[2], dim)

    def _add_table(self, name: str, length: int | None, dim: int) -> Any:
        if length is None:
            raise ValueError(
                f"positions of kind {self.kind!r} need a known length: set max_length or a static input shape"
            )
        initializer = keras.initializers.RandomNormal(stddev=0.1)
        return self.add_weight(name=name, shape=(length, dim), initializer=initializer)

    def call(self, x: Tensor) -> Tensor:
        """See the class."""
        size = [
            x.shape[axis] if x.shape[axis] is not None else ops.shape(x)[axis] for axis in range(1, len(x.shape) - 1)
        ]
        dim = x.shape[-1]
        if self.kind == "sinusoidal":
            encoding = sinusoidal_table(ops.arange(size[0], dtype="int32"), dim)
        elif self.kind == "learned":
            encoding = ops.convert_to_tensor(self.table)[: size[0]]
        elif self.kind == "2d":
            rows = sinusoidal_table(ops.arange(size[0], dtype="int32"), dim // 2)
            columns = sinusoidal_table(ops.arange(size[1], dtype="int32"), dim // 2)
            rows = ops.broadcast_to(ops.expand_dims(rows, 1), (*size, dim // 2))
            columns = ops.broadcast_to(ops.expand_dims(columns, 0), (*size, dim // 2))
            encoding = ops.concatenate([rows, columns], axis=-1)
        else:
            encoding = ops.expand_dims(self.rows, 1) + ops.expand_dims(self.columns, 0)
        return x + ops.cast(ops.expand_dims(encoding, 0), x.dtype)

    def at(self, x: Tensor, position: Tensor) -> Tensor:
        """Adds the encoding of one position, for decoding step by step.

        Args:
            x: `(batch, 1, dim)`.
            position: int32 scalar, counted from 0.

        Returns:
            `(batch, 1, dim)`, equal to `call(...)[:, position]` of the whole sequence.

        Raises:
            ValueError: for the two-dimensional kinds.
        """
        position = ops.cast(ops.reshape(position, (1,)), "int32")
        if self.kind == "sinusoidal":
            encoding = sinusoidal_table(position, x.shape[-1])
        elif self.kind == "learned":
            encoding = ops.take(ops.convert_to_tensor(self.table), position, axis=0)
        else:
            raise ValueError(f"positions of kind {self.kind!r} belong to a feature map and have no single step")
        x = ops.cast(x, self.compute_dtype)
        return x + ops.cast(ops.expand_dims(encoding, 0), x.dtype)

    def get_config(self) -> dict[str, Any]:
        """Every constructor argument."""
        return {**super().get_config(), "kind": self.kind, "max_length": self.max_length}
