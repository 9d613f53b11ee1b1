"""Classification metrics: accuracy, macro-F1, precision, recall and F1 of every class, confusion, log loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from zoo.errors import DataError


def confusion_matrix(labels: np.ndarray, predictions: np.ndarray, num_classes: int) -> np.ndarray:
    """Count examples: int64 (C, C), rows are true classes, columns predicted ones.

    Args:
        labels: int (N,), true classes.
        predictions: int (N,), predicted classes.
        num_classes: C.
    """
    flat = np.asarray(labels, np.int64) * num_classes + np.asarray(predictions, np.int64)
    return np.bincount(flat, minlength=num_classes**2).reshape(num_classes, num_classes)


def macro_f1(labels: np.ndarray, predictions: np.ndarray, num_classes: int) -> float:
    """Return the unweighted mean F1 over the classes that occur among `labels` (N,) or `predictions` (N,)."""
    return _macro(confusion_matrix(labels, predictions, num_classes))


def classification_metrics(labels: np.ndarray, probabilities: np.ndarray, class_names: Sequence[str]) -> dict[str, Any]:
    """Score a classifier.

    Args:
        labels: int (N,), true classes.
        probabilities: float (N, C), each row sums to 1. The predicted class is the most probable, of equals the first.
        class_names: C names.

    Returns:
        ``accuracy`` and its standard error ``accuracy_se``; ``macro_f1``, the unweighted mean F1 of the classes that
        occur among labels or predictions; ``log_loss`` in nats (probabilities are clipped to 1e-12); ``count``;
        ``classes``: per name ``precision``, ``recall``, ``f1`` (0 where undefined) and ``support``; ``confusion``:
        nested lists, rows true, columns predicted; ``class_names``.

    Raises:
        DataError: If the shapes do not fit, a label is out of range or a probability is not a number.
    """
    labels, probabilities = np.asarray(labels), np.asarray(probabilities, np.float64)
    num_classes = len(class_names)
    if labels.ndim != 1 or probabilities.shape != (len(labels), num_classes) or not len(labels):
        raise DataError(
            f"Classification metrics got labels {labels.shape} and probabilities {probabilities.shape} for "
            f"{num_classes} classes; give (N,) and (N, {num_classes})."
        )
    if not np.issubdtype(labels.dtype, np.integer) or labels.min() < 0 or labels.max() >= num_classes:
        raise DataError(f"Classification labels must be whole numbers from 0 to {num_classes - 1}.")
    if not np.isfinite(probabilities).all() or np.abs(probabilities.sum(1) - 1).max() > 1e-3:
        raise DataError("Class probabilities must be finite and each row must sum to 1.")
    predictions = probabilities.argmax(1)
    confusion = confusion_matrix(labels, predictions, num_classes)
    precision, recall, f1 = _per_class(confusion)
    support = confusion.sum(1)
    accuracy = float((predictions == labels).mean())
    likelihood = np.clip(probabilities[np.arange(len(labels)), labels], 1e-12, 1.0)
    return {
        "accuracy": accuracy,
        "accuracy_se": float(np.sqrt(accuracy * (1 - accuracy) / len(labels))),
        "macro_f1": _macro(confusion),
        "log_loss": float(np.log(1.0 / likelihood).mean()),
        "count": len(labels),
        "classes": {
            name: {
                "precision": float(precision[i]),
                "recall": float(recall[i]),
                "f1": float(f1[i]),
                "support": int(support[i]),
            }
            for i, name in enumerate(class_names)
        },
        "confusion": confusion.tolist(),
        "class_names": list(class_names),
    }


def _per_class(confusion: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    hits, predicted, actual = np.diag(confusion), confusion.sum(0), confusion.sum(1)
    precision = hits / np.maximum(predicted, 1)
    recall = hits / np.maximum(actual, 1)
    return precision, recall, 2 * hits / np.maximum(predicted + actual, 1)


def _macro(confusion: np.ndarray) -> float:
    occurs = confusion.sum(0) + confusion.sum(1) > 0
    return float(_per_class(confusion)[2][occurs].mean())
