"""Classification metrics by hand and against scikit-learn; the text baselines on tiny data."""

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from zoo.errors import DataError, MissingExtraError
from zoo.metrics.baselines_text import majority, majority_probabilities, tfidf_logistic
from zoo.metrics.classification import classification_metrics, confusion_matrix, macro_f1

NAMES = ["negative", "neutral", "positive"]


def one_hot(predictions, count, sure=0.8):
    rest = (1 - sure) / (count - 1)
    return np.where(np.arange(count) == np.asarray(predictions)[:, None], sure, rest)


def test_by_hand():
    labels, predictions = np.array([0, 0, 0, 1, 1, 2]), np.array([0, 0, 1, 1, 2, 2])
    result = classification_metrics(labels, one_hot(predictions, 3), NAMES)
    assert result["confusion"] == [[2, 1, 0], [0, 1, 1], [0, 0, 1]]
    assert result["accuracy"] == pytest.approx(4 / 6)
    assert result["accuracy_se"] == pytest.approx(np.sqrt(4 / 6 * 2 / 6 / 6))
    assert result["classes"]["negative"] == pytest.approx({"precision": 1, "recall": 2 / 3, "f1": 0.8, "support": 3})
    assert result["classes"]["neutral"] == pytest.approx({"precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 2})
    assert result["classes"]["positive"]["f1"] == pytest.approx(2 / 3)
    assert result["macro_f1"] == pytest.approx((0.8 + 0.5 + 2 / 3) / 3)
    assert result["log_loss"] == pytest.approx(-(4 * np.log(0.8) + 2 * np.log(0.1)) / 6)
    assert result["count"] == 6


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40))
def test_agrees_with_scikit_learn(pairs):
    labels, predictions = np.array(pairs).T
    result = classification_metrics(labels, one_hot(predictions, 4), list("abcd"))
    assert result["accuracy"] == pytest.approx(sk.accuracy_score(labels, predictions))
    assert result["macro_f1"] == pytest.approx(sk.f1_score(labels, predictions, average="macro", zero_division=0))
    assert result["confusion"] == sk.confusion_matrix(labels, predictions, labels=range(4)).tolist()
    assert macro_f1(labels, predictions, 4) == pytest.approx(result["macro_f1"])
    reverse = classification_metrics(labels[::-1], one_hot(predictions, 4)[::-1], list("abcd"))
    assert reverse["macro_f1"] == pytest.approx(result["macro_f1"])
    assert reverse["log_loss"] == pytest.approx(result["log_loss"])


def test_perfect_and_certainly_wrong():
    labels = np.array([0, 1, 2])
    perfect = classification_metrics(labels, np.eye(3), NAMES)
    assert (perfect["accuracy"], perfect["macro_f1"], perfect["log_loss"]) == (1, 1, 0)
    wrong = classification_metrics(labels, np.eye(3)[[1, 2, 0]], NAMES)
    assert (wrong["accuracy"], wrong["macro_f1"]) == (0, 0)
    assert np.isfinite(wrong["log_loss"])


def test_confusion_of_classes_nobody_saw():
    np.testing.assert_array_equal(confusion_matrix(np.array([0]), np.array([1]), 3), [[0, 1, 0], [0, 0, 0], [0, 0, 0]])


@pytest.mark.parametrize(
    ("labels", "probabilities"),
    [
        (np.array([0, 1]), np.ones((2, 2)) / 2),
        (np.array([0, 3]), np.ones((2, 3)) / 3),
        (np.array([0, -1]), np.ones((2, 3)) / 3),
        (np.array([0.0, 1.0]), np.ones((2, 3)) / 3),
        (np.array([0, 1]), np.ones((2, 3))),
        (np.array([0, 1]), np.full((2, 3), np.nan)),
        (np.zeros(0, int), np.zeros((0, 3))),
    ],
)
def test_bad_input_is_named(labels, probabilities):
    with pytest.raises(DataError) as error:
        classification_metrics(labels, probabilities, NAMES)
    assert "\n" not in str(error.value)


def test_majority():
    result = majority(np.array([2, 2, 2, 0]), np.array([0, 1, 2, 2]), NAMES)
    assert result["accuracy"] == 0.5
    assert result["macro_f1"] == pytest.approx((2 / 3) / 3)
    np.testing.assert_allclose(majority_probabilities(np.array([2, 2, 2, 0]), 2, 3), [[0.25, 0, 0.75]] * 2)
    with pytest.raises(DataError, match="no training label"):
        majority_probabilities(np.zeros(0, int), 2, 3)


ENGLISH = ["a good film", "good and nice", "nice film", "a bad film", "bad and dull", "dull film"]
CHINESE = ["房间很好", "服务很好", "很好很好", "房间很差", "服务很差", "很差很差"]
LABELS = np.array([1, 1, 1, 0, 0, 0])


@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize(
    ("texts", "new", "language"),
    [(ENGLISH, ["good", "so bad", "dull bad", "nice"], "en"), (CHINESE, ["早餐好", "早餐差", "太差", "真好"], "zh")],
)
def test_tfidf_learns_words_and_characters(texts, new, language, balanced):
    probabilities = tfidf_logistic(texts, LABELS, new, language, balanced)
    assert probabilities.argmax(1).tolist() == [1, 0, 0, 1]
    np.testing.assert_allclose(probabilities.sum(1), 1)
    np.testing.assert_array_equal(probabilities, tfidf_logistic(texts, LABELS, new, language, balanced))


def test_tfidf_balancing_lifts_the_rare_class():
    texts, labels = [*ENGLISH[:3] * 5, ENGLISH[3]], np.array([1] * 15 + [0])
    plain = tfidf_logistic(texts, labels, ["a film"])
    balanced = tfidf_logistic(texts, labels, ["a film"], balanced=True)
    assert balanced[0, 0] > plain[0, 0]


def test_tfidf_class_without_examples_has_probability_zero():
    probabilities = tfidf_logistic(ENGLISH, LABELS * 2, ["good"], num_classes=4)
    assert probabilities.shape == (1, 4)
    assert probabilities[0, [1, 3]].tolist() == [0, 0]
    assert probabilities[0, 2] > 0.5


@pytest.mark.parametrize(
    ("texts", "labels"), [(["a"], [0, 1]), (["a", "b"], [1, 1]), (["", " "], [0, 1]), (["!", "?"], [0, 1])]
)
def test_tfidf_bad_input_is_named(texts, labels):
    with pytest.raises(DataError) as error:
        tfidf_logistic(texts, np.array(labels), ["x"])
    assert "\n" not in str(error.value)


def test_tfidf_without_scikit_learn_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    with pytest.raises(MissingExtraError, match=r"attention-zoo\[eval\]"):
        tfidf_logistic(ENGLISH, LABELS, ["good"])
