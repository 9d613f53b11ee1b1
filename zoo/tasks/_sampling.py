"""Drawing tokens without a random-number operator: from uniform numbers that are given, or follow from a seed.

The same numbers draw the same tokens on TensorFlow, JAX and LiteRT, up to the rounding of the probabilities.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops

Tensor = Any
_NEVER = -1e9
_GENERATORS = ((171, 30269), (172, 30307), (170, 30323))  # multiplier, modulus
_SKIPPED = 1000


def uniform_numbers(seed: Tensor, count: int) -> Tensor:
    """Return numbers from 0 to below 1, float32 (count,), by integers that never leave int32.

    The generator of Wichmann and Hill (1982, Applied Statistics 31, algorithm AS 183): the sum of three multiplicative
    congruential ones, modulo 1. Its moduli are so small that every number follows from the seed by a single product.
    Neighbouring seeds would give neighbouring numbers: two of the three start at a third power, which takes every
    value once, and the first 1,000 numbers are left out.

    Args:
        seed: int32 scalar.
        count: How many.
    """
    small, middle, large = (modulus for _, modulus in _GENERATORS)
    low, high = ops.mod(seed, small - 1) + 1, ops.mod(ops.floor_divide(seed, small - 1), middle - 1) + 1
    other = ops.mod(seed, large - 1) + 1
    starts = (_third_power(low, small), high, _third_power(other, large))
    total = ops.zeros((count,), "float32")
    for start, (multiplier, modulus) in zip(starts, _GENERATORS, strict=True):
        powers = [pow(multiplier, _SKIPPED + number, modulus) for number in range(1, count + 1)]
        whole = ops.mod(start * np.array(powers, np.int32), modulus)
        total = total + ops.cast(whole, "float32") / float(modulus)
    return total - ops.floor(total)


def _third_power(value: Tensor, modulus: int) -> Tensor:
    return ops.mod(ops.mod(value * value, modulus) * value, modulus)


def truncate(log_probabilities: Tensor, *, top_k: int = 0, top_p: float = 1.0) -> Tensor:
    """Set what is not among the likely tokens to -1e9.

    First the `top_k` most probable tokens stay (Fan et al. 2018, arXiv:1805.04833, section 5.4), then of these, taken
    as all there is, the fewest whose share reaches `top_p` (nucleus; Holtzman et al. 2020, arXiv:1904.09751, section
    3.1). Tokens as probable as the last one that stays do so too.

    Args:
        log_probabilities: float32 (B, V); they need not be normalised.
        top_k: Most tokens that stay; 0 for all.
        top_p: Share that the tokens that stay have at least, above 0; 1 for all.
    """
    vocab_size = log_probabilities.shape[-1]
    kept = min(top_k, vocab_size) if top_k else vocab_size
    if kept == vocab_size and top_p >= 1.0:
        return log_probabilities
    ranked = ops.top_k(log_probabilities, kept)[0]
    last = ranked[:, -1:]
    if top_p < 1.0:
        shares = ops.softmax(ranked, axis=-1)
        before = ops.cumsum(shares, axis=-1) - shares
        # The first one always stays: nothing is before it.
        last = ops.min(ops.where(before < top_p, ranked, ops.max(ranked, axis=-1, keepdims=True)), -1, keepdims=True)
    return ops.where(log_probabilities >= last, log_probabilities, _NEVER)


def draw(log_probabilities: Tensor, uniforms: Tensor) -> Tensor:
    """Return one token a row by the inverse of the cumulative distribution, int32 (B,).

    Args:
        log_probabilities: float32 (B, V); they need not be normalised. What is 1e9 below is never drawn.
        uniforms: float32 (B,), from 0 to below 1.
    """
    vocab_size = log_probabilities.shape[-1]
    weights = ops.exp(log_probabilities - ops.max(log_probabilities, axis=-1, keepdims=True))
    possible = weights > 0.0
    # Sums made in another order need not rise from token to token; only those of possible tokens count.
    sums = ops.where(possible, ops.cumsum(weights, axis=-1), 0.0)
    total = ops.max(sums, axis=-1)
    aim = ops.minimum(uniforms * total, total * (1.0 - 2.0**-22))  # rounding must not lead past the last token
    reached = ops.logical_and(possible, sums > ops.expand_dims(aim, -1))
    ids = ops.expand_dims(ops.arange(vocab_size, dtype="int32"), 0)
    return ops.min(ops.where(reached, ids, vocab_size), axis=-1)
