"""A plain captioning baseline for photographs: the caption of the nearest training picture by pretrained features.

Pixels say little of what a photograph shows; the pooled features of a pretrained encoder do, and a model that has this
encoder must beat what they give away without learning. Nearest neighbours by cosine, and of the neighbour's captions
the one in the middle of the others: Devlin et al. 2015 (arXiv:1505.04467), section 3, with one neighbour.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from zoo.errors import DataError
from zoo.metrics.captions import tokenize_caption


def nearest_features(train: np.ndarray, test: np.ndarray, chunk: int = 1024) -> np.ndarray:
    """Find the training vector with the least cosine distance to each test vector.

    Args:
        train: Real (N, D), any float type, also mapped from a file; rows of zeros are far from everything.
        test: Real (M, D).
        chunk: Vectors held as float32 at a time; bounds the memory to two chunks and their products.

    Returns:
        int64 (M,), indices into `train`; of equals the first.

    Raises:
        DataError: If an array is not a non-empty matrix, they are of different width, or hold values that are not
            finite.
    """
    for what, array in (("training", train), ("test", test)):
        if array.ndim != 2 or not array.size:
            raise DataError(f"The {what} features have shape {array.shape}; expected (N, D), N and D of at least 1.")
    if train.shape[1] != test.shape[1]:
        raise DataError(f"Training features have {train.shape[1]} values, test features {test.shape[1]}; give as many.")
    nearest, best = np.zeros(len(test), np.int64), np.full(len(test), -np.inf, np.float32)
    for offset in range(0, len(train), chunk):
        keys = _unit(train[offset : offset + chunk])
        for start in range(0, len(test), chunk):
            cosine = _unit(test[start : start + chunk]) @ keys.T
            position = cosine.argmax(1)
            value = cosine[np.arange(len(cosine)), position]
            part = slice(start, start + len(cosine))
            better = value > best[part]
            nearest[part][better] = position[better] + offset
            best[part][better] = value[better]
    return nearest


def central_caption(captions: Sequence[str], language: str = "en") -> str:
    """Return the caption that is most like the others of its picture.

    Likeness of two captions is the mean, over words and over pairs of neighbours, of what they share as a part of what
    they have (Dice's coefficient of counts). A caption given several times is like its copies, so it is preferred. Of
    equals, and of two captions, it is the first.

    Args:
        captions: At least one.
        language: Two-letter code, see `tokenize_caption`.

    Raises:
        DataError: If there is no caption.
    """
    if isinstance(captions, str) or not len(captions):
        raise DataError("There is no list of captions to choose from; give one or more.")
    counts = [_grams(tokenize_caption(text, language)) for text in captions]
    totals = [sum(_likeness(one, other) for other in counts) for one in counts]
    return captions[max(range(len(captions)), key=lambda i: (round(totals[i], 9), -i))]


def nearest_features_captions(
    train: np.ndarray,
    train_captions: Sequence[Sequence[str]],
    test: np.ndarray,
    language: str = "en",
    chunk: int = 1024,
) -> list[str]:
    """Caption every test picture with the central caption of its nearest training picture.

    Args:
        train: Real (N, D), a vector of features a training picture.
        train_captions: For each, one or more captions.
        test: Real (M, D), a vector of features a test picture.
        language: Two-letter code, see `tokenize_caption`.
        chunk: See `nearest_features`.

    Returns:
        M captions.

    Raises:
        DataError: If the arrays do not fit, or a picture has no caption.
    """
    if len(train) != len(train_captions):
        raise DataError(f"Got features of {len(train)} training pictures and captions of {len(train_captions)}.")
    chosen = nearest_features(train, test, chunk)
    central = {i: central_caption(train_captions[i], language) for i in np.unique(chosen).tolist()}
    return [central[i] for i in chosen.tolist()]


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Return float32 vectors of length 1; zeros stay zeros."""
    vectors = np.asarray(vectors, np.float32)
    if not np.isfinite(vectors).all():
        raise DataError("The features hold values that are not finite; make them again.")
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths > 0.0, lengths, 1.0)


def _grams(tokens: list[str]) -> tuple[Counter[Any], Counter[Any]]:
    return Counter(tokens), Counter(zip(tokens, tokens[1:], strict=False))


def _likeness(one: tuple[Counter[Any], Counter[Any]], other: tuple[Counter[Any], Counter[Any]]) -> float:
    parts = [2 * (a & b).total() / max(a.total() + b.total(), 1) for a, b in zip(one, other, strict=True)]
    return sum(parts) / len(parts)
