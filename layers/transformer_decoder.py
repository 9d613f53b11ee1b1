"""Transformer decoder over tokens: embedding, blocks, logits, and one-token steps."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from zoo.layers._attention import check_built
from zoo.layers.byte_dropout import ByteDropout
from zoo.layers.layer_norm import LayerNorm
from zoo.layers.positional_encoding import PositionalEncoding
from zoo.layers.transformer_decoder_block import TransformerDecoderBlock

Tensor = Any
Cache = tuple[Tensor, ...]


@keras.saving.register_keras_serializable(package="zoo")
class TransformerDecoder(keras.layers.Layer):
    """Predicts the next token from those so far and a memory (Vaswani et al. 2017, sections 3.1 and 3.4; pre-norm).

    1. `x = dropout(sqrt(d_model) E[tokens] + P[position])`, `(batch, length, d_model)`, with trained tables `E` and
       `P`.
    2. `num_layers` times `TransformerDecoderBlock` with the memory, then a layer norm.
    3. `logits = x E^T + b` (Press and Wolf 2017), or `x W + b` without tied embeddings; float32 under every dtype
       policy.

    Masks: token 0 is padding; padded positions are dropped as keys of the self-attention. The memory has no padding.

    Decoding: `start` and `step` give one token at a time with a cache, a flat tuple of tensors of static shape that may
    be the state of a `while_loop` and whose first axis is the batch, so that a beam search may gather along it. Steps
    agree with `call`.

    Args:
        vocab_size: number of tokens, padding included.
        d_model: width of the blocks, a multiple of `num_heads`.
        num_heads: number of attention heads.
        mlp_dim: width of the blocks' hidden layer.
        num_layers: number of blocks.
        max_length: longest sequence of tokens.
        dropout: probability of dropping in training: embeddings, scores and residual branches.
        tie_embeddings: whether the logits use the embedding table.

    Call arguments:
        tokens: int32 `(batch, length)`, `length <= max_length`.
        memory: `(batch, keys, memory_dim)`.
        training: whether dropout is active.
        return_scores: also return the last block's scores over the memory, mean over heads, `(batch, length, keys)`.

    Returns:
        `logits` float32 `(batch, length, vocab_size)`, or the pair of it and the scores.

    Raises:
        ValueError: if `vocab_size`, `num_layers` or `max_length` is below 1.
    """

    def __init__(
        self,
        vocab_size: int,
        d_model: int,
        num_heads: int,
        mlp_dim: int,
        num_layers: int,
        max_length: int,
        dropout: float = 0.0,
        tie_embeddings: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        for name, value in {"vocab_size": vocab_size, "num_layers": num_layers, "max_length": max_length}.items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        self.vocab_size = vocab_size
        self.d_model = d_model
        self.num_heads = num_heads
        self.mlp_dim = mlp_dim
        self.num_layers = num_layers
        self.max_length = max_length
        self.dropout = dropout
        self.tie_embeddings = tie_embeddings
        policy = self.dtype_policy
        self.positions = PositionalEncoding("learned", max_length, name="positions", dtype=policy)
        self.embedding_dropout = ByteDropout(dropout, name="embedding_dropout", dtype=policy)
        self.blocks = [
            TransformerDecoderBlock(d_model, num_heads, mlp_dim, dropout, name=f"block_{index}", dtype=policy)
            for index in range(num_layers)
        ]
        self.final_norm = LayerNorm(name="final_norm", dtype=policy)

    def build(self, tokens_shape: tuple[Any, ...], memory_shape: tuple[Any, ...]) -> None:
        """Creates the weights for tokens `(batch, length)` and the memory `(batch, keys, memory_dim)`."""
        x_shape = (*tokens_shape, self.d_model)
        # The tables stay float32 in use: the head's logits are float32 under mixed precision too.
        table = {"shape": (self.vocab_size, self.d_model), "autocast": False}
        normal = keras.initializers.RandomNormal(stddev=self.d_model**-0.5)
        self.embedding = self.add_weight(name="embedding", initializer=normal, **table)
        if not self.tie_embeddings:
            self.head = self.add_weight(name="head", initializer="glorot_uniform", **table)
        self.head_bias = self.add_weight(
            name="head_bias", shape=(self.vocab_size,), initializer="zeros", autocast=False
        )
        self.positions.build(x_shape)
        self.embedding_dropout.build(x_shape)
        for block in self.blocks:
            block.build(x_shape, memory_shape)
        self.final_norm.build(x_shape)

    def call(self, tokens: Tensor, memory: Tensor, training: bool | None = None, return_scores: bool = False) -> Any:
        """See the class."""
        x = self.embedding_dropout(self.positions(self._embed(tokens)), training=training)
        mask = ops.not_equal(tokens, 0)
        scores = None
        for block in self.blocks:
            x, scores = block(x, memory, mask=mask, training=training, return_scores=True)
        logits = self._logits(self.final_norm(x))
        return (logits, ops.mean(scores, axis=1)) if return_scores else logits

    def start(self, memory: Tensor, max_length: int | None = None) -> Cache:
        """The cache before the first token: one flat tuple, four tensors a block (see `TransformerDecoderBlock.start`).

        Args:
            memory: `(batch, keys, memory_dim)`.
            max_length: number of tokens that will be decoded at most; None takes the layer's.
        """
        check_built(self)
        return tuple(tensor for block in self.blocks for tensor in block.start(memory, max_length or self.max_length))

    def step(self, tokens: Tensor, position: Tensor, cache: Cache) -> tuple[Tensor, Cache, Tensor]:
        """Reads one token and predicts the next, without dropout.

        Args:
            tokens: int32 `(batch,)`, the tokens at `position`.
            position: int32 scalar, counted from 0 and below the cache's length.
            cache: what `start` or the last `step` returned.

        Returns:
            `logits` float32 `(batch, vocab_size)`, the new cache, and the last block's scores over the memory, mean
            over heads, `(batch, keys)`.
        """
        check_built(self)
        x = self.positions.at(ops.expand_dims(self._embed(tokens), 1), position)
        updated: list[Tensor] = []
        scores = None
        for index, block in enumerate(self.blocks):
            x, block_cache, scores = block.step(x, cache[4 * index : 4 * index + 4], position)
            updated.extend(block_cache)
        logits = self._logits(ops.squeeze(self.final_norm(x), 1))
        return logits, tuple(updated), ops.squeeze(ops.mean(scores, axis=1), 1)

    def _embed(self, tokens: Tensor) -> Tensor:
        vectors = ops.take(ops.convert_to_tensor(self.embedding), tokens, axis=0)
        return ops.cast(vectors * self.d_model**0.5, self.compute_dtype)

    def _logits(self, x: Tensor) -> Tensor:
        table = ops.convert_to_tensor(self.embedding if self.tie_embeddings else self.head)
        return ops.matmul(ops.cast(x, "float32"), ops.transpose(ops.cast(table, "float32"))) + self.head_bias

    def get_config(self) -> dict[str, Any]:
        """Every constructor argument."""
        return {
            **super().get_config(),
            "vocab_size": self.vocab_size,
            "d_model": self.d_model,
            "num_heads": self.num_heads,
            "mlp_dim": self.mlp_dim,
            "num_layers": self.num_layers,
            "max_length": self.max_length,
            "dropout": self.dropout,
            "tie_embeddings": self.tie_embeddings,
        }
