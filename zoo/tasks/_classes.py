"""What the tasks have in common whose answer is one class of several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def class_compile_arguments(label_smoothing: float) -> dict[str, Any]:
    """Return cross-entropy for one-hot targets, accuracy and macro-F1 (see `Task.compile_arguments`)."""
    import keras

    return {
        "loss": keras.losses.CategoricalCrossentropy(
            from_logits=True, label_smoothing=label_smoothing, reduction="mean_with_sample_weight"
        ),
        "weighted_metrics": [
            keras.metrics.CategoricalAccuracy(name="accuracy"),
            keras.metrics.F1Score(average="macro", name="macro_f1"),
        ],
    }


def class_metrics(labels: np.ndarray, probabilities: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
    """Return `classification_metrics` and the bootstrap standard error of macro-F1.

    Args:
        labels: int (N,), true classes.
        probabilities: float (N, C).
        names: C names.
    """
    from zoo.metrics.bootstrap import resamples
    from zoo.metrics.classification import classification_metrics, macro_f1

    result = classification_metrics(labels, probabilities, names)
    predicted = np.asarray(probabilities).argmax(1)
    drawn = [macro_f1(labels[i], predicted[i], len(names)) for i in resamples(len(labels), n=200)]
    return {**result, "macro_f1_se": float(np.std(drawn))}


def same_class(expected: Mapping[str, np.ndarray], actual: Mapping[str, np.ndarray]) -> np.ndarray:
    """Tell which examples got the same class in two sets of serving outputs, bool (N,)."""
    return np.argmax(expected["probabilities"], -1) == np.argmax(actual["probabilities"], -1)


def class_difference(expected: Mapping[str, np.ndarray], actual: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return the change of the class whose probability changed most, and 1 more if the answer changed, float64 (N,)."""
    change = np.abs(np.subtract(expected["probabilities"], actual["probabilities"], dtype=np.float64)).max(-1)
    return np.where(same_class(expected, actual), 0.0, 1.0) + change


def table_cell(text: str) -> str:
    """Return a text for one cell of a Markdown table."""
    return " ".join(text.replace("|", "\\|").split())
