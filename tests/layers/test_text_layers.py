"""Layers of the text models: hashing and random replacement, by hand."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from zoo.layers import NGramEmbedding, PathDropout, TokenDropout
from zoo.layers.ngram_embedding import MODULUS, MULTIPLIER, hash_ngrams

TOKENS = np.array([[7, 2**29, 9, 0], [3, 0, 0, 0]], np.int32)


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


def test_penalty_is_part_of_the_loss() -> None:
    layer = NGramEmbedding(1, buckets=4, orders=(1,), initializer="ones", penalty=0.5)
    layer(TOKENS)
    assert float(ops.convert_to_numpy(layer.losses[0])) == pytest.approx(0.5 * 4)


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


def test_path_dropout_gives_one_path_or_the_mean() -> None:
    x = np.tile(np.array([[[2.0], [8.0]]], np.float32), (2000, 1, 1))
    layer = PathDropout(0.5, seed=0)
    np.testing.assert_allclose(ops.convert_to_numpy(layer(x, training=False)), 5.0)
    y = ops.convert_to_numpy(layer(x, training=True))[:, 0]
    shares = {value: float(np.mean(y == value)) for value in (2.0, 8.0, 5.0)}
    assert sum(shares.values()) == 1.0
    assert shares[5.0] == pytest.approx(0.5, abs=0.05)
    assert shares[2.0] == pytest.approx(0.25, abs=0.05)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: NGramEmbedding(3, buckets=10, orders=()), "orders"),
        (lambda: NGramEmbedding(3, buckets=10, orders=(0,)), "orders"),
        (lambda: NGramEmbedding(3, buckets=200_000), "buckets"),
        (lambda: NGramEmbedding(3, buckets=10)(keras.Input((None,), dtype="int32")), "static length"),
        (lambda: TokenDropout(1.0, replacement=2), "rate"),
        (lambda: TokenDropout(0.1, replacement=0), "padding"),
        (lambda: PathDropout(1.5), "rate"),
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
