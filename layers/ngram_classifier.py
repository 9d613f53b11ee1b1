"""A linear classifier over n-grams, each with weights of its own."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

Tensor = Any

LARGEST = 2**31 - 1


@keras.saving.register_keras_serializable(package="zoo")
class NGramClassifier(keras.layers.Layer):
    """Adds up the weights of a text's n-grams (a bag of n-grams as in Wang and Manning 2012), without hashing them.

    1. Every n-gram has a number. A single token's is its id. A longer n-gram, whose tokens but the last have the number
       `p` and whose last token is `t`, has the key `p V + t` (`V` = `vocab_size`); where that key stands at place `j`
       of the sorted `keys`, its number is `V + j`, else it is unknown, and with it every n-gram it begins. So one
       sorted table is a trie of n-grams of all lengths, no two share a row, and a place is found by binary search.
    2. `y = b + (sum over the known n-grams of w[number]) / sqrt(m)`, `(batch, num_classes)`; `m` is the number of
       all n-grams of the text, known or not, and at least 1.

    Nothing here is trained by gradients: `assign` gives the table that a solver has found. Until then every n-gram of
    two and more tokens is unknown and all weights are zero.

    Masks: none is taken; id 0 is padding, which stands at the end.

    Args:
        num_classes: number of classes.
        vocab_size: number of tokens.
        rows: most n-grams of two and more tokens; `vocab_size * (vocab_size + rows)` must be below 2^31.
        longest: number of tokens of the longest n-grams, at least 1.

    Call arguments:
        tokens: int32 `(batch, length)`, 0 = padding; `length` is static.

    Returns:
        `(batch, num_classes)`.

    Raises:
        ValueError: for a number out of range.
    """

    def __init__(self, num_classes: int, vocab_size: int, rows: int, longest: int = 2, **kwargs: Any) -> None:
        super().__init__(**{"trainable": False, **kwargs})
        if longest < 1 or rows < 1:
            raise ValueError(f"longest and rows must be at least 1, got {longest} and {rows}")
        if vocab_size * (vocab_size + rows) > LARGEST:
            raise ValueError(f"vocab_size * (vocab_size + rows) must be below 2^31, got {vocab_size} and {rows}")
        self.num_classes = num_classes
        self.vocab_size = vocab_size
        self.rows = rows
        self.longest = longest

    def build(self, tokens_shape: tuple[Any, ...]) -> None:
        """Creates an empty table for inputs `(batch, length)`."""
        if tokens_shape[1] is None:
            raise ValueError("NGramClassifier needs a static length")
        if self.longest > 1:
            self.keys = self.add_weight(
                name="keys",
                shape=(self.rows,),
                dtype="int32",
                initializer=keras.initializers.Constant(LARGEST),
                trainable=False,
                autocast=False,
            )
        count = self.vocab_size + (self.rows if self.longest > 1 else 0)
        self.table = self.add_weight(name="table", shape=(count, self.num_classes), initializer="zeros")
        self.bias = self.add_weight(name="bias", shape=(self.num_classes,), initializer="zeros")

    def assign(self, keys: Tensor, table: Tensor, bias: Tensor) -> None:
        """Take a solved table.

        Args:
            keys: int32 `(n,)`, ascending, n at most `rows`.
            table: float `(vocab_size + n, num_classes)`: `w` of every number.
            bias: float `(num_classes,)`.
        """
        if self.longest > 1:
            spare = self.rows - len(keys)
            self.keys.assign(ops.pad(ops.cast(keys, "int32"), (0, spare), constant_values=LARGEST))
            table = ops.pad(ops.cast(table, "float32"), ((0, spare), (0, 0)))
        self.table.assign(table)
        self.bias.assign(bias)

    def call(self, tokens: Tensor) -> Tensor:
        """See the class."""
        tokens = ops.cast(tokens, "int32")
        given = ops.not_equal(tokens, 0)
        length = ops.sum(ops.cast(given, "int32"), axis=1, keepdims=True)
        table = ops.convert_to_tensor(self.table)
        number = ops.where(given, tokens, -1)
        total, count = self._weights(table, number), length
        for order in range(2, self.longest + 1):
            before = ops.pad(number, ((0, 0), (1, 0)), constant_values=-1)[:, :-1]
            known = ops.logical_and(given, before >= 0)
            number = self._find(ops.where(known, before * self.vocab_size + tokens, -1))
            total = total + self._weights(table, number)
            count = count + ops.maximum(length - (order - 1), 0)
        root = ops.sqrt(ops.cast(ops.maximum(count, 1), self.compute_dtype))
        return total / root + ops.cast(self.bias, self.compute_dtype)

    def _weights(self, table: Tensor, number: Tensor) -> Tensor:
        """The sum of the rows of the known numbers, `(batch, num_classes)`."""
        rows = ops.cast(ops.take(table, ops.maximum(number, 0), axis=0), self.compute_dtype)
        return ops.sum(rows * ops.expand_dims(ops.cast(number >= 0, self.compute_dtype), -1), axis=1)

    def _find(self, wanted: Tensor) -> Tensor:
        """The numbers of keys, -1 where unknown: binary search for the last key that is not larger."""
        keys = ops.convert_to_tensor(self.keys)
        place = ops.zeros_like(wanted)
        step = 1 << (self.rows.bit_length() - 1)
        while step:
            further = ops.minimum(place + step, self.rows - 1)
            place = ops.where(ops.take(keys, further, axis=0) <= wanted, further, place)
            step //= 2
        return ops.where(ops.equal(ops.take(keys, place, axis=0), wanted), place + self.vocab_size, -1)

    def compute_output_shape(self, tokens_shape: tuple[Any, ...]) -> tuple[Any, ...]:
        """`(batch, num_classes)`."""
        return (tokens_shape[0], self.num_classes)

    def get_config(self) -> dict[str, Any]:
        """Every constructor argument."""
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "vocab_size": self.vocab_size,
            "rows": self.rows,
            "longest": self.longest,
        }
