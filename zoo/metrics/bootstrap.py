"""Bootstrap intervals: paired differences, whole groups, and moving blocks for neighbours in time.

Percentile intervals of Efron and Tibshirani 1993; moving blocks after Kuensch 1989, made circular so that every example
is drawn as often as any other.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence

import numpy as np

from zoo.errors import DataError

Statistic = Callable[[np.ndarray], float]
"""Maps int64 indices of examples (drawn with replacement) to a number."""


def resamples(
    size: int, n: int = 2000, seed: int = 0, block: int = 1, groups: Sequence[Hashable] | np.ndarray | None = None
) -> Iterator[np.ndarray]:
    """Draw index sets with replacement.

    Args:
        size: Number of examples.
        n: Number of index sets.
        seed: Equal seeds, equal sets.
        block: Length of the runs of neighbouring units that are drawn together; above 1 for overlapping windows in
            the order of time.
        groups: Optional, `size` labels. The units drawn are then whole groups, in order of first appearance, with all
            their examples: variants of one thing, or all series on one day.

    Yields:
        int64 indices; exactly `size` of them without groups, about as many with groups.

    Raises:
        DataError: If an argument is out of range.
    """
    if size < 1 or n < 1 or block < 1:
        raise DataError(f"A bootstrap needs size, n and block of at least 1, got {size}, {n} and {block}.")
    members: list[np.ndarray] | None = None
    if groups is not None:
        if len(groups) != size:
            raise DataError(f"A bootstrap over {size} examples got {len(groups)} group labels; give one an example.")
        found: dict[Hashable, list[int]] = {}
        for i, group in enumerate(groups):
            found.setdefault(group, []).append(i)
        members = [np.array(group) for group in found.values()]
    units = size if members is None else len(members)
    block = min(block, units)
    generator = np.random.default_rng(seed)
    for _ in range(n):
        starts = generator.integers(0, units, -(-units // block))
        drawn = ((starts[:, None] + np.arange(block)) % units).reshape(-1)[:units]
        yield drawn if members is None else np.concatenate([members[i] for i in drawn])


def bootstrap_interval(
    statistic: Statistic | np.ndarray,
    size: int | None = None,
    n: int = 2000,
    seed: int = 0,
    block: int = 1,
    groups: Sequence[Hashable] | np.ndarray | None = None,
    confidence: float = 0.95,
) -> tuple[float, float, float]:
    """Estimate a statistic with its percentile interval.

    Args:
        statistic: Per-example values (N,), whose mean is taken, or a function of indices.
        size: N; needed with a function.
        n: See `resamples`.
        seed: See `resamples`.
        block: See `resamples`.
        groups: See `resamples`.
        confidence: Coverage of the interval.

    Returns:
        The value on all examples, and the low and high end.

    Raises:
        DataError: If an argument is out of range.
    """
    function, size = _as_function(statistic, size)
    values = np.array([function(indices) for indices in resamples(size, n, seed, block, groups)])
    tail = (1 - confidence) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return function(np.arange(size)), float(low), float(high)


def paired_bootstrap(
    first: Statistic | np.ndarray,
    second: Statistic | np.ndarray,
    size: int | None = None,
    n: int = 2000,
    seed: int = 0,
    block: int = 1,
    groups: Sequence[Hashable] | np.ndarray | None = None,
    confidence: float = 0.95,
) -> tuple[float, float, float]:
    """Compare two systems on the same examples: both are computed on the very same resamples.

    Args:
        first: Per-example values (N,), whose mean is taken, or a function of indices, for example
            ``lambda i: macro_f1(labels[i], predictions[i], 3)``.
        second: The same for the other system.
        size: N; needed if both are functions.
        n: See `resamples`.
        seed: See `resamples`.
        block: See `resamples`.
        groups: See `resamples`.
        confidence: Coverage of the interval.

    Returns:
        first - second on all examples, and the low and high end of its interval.

    Raises:
        DataError: If the arrays differ in length or an argument is out of range.
    """
    if isinstance(first, np.ndarray):
        size = len(first)
    function, size = _as_function(first, size if size is not None or callable(second) else len(second))
    other, _ = _as_function(second, size)
    return bootstrap_interval(lambda i: function(i) - other(i), size, n, seed, block, groups, confidence)


def _as_function(statistic: Statistic | np.ndarray, size: int | None) -> tuple[Statistic, int]:
    if callable(statistic):
        if size is None:
            raise DataError("A bootstrap of a function needs the number of examples; give size.")
        return statistic, size
    values = np.asarray(statistic, np.float64)
    if values.ndim != 1 or (size is not None and len(values) != size):
        raise DataError(f"A bootstrap needs one value an example; got shape {values.shape} for {size} examples.")
    return lambda indices: float(values[indices].mean()), len(values)
