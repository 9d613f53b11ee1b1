"""Rotary position embedding."""

from __future__ import annotations

from typing import Any

from keras import ops

Tensor = Any


def apply_rotary(x: Tensor, positions: Tensor, base: float = 10000.0) -> Tensor:
    """Rotates each pair of channels by an angle that grows with the position (Su et al. 2021, RoFormer, equation 34).

    1. `theta_i = base^(-2i / head_dim)` for the pair `i` of channels `(2i, 2i + 1)`.
    2. `angle = positions * theta`, `(length, head_dim / 2)`.
    3. `(a, b) -> (a cos - b sin, b cos + a sin)` for every pair `(a, b)`.

    The product of a rotated query and a rotated key depends on the distance of their positions only.

    Args:
        x: `(batch, heads, length, head_dim)` queries or keys; `head_dim` is even.
        positions: `(length,)` integer positions.
        base: the slowest pair turns once in about `2 pi base` positions.

    Returns:
        A tensor of the shape and dtype of `x`. Angles are computed in float32.

    Raises:
        ValueError: if `head_dim` is odd.
    """
    head_dim = x.shape[-1]
    if head_dim % 2:
        raise ValueError(f"rotary needs an even head size, got {head_dim}: choose d_model / num_heads even")
    exponents = ops.arange(0, head_dim, 2, dtype="float32") / head_dim
    theta = ops.exp(exponents * -ops.log(ops.cast(base, "float32")))
    angles = ops.expand_dims(ops.cast(positions, "float32"), -1) * theta
    angles = ops.reshape(ops.stack([angles, angles], axis=-1), (-1, head_dim))
    cos, sin = ops.cast(ops.cos(angles), x.dtype), ops.cast(ops.sin(angles), x.dtype)
    length = x.shape[2] if x.shape[2] is not None else ops.shape(x)[2]
    pairs = ops.reshape(x, (-1, x.shape[1], length, head_dim // 2, 2))
    turned = ops.reshape(ops.stack([-pairs[..., 1], pairs[..., 0]], axis=-1), (-1, x.shape[1], length, head_dim))
    return x * cos + turned * sin
