"""Pre-norm Transformer encoder block."""

from __future__ import annotations

from typing import Any

import keras

from zoo.layers._activation import activate
from zoo.layers.byte_dropout import ByteDropout
from zoo.layers.layer_norm import LayerNorm
from zoo.layers.self_attention import MultiHeadSelfAttention

Tensor = Any


@keras.saving.register_keras_serializable(package="zoo")
class TransformerEncoderBlock(keras.layers.Layer):
    """Self-attention and a two-layer network, each with a residual path (Xiong et al. 2020, figure 1b, "Pre-LN").

    1. `h = x + dropout(self_attention(layer_norm(x)))`.
    2. `y = h + dropout(W_2 activation(W_1 layer_norm(h)))`.

    All tensors are `(batch, length, d_model)`; the hidden layer of step 2 is `mlp_dim` wide. There is no norm after the
    last block: add one.

    Masks: see `MultiHeadSelfAttention`; `causal`, `window`, `rotary` and the scores are its own.

    Args:
        d_model: width of the input and the output, a multiple of `num_heads`.
        num_heads: number of attention heads.
        mlp_dim: width of the hidden layer.
        dropout: probability of dropping a score or a value of a residual branch in training.
        activation: name of the hidden layer's activation.
        causal: whether later positions are hidden.
        window: width of the local attention band in positions, or None.
        rotary: whether positions are given by rotation of queries and keys.

    Call arguments:
        x: `(batch, length, d_model)`.
        mask: boolean `(batch, length)`, True = keep, or None.
        training: whether dropout is active.
        return_scores: also return the scores `(batch, heads, length, length)`.

    Returns:
        `(batch, length, d_model)`, or the pair of it and the scores.
    """

    def __init__(
        self,
        d_model: int,
        num_heads: int,
        mlp_dim: int,
        dropout: float = 0.0,
        activation: str = "gelu",
        causal: bool = False,
        window: int | None = None,
        rotary: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.d_model = d_model
        self.num_heads = num_heads
        self.mlp_dim = mlp_dim
        self.dropout = dropout
        self.activation = activation
        self.causal = causal
        self.window = window
        self.rotary = rotary
        self.supports_masking = True
        policy = self.dtype_policy
        self.attention_norm = LayerNorm(name="attention_norm", dtype=policy)
        self.attention = MultiHeadSelfAttention(
            d_model, num_heads, dropout, causal, window, rotary, name="attention", dtype=policy
        )
        self.mlp_norm = LayerNorm(name="mlp_norm", dtype=policy)
        self.mlp_hidden = keras.layers.Dense(mlp_dim, name="mlp_hidden", dtype=policy)
        self.mlp_out = keras.layers.Dense(d_model, name="mlp_out", dtype=policy)
        self.attention_dropout = ByteDropout(dropout, name="attention_dropout", dtype=policy)
        self.mlp_dropout = ByteDropout(dropout, name="mlp_dropout", dtype=policy)

    def build(self, x_shape: tuple[Any, ...]) -> None:
        """Creates the weights for inputs `(batch, length, d_model)`."""
        for layer in (self.attention_norm, self.attention, self.mlp_norm, self.mlp_hidden):
            layer.build(x_shape)
        self.mlp_out.build((*x_shape[:-1], self.mlp_dim))
        self.attention_dropout.build(x_shape)
        self.mlp_dropout.build(x_shape)

    def call(
        self,
        x: Tensor,
        mask: Tensor | None = None,
        training: bool | None = None,
        return_scores: bool = False,
    ) -> Any:
        """See the class."""
        h, scores = self.attention(self.attention_norm(x), mask=mask, training=training, return_scores=True)
        x = x + self.attention_dropout(h, training=training)
        h = activate(self.mlp_hidden(self.mlp_norm(x)), self.activation, training)
        x = x + self.mlp_dropout(self.mlp_out(h), training=training)
        return (x, scores) if return_scores else x

    def get_config(self) -> dict[str, Any]:
        """Every constructor argument."""
        return {
            **super().get_config(),
            "d_model": self.d_model,
            "num_heads": self.num_heads,
            "mlp_dim": self.mlp_dim,
            "dropout": self.dropout,
            "activation": self.activation,
            "causal": self.causal,
            "window": self.window,
            "rotary": self.rotary,
        }
