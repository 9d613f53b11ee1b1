"""Embeddings of hashed n-grams of tokens."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

Tensor = Any

# A prime and a multiplier whose product stays below 2^31, so that int32 never overflows; among such multipliers this
# one spreads pairs and gapped pairs best (the nearest two pairs with one code differ by at least 379 in their ids).
MODULUS = 131_071
MULTIPLIER = 11_381


def hash_ngrams(tokens: Tensor, order: int, buckets: int) -> Tensor:
    """Hash the n-gram that ends at every position.

    `h_1 = token mod 131071`, `h_k = (11381 h_(k-1) + next token) mod 131071`, bucket `= h_order mod buckets`, from the
    oldest token of the n-gram to the newest.

    Args:
        tokens: int32 `(batch, length)` of ids from 0 to 2^29, 0 = padding.
        order: number of tokens of an n-gram, at least 1.
        buckets: number of buckets.

    Returns:
        int32 `(batch, length)` of buckets, and boolean `(batch, length)`: True where the n-gram holds no padding and
        does not start before the text.
    """
    length = tokens.shape[1]
    order = min(order, length + 1)
    code = ops.zeros_like(tokens)
    whole = ops.ones_like(ops.not_equal(tokens, 0))
    for back in range(order - 1, -1, -1):
        shifted = ops.pad(tokens, ((0, 0), (back, 0)))[:, :length] if back else tokens
        code = ops.mod(code * MULTIPLIER + shifted, MODULUS)
        whole = ops.logical_and(whole, ops.not_equal(shifted, 0))
    return ops.mod(code, buckets), whole


@keras.saving.register_keras_serializable(package="zoo")
class NGramEmbedding(keras.layers.Layer):
    """Adds up the vectors of the n-grams that end at each position (hashing as in Joulin et al. 2017, section 2.1).

    1. For every order `n`, the n-gram of tokens `t - n + 1 ... t` is hashed into one of `buckets` rows of a table of
       its own (see `hash_ngrams`).
    2. `y_t = sum over n of table_n[bucket]`, `(batch, length, dim)`; an n-gram that reaches before the text or into
       padding counts as zero.

    With `bag=True` the positions are added up too and divided by the square root of the number of n-grams,
    `(batch, dim)`: with `dim` = number of classes this is a linear classifier over a bag of n-grams.

    Masks: none is taken; id 0 is padding.

    Args:
        dim: width of the vectors.
        buckets: rows of each order's table, at most 131,071.
        orders: lengths of the n-grams, each at least 1.
        bag: whether the positions are added up.
        initializer: initial values of the tables.
        scale: factor on the output. Adam moves every weight about equally far a step; a factor lets a weight reach
            further in as many steps.
        vocab_size: rows of the table of order 1, so that every token has its own; None gives it `buckets` rows too.

    Call arguments:
        tokens: int32 `(batch, length)`, 0 = padding; `length` is static.

    Returns:
        `(batch, length, dim)`, or `(batch, dim)` with `bag`.

    Raises:
        ValueError: for no order, an order below 1, or a number of buckets out of range.
    """

    def __init__(
        self,
        dim: int,
        buckets: int,
        orders: tuple[int, ...] = (2,),
        bag: bool = False,
        initializer: str = "uniform",
        scale: float = 1.0,
        vocab_size: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not orders or min(orders) < 1:
            raise ValueError(f"orders must be one or more numbers of at least 1, got {tuple(orders)}")
        if not 1 <= buckets <= MODULUS:
            raise ValueError(f"buckets must be 1 to {MODULUS}, got {buckets}")
        self.dim = dim
        self.buckets = buckets
        self.orders = tuple(orders)
        self.bag = bag
        self.initializer = initializer
        self.scale = scale
        self.vocab_size = vocab_size

    def build(self, tokens_shape: tuple[Any, ...]) -> None:
        """Creates one table an order for inputs `(batch, length)`."""
        if tokens_shape[1] is None:
            raise ValueError("NGramEmbedding needs a static length")
        self.tables = [
            self.add_weight(
                name=f"table_{order}",
                shape=(self._rows(order), self.dim),
                initializer=self.initializer,
            )
            for order in self.orders
        ]

    def call(self, tokens: Tensor) -> Tensor:
        """See the class."""
        tokens = ops.cast(tokens, "int32")
        hashed = [hash_ngrams(tokens, order, self._rows(order)) for order in self.orders]
        keep = ops.stack([ops.cast(whole, self.compute_dtype) for _, whole in hashed], axis=-1)
        total = 0.0
        for i, (table, (bucket, _)) in enumerate(zip(self.tables, hashed, strict=True)):
            vectors = ops.take(ops.convert_to_tensor(table), bucket, axis=0)
            total = total + ops.cast(vectors, self.compute_dtype) * keep[:, :, i : i + 1]
        total = total * self.scale
        if not self.bag:
            return total
        count = ops.maximum(ops.sum(keep, axis=(1, 2)), 1.0)
        return ops.sum(total, axis=1) / ops.expand_dims(ops.sqrt(count), -1)

    def _rows(self, order: int) -> int:
        """The number of rows of the table of an order."""
        return self.vocab_size if order == 1 and self.vocab_size else self.buckets

    def compute_output_shape(self, tokens_shape: tuple[Any, ...]) -> tuple[Any, ...]:
        """`(batch, dim)` with `bag`, else `(batch, length, dim)`."""
        return (tokens_shape[0], self.dim) if self.bag else (*tokens_shape, self.dim)

    def get_config(self) -> dict[str, Any]:
        """Every constructor argument."""
        return {
            **super().get_config(),
            "dim": self.dim,
            "buckets": self.buckets,
            "orders": list(self.orders),
            "bag": self.bag,
            "initializer": self.initializer,
            "scale": self.scale,
            "vocab_size": self.vocab_size,
        }
