"""Shared mathematics of the attention layers: masks, heads, and scaled dot-product attention."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

Tensor = Any


def mask_value(dtype: str) -> float:
    """The large negative number that stands for "never attend" and stays finite in `dtype`.

    float16 ends at 65504, so -1e9 would become -inf there and a fully masked row would turn to NaN.
    """
    return -3.0e4 if keras.backend.standardize_dtype(dtype) == "float16" else -1.0e9


def bias_from_mask(mask: Tensor, dtype: str) -> Tensor:
    """Turns a boolean mask (True = keep) into 0 for kept and `mask_value(dtype)` for dropped positions."""
    return (1.0 - ops.cast(mask, dtype)) * mask_value(dtype)


def score_dtype(dtype: str) -> str:
    """The dtype in which scores are masked and normalised: half precision is widened to float32."""
    return "float32" if keras.backend.standardize_dtype(dtype) in ("float16", "bfloat16") else dtype


def masked_softmax(scores: Tensor, mask: Tensor | None) -> Tensor:
    """Softmax over the last axis of `scores`, with zero weight where `mask` is False.

    Args:
        scores: `(..., keys)` unnormalised scores.
        mask: boolean, broadcastable to `scores`, True = keep, or None. A row with nothing to keep gives finite
            weights (nearly uniform), never NaN.

    Returns:
        Weights of the shape and dtype of `scores`; they add up to 1 along the last axis.
    """
    dtype = keras.backend.standardize_dtype(scores.dtype)
    wide = score_dtype(dtype)
    scores = ops.cast(scores, wide)
    if mask is not None:
        scores = scores + bias_from_mask(mask, wide)
    return ops.cast(ops.softmax(scores, axis=-1), dtype)


def check_heads(d_model: int, num_heads: int) -> None:
    """Raises ValueError unless `d_model` splits evenly over `num_heads`."""
    if num_heads < 1 or d_model < 1 or d_model % num_heads:
        raise ValueError(
            f"d_model must be a positive multiple of num_heads, got d_model={d_model}, num_heads={num_heads}"
        )


def check_built(layer: keras.layers.Layer) -> None:
    """Raises ValueError where a method other than `call` is used before the layer has weights."""
    if not layer.built:
        raise ValueError(f"{layer.name} has no weights yet: call it once, or call its build(), before decoding with it")


def static_or_dynamic(x: Tensor, axis: int) -> Any:
    """The size of one axis: a Python int where it is known, a scalar tensor where it is not."""
    return x.shape[axis] if x.shape[axis] is not None else ops.shape(x)[axis]


def split_heads(x: Tensor, num_heads: int) -> Tensor:
    """`(batch, length, d_model)` -> `(batch, heads, length, d_model / heads)`."""
    length, d_model = static_or_dynamic(x, 1), x.shape[-1]
    x = ops.reshape(x, (-1, length, num_heads, d_model // num_heads))
    return ops.transpose(x, (0, 2, 1, 3))


def merge_heads(x: Tensor) -> Tensor:
    """`(batch, heads, length, head_dim)` -> `(batch, length, heads * head_dim)`."""
    length, d_model = static_or_dynamic(x, 2), x.shape[1] * x.shape[3]
    return ops.reshape(ops.transpose(x, (0, 2, 1, 3)), (-1, length, d_model))


def dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    dropout: keras.layers.Layer | None = None,
    training: bool | None = None,
) -> tuple[Tensor, Tensor]:
    """Scaled dot-product attention (Vaswani et al. 2017, equation 1).

    1. `scores = query @ key^T / sqrt(head_dim)`, `(batch, heads, queries, keys)`.
    2. `scores = softmax(scores + bias)`, where the bias is a large negative number at masked keys.
    3. `output = dropout(scores) @ value`, `(batch, heads, queries, head_dim)`.

    Plain `matmul` and `softmax` are used because on CPU they train about twice as fast as the einsum of stock Keras.

    Args:
        query: `(batch, heads, queries, head_dim)`.
        key: `(batch, heads, keys, head_dim)`.
        value: `(batch, heads, keys, head_dim)`.
        mask: boolean, broadcastable to `(batch, heads, queries, keys)`, True = keep, or None.
        dropout: applied to the scores that weigh the values; the returned scores are the ones before it.
        training: whether dropout is active.

    Returns:
        The output and the scores.
    """
    query = query * (query.shape[-1] ** -0.5)
    scores = masked_softmax(ops.matmul(query, ops.transpose(key, (0, 1, 3, 2))), mask)
    weights = scores if dropout is None else dropout(scores, training=training)
    return ops.matmul(weights, value), scores
