"""The consensus of captions against counts of n-grams made by hand."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.preprocess.captioning import END, PADDING
from zoo.tasks._consensus import expected_similarity, ngram_similarity


def similarity(one: Sequence[int], other: Sequence[int], orders: int = 4) -> float:
    """Return the mean cosine of the counts of n-grams."""
    total = 0.0
    for n in range(1, orders + 1):
        left, right = (Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1)) for words in (one, other))
        norms = math.sqrt(sum(v * v for v in left.values()) * sum(v * v for v in right.values()))
        total += sum(left[gram] * right[gram] for gram in left) / norms if norms else 0.0
    return total / orders


def padded(sequences: Sequence[Sequence[int]], length: int) -> np.ndarray:
    return np.array([[*words, *[PADDING] * (length - len(words))] for words in sequences], np.int32)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_similarity_is_the_mean_cosine_of_ngram_counts(data: st.DataObject) -> None:
    length = data.draw(st.integers(1, 7))
    words = st.lists(st.integers(4, 6), max_size=length)
    pictures = data.draw(st.lists(st.lists(words, min_size=3, max_size=3), min_size=1, max_size=2))
    found = np.array(ngram_similarity(np.stack([padded(sequences, length) for sequences in pictures])))
    for row, sequences in zip(found, pictures, strict=True):
        wanted = [[similarity(one, other, min(4, length)) for other in sequences] for one in sequences]
        np.testing.assert_allclose(row, wanted, atol=1e-6)


def test_what_most_captions_share_outweighs_the_most_probable_one() -> None:
    a, b, c, d, x, y = range(4, 10)
    captions = [[x, y], [a, b, c], [a, b, d], [a, b]]
    logs = np.log(np.array([[0.28, 0.26, 0.24, 0.22]], np.float32))
    found = np.array(expected_similarity(padded(captions, 5)[None], np.ones((1, 4), np.float32), logs))[0]
    votes = np.sqrt([0.28, 0.26, 0.24, 0.22]) / np.sqrt([0.28, 0.26, 0.24, 0.22]).sum()
    ended = [[*words, END] for words in captions]
    wanted = [sum(vote * similarity(one, other) for vote, other in zip(votes, ended, strict=True)) for one in ended]
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    assert np.argmax(found) == 1 != np.argmax(logs)


def test_a_caption_that_broke_off_has_no_end_and_what_is_none_has_no_vote() -> None:
    captions = [[4, 5, 6], [4, 5], [7, 7, 7]]
    logs = np.array([[0.0, 0.0, -1e9]], np.float32)
    found = np.array(expected_similarity(padded(captions, 3)[None], np.array([[0.0, 1.0, 1.0]], np.float32), logs))[0]
    wanted = np.mean([similarity([4, 5, 6], [4, 5, 6]), similarity([4, 5, 6], [4, 5, END])])
    assert found[0] == pytest.approx(wanted, abs=1e-6)
    assert found[2] == pytest.approx(similarity([7, 7, 7, END], [4, 5, END]) / 2, abs=1e-6)
