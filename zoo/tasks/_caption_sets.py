"""Training examples of captioning where a picture comes with several of its captions at once."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from zoo.errors import DataError
from zoo.preprocess.captioning import END, PADDING, START, CaptionPreprocessor

Pictures = Callable[[np.ndarray, np.random.Generator | None], np.ndarray]
"""From indices (B,) to what the model reads of these pictures, (B, ...); drawn at random where there is a generator."""

_SIDES = {
    "en": r"\b(?:left|right|east|west|north|south|top|bottom|above|below|upper|lower|under|over|beneath|upright|"
    r"clockwise|anticlockwise|counterclockwise|horizontal|vertical|diagonal)\w*\b",
    "zh": r"[左右东西南北上下横竖]",
}


def speaks_of_sides(captions: Sequence[str], language: str) -> bool:
    """Tell whether a mirrored or turned picture might not be what captions say: sides, directions of the compass.

    In a language other than English and Chinese, or one that is not named, every caption might.
    """
    if language not in _SIDES:
        return True
    return any(re.search(_SIDES[language], caption.lower()) for caption in captions)


def has_pretrained_encoder(config: Any) -> bool:
    """Tell whether a captioner's configuration names an encoder with published weights, as `caption_attn`'s may."""
    return bool(getattr(config, "encoder", "cnn") != "cnn")


class CaptionSets:
    """Pictures, each with `count` different captions: `tokens` (B, K, T) -> next tokens (B, K, T).

    Of a picture with more captions than that others are drawn each time, all equally likely. A caption given several
    times is not repeated but weighs as much more, and drawn ones weigh for those that are not, so that the expected
    loss is the one over all captions. Without a random generator the first ones are taken.

    Args:
        pictures: Gives what the model reads.
        name: The model's input for it.
        captions: Of every picture.
        preprocessor: Fitted.
        count: K, captions of a picture in a batch.
        repeats: Whether a repeated caption weighs more.

    Raises:
        DataError: If a picture has no caption.
    """

    def __init__(
        self,
        pictures: Pictures,
        name: str,
        captions: Sequence[Sequence[str]],
        preprocessor: CaptionPreprocessor,
        count: int,
        *,
        repeats: bool = True,
    ) -> None:
        """Encode all captions."""
        self._pictures, self._name, self._count = pictures, name, count
        length = preprocessor.max_length
        rows: list[tuple[int, ...]] = []
        given: list[int] = []
        sizes: list[int] = []
        for number, texts in enumerate(captions):
            if not texts:
                raise DataError(f"Picture {number} of the split has no caption; give it one or remove it.")
            found = Counter(tuple([*preprocessor.encode(text), END][:length]) for text in texts)
            rows += [ids + (PADDING,) * (length - len(ids)) for ids in found]
            given += found.values() if repeats else [1] * len(found)
            sizes.append(len(found))
        self._tokens, self._given = np.array(rows, np.int32), np.array(given, np.float32)
        self._first = np.cumsum([0, *sizes])

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self._first) - 1

    def batch(
        self, indices: np.ndarray, rng: np.random.Generator | None
    ) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
        """Return inputs, targets int32 (B, K, T) and weights float32 (B, K, T), 0 at padding and where none is left."""
        targets = np.zeros((len(indices), self._count, self._tokens.shape[1]), np.int32)
        weights = np.zeros((len(indices), self._count), np.float32)
        for row, index in enumerate(indices):
            start, size = self._first[index], self._first[index + 1] - self._first[index]
            taken = min(size, self._count)
            chosen = start + (np.arange(taken) if rng is None else rng.permutation(size)[:taken])
            targets[row, :taken] = self._tokens[chosen]
            weights[row, :taken] = self._given[chosen] * (size / taken)
        inputs = {self._name: self._pictures(indices, rng), "tokens": shifted(targets)}
        return inputs, targets, weights[..., None] * (targets != PADDING)


def shifted(targets: np.ndarray) -> np.ndarray:
    """Return what a decoder reads to predict targets int32 (..., T): the start, then all but the last of them."""
    first = np.full((*targets.shape[:-1], 1), START, np.int32)
    tokens = np.concatenate([first, targets[..., :-1]], axis=-1)
    tokens[tokens == END] = PADDING  # nothing follows the end
    return tokens
