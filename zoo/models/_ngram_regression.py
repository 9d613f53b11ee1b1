"""Logistic regression over the n-grams of token ids: the table of a `zoo.layers.NGramClassifier`, solved at once.

A text with `m` n-grams, `c_g` of them n-gram g, has the features `s_g c_g / sqrt(m)`, where

    s_g = (1/2 + max over classes of |r_gk|) idf_g
    r_gk = log(p_gk / p_gk')              the log-count ratio of class k and the others (Wang and Manning 2012, eq. 2)
    idf_g = 1 + log((1 + N) / (1 + n_g))  of n_g texts in N (Sparck Jones 1972)

`p_gk` is 1 + the number of class k's texts with g, divided by the sum of that over all n-grams; `p_gk'` the same for
the texts of the other classes. So the penalty is weak on n-grams that tell classes apart. The weights `v` minimise

    sum over texts of weight * cross-entropy(softmax(V x + b), class) + |V|^2 / (2 strength)

with L-BFGS, which is convex and has one solution. The table holds `s_g v_g`, so that the layer needs no scale.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from zoo.errors import require

_EXTRA = {"extra": "eval", "purpose": "The linear path over n-grams"}


class NGramTable(NamedTuple):
    """What `NGramClassifier.assign` takes."""

    keys: np.ndarray
    """int64 (n,), ascending."""
    table: np.ndarray
    """float32 (vocab_size + n, C)."""
    bias: np.ndarray
    """float32 (C,)."""


def fit_ngrams(
    tokens: np.ndarray,
    labels: np.ndarray,
    weights: np.ndarray | None,
    *,
    num_classes: int,
    vocab_size: int,
    rows: int,
    longest: int,
    strength: float,
) -> NGramTable:
    """Choose the n-grams and solve their weights. Deterministic.

    An n-gram of two and more tokens has a row if at least two texts hold it; of too many, those in most texts, smaller
    keys first where as many hold them. So an n-gram never has a row without the shorter one it begins with.

    Args:
        tokens: int (N, L), 0 = padding.
        labels: int (N,), at least two different ones.
        weights: float (N,), or None for 1.
        num_classes: C; a class without examples gets the weight zero and a bias of -30.
        vocab_size: Number of tokens.
        rows: Most n-grams of two and more tokens.
        longest: Number of tokens of the longest n-grams.
        strength: Inverse of the L2 penalty.

    Raises:
        MissingExtraError: If scikit-learn is not installed.
    """
    linear = require("sklearn.linear_model", **_EXTRA)
    keys = choose_keys(tokens, vocab_size=vocab_size, rows=rows, longest=longest)
    features = _features(tokens, keys, vocab_size, longest)
    scale = _scale(features, np.asarray(labels), num_classes)
    features.data *= scale[features.indices]
    solver = linear.LogisticRegression(C=strength, tol=3e-5, max_iter=300)
    solver.fit(features, labels, sample_weight=weights)
    coefficients, intercept = solver.coef_, solver.intercept_
    if len(solver.classes_) == 2:  # one row for the second class against the first
        coefficients = np.concatenate([-coefficients, coefficients]) / 2
        intercept = np.concatenate([-intercept, intercept]) / 2
    table = np.zeros((features.shape[1], num_classes), np.float32)
    table[:, solver.classes_] = (coefficients * scale).T
    bias = np.full(num_classes, -30.0, np.float32)
    bias[solver.classes_] = intercept
    return NGramTable(keys, table, bias)


def choose_keys(tokens: np.ndarray, *, vocab_size: int, rows: int, longest: int) -> np.ndarray:
    """Return the ascending keys of the n-grams that get a row; see `fit_ngrams`."""
    tokens = np.asarray(tokens, np.int64)
    found: list[tuple[np.ndarray, np.ndarray]] = []
    # Places among the n-grams of one length stand in for numbers until all lengths are known.
    number, offset = np.where(tokens > 0, tokens, -1), 0
    for _ in range(2, longest + 1):
        wanted = _keys_of(tokens, number, vocab_size)
        keys, texts = _count_texts(wanted)
        keys, texts = keys[texts > 1], texts[texts > 1]
        found.append((keys, texts))
        number = _places(keys, wanted, vocab_size + offset)
        offset += len(keys)
    if not found:
        return np.zeros(0, np.int64)
    keys, texts = (np.concatenate(parts) for parts in zip(*found, strict=True))
    if len(keys) <= rows:
        return keys
    kept = np.sort(np.lexsort((keys, -texts))[:rows])
    # With rows gone the numbers behind them move up, and so do the keys that are made of them.
    moved = np.full(vocab_size + len(keys), -1)
    moved[:vocab_size] = np.arange(vocab_size)
    moved[vocab_size + kept] = vocab_size + np.arange(len(kept))
    return moved[keys[kept] // vocab_size] * vocab_size + keys[kept] % vocab_size


def _features(tokens: np.ndarray, keys: np.ndarray, vocab_size: int, longest: int) -> Any:
    """Return the counts divided by sqrt(m) of every number, a sparse matrix (N, vocab_size + n)."""
    sparse = require("scipy.sparse", **_EXTRA)
    tokens = np.asarray(tokens, np.int64)
    lengths = np.sum(tokens > 0, axis=1)
    number, count = np.where(tokens > 0, tokens, -1), lengths
    rows, columns = [np.nonzero(number >= 0)[0]], [number[number >= 0]]
    for order in range(2, longest + 1):
        number = _places(keys, _keys_of(tokens, number, vocab_size), vocab_size)
        rows.append(np.nonzero(number >= 0)[0])
        columns.append(number[number >= 0])
        count = count + np.maximum(lengths - (order - 1), 0)
    row = np.concatenate(rows)
    values = 1 / np.sqrt(np.maximum(count, 1))[row]
    shape = (len(tokens), vocab_size + len(keys))
    return sparse.csr_matrix((values, (row, np.concatenate(columns))), shape=shape)  # equal places are added up


def _scale(features: Any, labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Return `s_g` of every number, float64 (vocab_size + n,); see the module."""
    size = features.shape[1]
    texts = np.stack([np.bincount(features[labels == k].indices, minlength=size) for k in range(num_classes)])
    inside, outside = 1.0 + texts, 1.0 + texts.sum(0) - texts
    ratio = np.log(inside / inside.sum(1, keepdims=True)) - np.log(outside / outside.sum(1, keepdims=True))
    idf = 1 + np.log((1 + len(labels)) / (1 + texts.sum(0)))
    return np.asarray((0.5 + np.abs(ratio).max(0)) * idf)


def _keys_of(tokens: np.ndarray, number: np.ndarray, vocab_size: int) -> np.ndarray:
    """Return the key of the n-gram that ends at every position, -1 where it has none."""
    before = np.pad(number, ((0, 0), (1, 0)), constant_values=-1)[:, :-1]
    return np.where((before >= 0) & (tokens > 0), before * vocab_size + tokens, -1)


def _places(keys: np.ndarray, wanted: np.ndarray, offset: int) -> np.ndarray:
    """Return `offset` + the place of every wanted key, -1 where there is none."""
    if not len(keys):
        return np.full_like(wanted, -1)
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[place] == wanted, place + offset, -1)


def _count_texts(wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the keys in (N, L), ascending, and how many rows hold each."""
    ordered = np.sort(wanted, axis=1)
    first = np.ones(ordered.shape, bool)
    first[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    keys, texts = np.unique(ordered[first & (ordered >= 0)], return_counts=True)
    return keys, texts
