"""Layers of the text models: hashing and random replacement, by hand."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from zoo.layers import NGramClassifier, NGramEmbedding, OpinionPool, TokenDropout
from zoo.layers.ngram_embedding import MODULUS, MULTIPLIER, hash_ngrams

TOKENS = np.array([[7, 2**29, 9, 0], [3, 0, 0, 0]], np.int32)
TEXTS = np.array([[1, 2, 3, 4], [2, 3, 2, 3], [5, 0, 0, 0], [0, 0, 0, 0]], np.int32)


@pytest.mark.parametrize("order", [1, 2, 3, 6])
def test_hash_equals_whole_numbers_without_overflow(order: int) -> None:
    buckets, whole = (ops.convert_to_numpy(x) for x in hash_ngrams(ops.convert_to_tensor(TOKENS), order, 1000))
    for row in range(2):
        for end in range(4):
            gram = [int(t) for t in TOKENS[row, max(0, end - order + 1) : end + 1]]
            assert whole[row, end] == (len(gram) == order and 0 not in gram)
            if whole[row, end]:
                code = 0
                for token in gram:
                    code = (code * MULTIPLIER + token) % MODULUS
                assert buckets[row, end] == code % 1000


def test_hash_never_overflows() -> None:
    assert (MODULUS - 1) * MULTIPLIER + 2**29 < 2**31


def test_pairs_spread_over_the_buckets() -> None:
    pairs = np.random.default_rng(0).integers(1, 6000, (20_000, 2)).astype("int32")
    buckets = ops.convert_to_numpy(hash_ngrams(ops.convert_to_tensor(pairs), 2, 1000)[0])[:, 1]
    counts = np.bincount(buckets, minlength=1000)
    assert counts.min() > 0
    assert counts.var() < 1.3 * counts.mean()  # a Poisson distribution has variance = mean


def test_bag_adds_up_rows_and_divides_by_the_root_of_their_number() -> None:
    layer = NGramEmbedding(2, buckets=50, orders=(1, 2), bag=True, scale=3.0)
    layer(TOKENS)
    tables = [np.arange(100, dtype="float32").reshape(50, 2), np.full((50, 2), 0.5, "float32")]
    layer.set_weights(tables)
    unigrams = tables[0][[7, (2**29 % MODULUS) % 50, 9]].sum(0)
    expected = 3.0 * np.stack([(unigrams + 2 * 0.5) / np.sqrt(5), tables[0][3]])
    np.testing.assert_allclose(ops.convert_to_numpy(layer(TOKENS)), expected, rtol=1e-6)


def test_ngrams_do_not_cross_padding() -> None:
    layer = NGramEmbedding(3, buckets=11, orders=(2,))
    y = ops.convert_to_numpy(layer(TOKENS))
    assert not y[0, [0, 3]].any()
    assert not y[1].any()
    assert y[0, [1, 2]].any(-1).all()


def test_token_dropout_replaces_the_stated_share_and_no_padding() -> None:
    tokens = np.tile(np.array([5, 6, 7, 0], np.int32), (500, 4))
    layer = TokenDropout(0.3, replacement=2, seed=1)
    seen = ops.convert_to_numpy(layer(tokens, training=True))
    assert ((seen == tokens) | (seen == 2)).all()
    assert (seen[tokens == 0] == 0).all()
    assert np.mean(seen[tokens != 0] == 2) == pytest.approx(0.3, abs=0.03)
    np.testing.assert_array_equal(ops.convert_to_numpy(layer(tokens, training=False)), tokens)


def test_opinion_pool_learns_alone_and_answers_together() -> None:
    learning, fixed = np.array([[2.0, -1.0]], np.float32), np.array([[10.0, 3.0]], np.float32)
    pool = OpinionPool(0.25)
    np.testing.assert_allclose(ops.convert_to_numpy(pool(learning, fixed, training=False)), [[4.0, 0.0]])
    np.testing.assert_array_equal(ops.convert_to_numpy(pool(learning, fixed, training=True)), learning)


def test_classifier_adds_up_the_weights_of_known_ngrams() -> None:
    layer = NGramClassifier(2, vocab_size=10, rows=5, longest=3)
    assert not ops.convert_to_numpy(layer(TEXTS)).any()
    # Numbers: (1, 2) = 10, (2, 3) = 11, and (1, 2, 3) = 12 because its first two tokens have the number 10.
    table = np.stack([np.arange(13.0), 2.0 ** np.arange(13)], axis=1)
    layer.assign(np.array([12, 23, 103]), table, np.array([0.5, -0.5]))
    known = [[1, 2, 3, 4, 10, 11, 12], [2, 3, 2, 3, 11, 11], [5], []]  # 3-4, 2-3-4 and so on are unknown
    total = np.array([4 + 3 + 2, 4 + 3 + 2, 1, 1])  # all n-grams of 1 to 3 tokens, at least 1
    sums = np.array([table[numbers].sum(0) if numbers else [0.0, 0.0] for numbers in known])
    expected = sums / np.sqrt(total)[:, None] + [0.5, -0.5]
    np.testing.assert_allclose(ops.convert_to_numpy(layer(TEXTS)), expected, rtol=1e-6)


@pytest.mark.parametrize(("rows", "count"), [(1, 1), (2, 2), (7, 7), (64, 40), (100, 100)])
def test_binary_search_finds_every_key_and_nothing_else(rows: int, count: int) -> None:
    keys = np.sort(np.random.default_rng(rows).choice(np.arange(100, 10_000), count, replace=False))
    layer = NGramClassifier(1, vocab_size=100, rows=rows, longest=2)
    layer(TEXTS)
    layer.assign(keys, np.zeros((100 + count, 1)), np.zeros(1))
    wanted = np.concatenate([keys, keys - 1, keys + 1, [-1, 0, 9999]]).astype("int32")[None]
    places = {int(key): place + 100 for place, key in enumerate(keys)}
    expected = [places.get(int(key), -1) for key in wanted[0]]
    np.testing.assert_array_equal(ops.convert_to_numpy(layer._find(ops.convert_to_tensor(wanted)))[0], expected)


def test_classifier_is_not_trained() -> None:
    layer = NGramClassifier(2, vocab_size=10, rows=5)
    layer(TEXTS)
    assert not layer.trainable_weights
    assert {weight.name for weight in layer.weights} == {"keys", "table", "bias"}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: NGramEmbedding(3, buckets=10, orders=()), "orders"),
        (lambda: NGramEmbedding(3, buckets=10, orders=(0,)), "orders"),
        (lambda: NGramEmbedding(3, buckets=200_000), "buckets"),
        (lambda: NGramEmbedding(3, buckets=10)(keras.Input((None,), dtype="int32")), "static length"),
        (lambda: TokenDropout(1.0, replacement=2), "rate"),
        (lambda: TokenDropout(0.1, replacement=0), "padding"),
        (lambda: OpinionPool(1.5), "share"),
        (lambda: NGramClassifier(2, vocab_size=10, rows=0), "rows"),
        (lambda: NGramClassifier(2, vocab_size=40_000, rows=20_000), "below 2\\^31"),
        (lambda: NGramClassifier(2, vocab_size=10, rows=5)(keras.Input((None,), dtype="int32")), "static length"),
    ],
)
def test_bad_arguments_are_named(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()  # type: ignore[operator]


def test_single_tokens_can_have_rows_of_their_own() -> None:
    layer = NGramEmbedding(1, buckets=2, orders=(1, 2), vocab_size=10)
    layer(TOKENS[1:])
    layer.set_weights([np.arange(10, dtype="float32")[:, None], np.zeros((2, 1), "float32")])
    np.testing.assert_array_equal(ops.convert_to_numpy(layer(TOKENS[1:]))[0, :, 0], [3, 0, 0, 0])
