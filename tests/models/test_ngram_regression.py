"""The solved table of n-grams, by hand and against scikit-learn on features written another way."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from keras import ops
from sklearn.feature_extraction import DictVectorizer
from sklearn.linear_model import LogisticRegression

from zoo.layers import NGramClassifier
from zoo.models._ngram_regression import choose_keys, fit_ngrams

VOCAB = 20


def some_texts(count: int = 300) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    tokens = rng.integers(1, VOCAB, (count, 9))
    lengths = rng.integers(1, 10, count)
    tokens[np.arange(9) >= lengths[:, None]] = 0
    labels = (np.sum(tokens == 3, axis=1) + np.sum((tokens[:, 1:] == 4) & (tokens[:, :-1] == 5), axis=1)) % 3
    return tokens, labels


def grams(row: np.ndarray, longest: int) -> list[tuple[int, ...]]:
    text = [int(token) for token in row if token]
    return [tuple(text[i : i + n]) for n in range(1, longest + 1) for i in range(len(text) - n + 1)]


def test_keys_nest_and_hold_what_two_texts_hold() -> None:
    texts = np.array([[1, 2, 3, 1, 2, 3], [1, 2, 3, 0, 0, 0], [2, 3, 4, 0, 0, 0], [4, 5, 0, 0, 0, 0]])
    # (1, 2) = 12 in 2 texts, (2, 3) = 23 in 3; (3, 1), (3, 4), (4, 5) in one; (1, 2, 3) = number 10 and token 3.
    assert choose_keys(texts, vocab_size=10, rows=9, longest=3).tolist() == [12, 23, 103]
    assert choose_keys(texts, vocab_size=10, rows=9, longest=2).tolist() == [12, 23]
    assert choose_keys(texts, vocab_size=10, rows=1, longest=3).tolist() == [23]
    assert choose_keys(texts, vocab_size=10, rows=9, longest=1).tolist() == []


@pytest.mark.parametrize("rows", [5, 60, 200])
def test_of_too_many_those_in_most_texts_are_kept(rows: int) -> None:
    tokens, _ = some_texts()
    texts = Counter(gram for row in tokens for gram in set(grams(row, 3)) if len(gram) > 1)
    keys = choose_keys(tokens, vocab_size=VOCAB, rows=rows, longest=3)
    named: dict[int, tuple[int, ...]] = {token: (token,) for token in range(VOCAB)}
    for place, key in enumerate(keys):
        named[VOCAB + place] = (*named[int(key) // VOCAB], int(key) % VOCAB)
    kept = [named[VOCAB + place] for place in range(len(keys))]
    assert len(keys) == min(rows, sum(count > 1 for count in texts.values()))
    assert (np.diff(keys) > 0).all()
    assert min(texts[gram] for gram in kept) >= max(count for gram, count in texts.items() if gram not in kept)


@pytest.mark.parametrize("classes", [2, 3])
def test_solution_equals_a_regression_on_features_by_hand(classes: int) -> None:
    tokens, labels = some_texts()
    labels = labels % classes
    weights = np.linspace(0.5, 1.5, len(labels))
    arguments: dict[str, Any] = {"vocab_size": VOCAB, "rows": 400, "longest": 2}
    table = fit_ngrams(tokens, labels, weights, num_classes=classes, strength=0.5, **arguments)
    layer = NGramClassifier(classes, **arguments)
    layer(tokens)
    layer.assign(*table)
    actual = ops.convert_to_numpy(ops.softmax(layer(tokens)))

    texts = Counter(gram for row in tokens for gram in set(grams(row, 2)))
    inside = [Counter(g for row in tokens[labels == k] for g in set(grams(row, 2))) for k in range(classes)]
    known = [gram for gram in texts if len(gram) == 1 or texts[gram] > 1]
    size = VOCAB + sum(len(gram) > 1 for gram in known)  # every token has a row, seen or not

    def scale(gram: tuple[int, ...]) -> float:
        ratios = []
        for k in range(classes):
            p = (1 + inside[k][gram]) / (size + sum(inside[k][g] for g in known))
            q = (1 + texts[gram] - inside[k][gram]) / (size + sum(texts[g] - inside[k][g] for g in known))
            ratios.append(abs(np.log(p / q)))
        return float((0.5 + max(ratios)) * (1 + np.log((1 + len(tokens)) / (1 + texts[gram]))))

    scales = {gram: scale(gram) for gram in known}
    rows = []
    for row in tokens:
        counts = Counter(grams(row, 2))
        root = np.sqrt(counts.total())
        rows.append({str(g): count * scales[g] / root for g, count in counts.items() if g in scales})
    features = DictVectorizer().fit_transform(rows)
    model = LogisticRegression(C=0.5, tol=1e-6, max_iter=1000).fit(features, labels, sample_weight=weights)
    np.testing.assert_allclose(actual, model.predict_proba(features), atol=0.01)


def test_equal_texts_give_an_equal_table() -> None:
    tokens, labels = some_texts()
    first, again = (
        fit_ngrams(tokens, labels, None, num_classes=3, vocab_size=VOCAB, rows=50, longest=3, strength=1.0)
        for _ in range(2)
    )
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_class_without_examples_is_never_the_answer() -> None:
    tokens, labels = some_texts()
    labels = labels % 2 * 2
    table = fit_ngrams(tokens, labels, None, num_classes=4, vocab_size=VOCAB, rows=50, longest=2, strength=1.0)
    assert not table.table[:, [1, 3]].any()
    assert table.bias[[1, 3]].max() < -20
