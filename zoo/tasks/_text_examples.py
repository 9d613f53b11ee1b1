"""Training examples of text classification, a batch at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from zoo.datasets import Source, is_streamed, sample_indices
from zoo.errors import DataError
from zoo.preprocess.text import TextPreprocessor
from zoo.tasks._base import Arrays, Examples

KEPT_BYTES = 256 << 20
"""Token ids are kept up to this size; above it, and of shards always, texts are encoded for every batch."""

SAMPLED = 32_768
"""Most streamed texts of which something is learned at once (see `StreamedTexts.sample`)."""


class TextExamples:
    """Token ids with one-hot classes.

    In training, example i of class c has the weight `(N / (C * N_c)) ** balance`, scaled to a mean of 1: 0 leaves the
    classes as frequent as they are, 1 makes them count the same.

    Attributes:
        tokens: int32 (N, L).
        labels: int64 (N,).
        targets: float32 (N, C), one-hot.
        weights: float32 (N,), or None without balancing.
    """

    def __init__(
        self, tokens: np.ndarray, labels: np.ndarray, num_classes: int, balance: float | np.ndarray | None = None
    ) -> None:
        """Keep the arrays; make targets and weights.

        Args:
            tokens: int32 (N, L).
            labels: int64 (N,).
            num_classes: C.
            balance: See the class; or the weights of the classes, float32 (C,).
        """
        self.tokens = tokens
        self.labels = labels
        self.targets = np.eye(num_classes, dtype=np.float32)[labels]
        if not isinstance(balance, np.ndarray):
            balance = class_weights(np.bincount(labels, minlength=num_classes), balance or 0.0)
        self.weights = None if balance is None else balance[labels]

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.tokens)

    def batch(self, indices: np.ndarray, rng: np.random.Generator | None) -> tuple[Arrays, Any, np.ndarray | None]:
        """Return ({"tokens": (B, L)}, targets (B, C), weights (B,) in training where classes are balanced)."""
        weights = self.weights[indices] if self.weights is not None and rng is not None else None
        return {"tokens": self.tokens[indices]}, self.targets[indices], weights

    def sample(self) -> TextExamples:
        """Return the examples themselves: all are in memory."""
        return self


class StreamedTexts:
    """The same examples, read and encoded for every batch; nothing is kept but the weights of the classes.

    Args:
        source: Records with `text` and `label`.
        preprocessor: Fitted.
        balance: See `TextExamples`.

    Raises:
        DataError: If a label is not among the classes of the training split.
    """

    def __init__(self, source: Source, preprocessor: TextPreprocessor, balance: float = 0.0) -> None:
        self._source, self._preprocessor = source, preprocessor
        counts = count_labels(source)
        numbers = label_numbers([{"id": "(any)", "label": label} for label in counts], preprocessor)
        totals = np.zeros(len(preprocessor.class_names), np.int64)
        totals[numbers] = list(counts.values())
        self._weights = class_weights(totals, balance)

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self._source)

    def batch(self, indices: np.ndarray, rng: np.random.Generator | None) -> tuple[Arrays, Any, np.ndarray | None]:
        """See `TextExamples`."""
        return self._read(indices).batch(np.arange(len(indices)), rng)

    def sample(self) -> TextExamples:
        """Return at most `SAMPLED` examples, spread evenly over all and always the same ones."""
        return self._read(sample_indices(len(self), SAMPLED))

    def _read(self, indices: Iterable[int]) -> TextExamples:
        tokens, numbers = [], []
        for index in indices:
            record = self._source[int(index)]
            tokens.append(self._preprocessor.encode(record["text"]))
            numbers.append(label_numbers([record], self._preprocessor)[0])
        rows = np.stack(tokens) if tokens else np.zeros((0, self._preprocessor.max_length), np.int32)
        weights = self._weights
        examples = TextExamples(rows, np.array(numbers, np.int64), len(self._preprocessor.class_names), weights)
        return examples


def text_examples(source: Source, preprocessor: TextPreprocessor, balance: float) -> Examples:
    """Return the examples of a split, in memory if they are few.

    Raises:
        DataError: If a label is not among the classes of the training split.
    """
    if is_streamed(source) or len(source) * preprocessor.max_length * 4 > KEPT_BYTES:
        return StreamedTexts(source, preprocessor, balance)
    records = [source[i] for i in range(len(source))]
    tokens = preprocessor.encode_all(record["text"] for record in records)
    return TextExamples(tokens, label_numbers(records, preprocessor), len(preprocessor.class_names), balance)


def class_weights(counts: np.ndarray, balance: float) -> np.ndarray | None:
    """Return the weight of every class, float32 (C,), from its number of examples; None without balancing."""
    if not balance or not counts.sum():
        return None
    weights = (counts.sum() / len(counts) / np.maximum(counts, 1)) ** balance
    return np.asarray(weights / ((counts * weights).sum() / counts.sum()), np.float32)


def count_labels(source: Source) -> Mapping[str, int]:
    """Return label -> number of records; shards know it, of other sources every record is looked at."""
    known: Mapping[str, int] | None = getattr(source, "label_counts", None)
    return Counter(source[i]["label"] for i in range(len(source))) if known is None else known


def label_numbers(records: Sequence[Mapping[str, Any]], preprocessor: TextPreprocessor) -> np.ndarray:
    """Return the class numbers of records, int64 (N,).

    Raises:
        DataError: If a label is not among the classes.
    """
    number = {name: i for i, name in enumerate(preprocessor.class_names)}
    for record in records:
        if record["label"] not in number:
            raise DataError(
                f"Record {record['id']} has the label '{record['label']}', which the training split does not have; "
                f"classes: {', '.join(preprocessor.class_names)}."
            )
    return np.array([number[record["label"]] for record in records], np.int64)
