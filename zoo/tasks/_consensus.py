"""Which of several captions the others agree with most.

The caption of the highest probability is often not the one that says most of what the model believes: captions may
differ in one doubtful word and share all others. Minimum Bayes risk decoding (Kumar and Byrne 2004) takes the
caption of the highest expected similarity instead. Here, as in range voting (Borgeaud and Emerson 2020,
arXiv:1908.06288), the captions that beam search has kept are both candidates and voters:

    w(c) = sqrt(p(c)) / sum over c' of sqrt(p(c'))
    answer = argmax over c of  sum over c' of  w(c') * similarity(c, c')

The similarity is the cosine of n-gram counts, averaged over n = 1 to 4: CIDEr (Vedantam et al. 2015, arXiv:1411.5726,
equation 2) without its inverse document frequencies. The end counts as a token. Roots of probabilities, since the kept
captions stand for many more that are less probable; docs/adr/0016-search.md has what was measured.

`keras.ops` only, static shapes, tensors of at most four dimensions: it converts to LiteRT's built-in operators.
"""

from __future__ import annotations

from typing import Any

from keras import ops

from zoo.preprocess.captioning import END, PADDING

Tensor = Any
_ORDERS = 4


def expected_similarity(tokens: Tensor, ended: Tensor, log_probabilities: Tensor) -> Tensor:
    """Return how similar each caption is to what the model believes, float32 (B, K), 0 to 1.

    Args:
        tokens: int32 (B, K, T), static: K captions of each picture, after their end all padding.
        ended: float32 (B, K), 1 where a caption has ended, 0 where it broke off.
        log_probabilities: float32 (B, K) of the whole captions; -1e9 for what is none.
    """
    votes = ops.softmax(0.5 * log_probabilities, axis=-1)  # of square roots
    return ops.squeeze(ops.matmul(ngram_similarity(_with_end(tokens, ended)), ops.expand_dims(votes, -1)), -1)


def _with_end(tokens: Tensor, ended: Tensor) -> Tensor:
    """Write the end after each caption that has one, (B, K, T) -> (B, K, T + 1)."""
    tokens = ops.pad(tokens, ((0, 0), (0, 0), (0, 1)), constant_values=PADDING)
    said = ops.cast(ops.not_equal(tokens, PADDING), "int32")
    length = ops.sum(said, axis=-1, keepdims=True)
    after = ops.cast(ops.equal(ops.arange(tokens.shape[-1], dtype="int32"), length), "int32")
    return tokens + END * after * ops.expand_dims(ops.cast(ended, "int32"), -1)


def ngram_similarity(tokens: Tensor) -> Tensor:
    """Return the cosines of the n-gram counts of every two sequences, averaged over n = 1 to 4.

    A sequence of fewer than n tokens has no n-grams and the cosine 0.

    Args:
        tokens: int32 (B, K, T), static; padding at the end of each sequence.

    Returns:
        float32 (B, K, K), 0 to 1.
    """
    batch, count, length = tokens.shape
    orders = min(_ORDERS, length)
    same, total = None, None
    for n in range(orders):
        # Token n of the n-gram that begins at each place; beyond the end it is padding, which equals nothing.
        token = ops.pad(tokens[:, :, n:], ((0, 0), (0, 0), (0, n)), constant_values=PADDING)
        token = ops.reshape(token, (batch, count * length))
        left, right = ops.expand_dims(token, 2), ops.expand_dims(token, 1)
        equal = ops.cast(ops.logical_and(ops.equal(left, right), ops.not_equal(left, PADDING)), "float32")
        same = equal if same is None else same * equal
        # How often an n-gram of one sequence meets its like in another: the product of their counts.
        rows = ops.sum(ops.reshape(same, (batch * count, length, count * length)), axis=1)
        product = ops.sum(ops.reshape(rows, (batch, count, count, length)), axis=-1)
        squares = ops.sum(product * ops.eye(count), axis=-1)
        norms = ops.sqrt(ops.expand_dims(squares, 2) * ops.expand_dims(squares, 1))
        cosine = product / ops.maximum(norms, 1.0)
        total = cosine if total is None else total + cosine
    return total * (1.0 / orders)
