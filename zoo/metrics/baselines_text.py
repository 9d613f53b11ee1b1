"""Plain text-classification baselines: the majority class, and TF-IDF with logistic regression."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from zoo.errors import DataError, require
from zoo.metrics.captions import CHARACTER_LANGUAGES
from zoo.metrics.classification import classification_metrics


def majority_probabilities(train_labels: np.ndarray, count: int, num_classes: int) -> np.ndarray:
    """Give every example the class frequencies of training: float64 (count, C), so the majority class is predicted.

    Raises:
        DataError: If there is no training label.
    """
    if not len(train_labels):
        raise DataError("The majority baseline got no training label; give at least one.")
    frequencies = np.bincount(np.asarray(train_labels, np.int64), minlength=num_classes) / len(train_labels)
    return np.tile(frequencies, (count, 1))


def majority(train_labels: np.ndarray, test_labels: np.ndarray, class_names: Sequence[str]) -> dict[str, Any]:
    """Measure the majority class of `train_labels` (N,) on `test_labels` (M,); see `classification_metrics`."""
    probabilities = majority_probabilities(train_labels, len(test_labels), len(class_names))
    return classification_metrics(test_labels, probabilities, class_names)


def tfidf_logistic(
    train_texts: Sequence[str],
    train_labels: np.ndarray,
    test_texts: Sequence[str],
    language: str = "en",
    balanced: bool = False,
    num_classes: int | None = None,
    strength: float = 3.0,
) -> np.ndarray:
    """Fit TF-IDF features and a logistic regression on the training texts and judge the test texts.

    Features are 1- and 2-grams of words, or n-grams of 1 to 3 characters for Chinese and Japanese; those of a single
    text are left out, counts are damped to 1 + log(count). Deterministic.

    Args:
        train_texts: N texts.
        train_labels: int (N,).
        test_texts: M texts.
        language: Two-letter code.
        balanced: Weight classes by the inverse of their frequency.
        num_classes: C; by default the largest training label + 1.
        strength: Inverse of the L2 penalty (scikit-learn's C). Of 0.5 to 10, 3 was best or within .003 of the best on
            tweets and on Chinese reviews.

    Returns:
        float64 (M, C); a class without a training example has probability 0.

    Raises:
        DataError: If texts and labels are not as many, fewer than two classes occur or no feature is left.
        MissingExtraError: If scikit-learn is not installed.
    """
    labels = np.asarray(train_labels, np.int64)
    if len(train_texts) != len(labels):
        raise DataError(f"The TF-IDF baseline got {len(train_texts)} texts and {len(labels)} labels; give as many.")
    if len(np.unique(labels)) < 2:
        raise DataError("The TF-IDF baseline needs training texts of at least two classes.")
    text = require("sklearn.feature_extraction.text", extra="eval", purpose="The TF-IDF baseline")
    linear = require("sklearn.linear_model", extra="eval", purpose="The TF-IDF baseline")
    by_character = language in CHARACTER_LANGUAGES
    vectorizer = text.TfidfVectorizer(
        analyzer="char" if by_character else "word",
        ngram_range=(1, 3) if by_character else (1, 2),
        token_pattern=None if by_character else r"(?u)\b\w+\b",
        min_df=2 if len(train_texts) >= 100 else 1,
        sublinear_tf=True,
        dtype=np.float64,
    )
    try:
        features = vectorizer.fit_transform(train_texts)
    except ValueError as error:
        raise DataError(f"The TF-IDF baseline found no word in the training texts ({error}).") from error
    model = linear.LogisticRegression(
        C=strength, class_weight="balanced" if balanced else None, max_iter=1000, random_state=0
    )
    model.fit(features, labels)
    result = np.zeros((len(test_texts), max(num_classes or 0, int(labels.max()) + 1)))
    result[:, model.classes_] = model.predict_proba(vectorizer.transform(test_texts))
    return result
