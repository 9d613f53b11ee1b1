"""The loss of captioning: cross-entropy of the next token with label smoothing."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

Tensor = Any


@keras.saving.register_keras_serializable(package="zoo")
class TokenLoss(keras.losses.Loss):
    """Cross-entropy of integer targets with label smoothing (Szegedy et al. 2016, arXiv:1512.00567, section 7).

    `-(1 - e) log p[target] - e mean(log p)` for each token, averaged by the sample weights, which are 0 at padding.

    Args:
        label_smoothing: e, the share of probability spread over all tokens.
        name: Name of the loss.
    """

    def __init__(self, label_smoothing: float = 0.0, name: str = "token_loss", **_: Any) -> None:
        super().__init__(name=name, reduction="mean_with_sample_weight")
        self.label_smoothing = label_smoothing

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Return the loss of every token, (B, T).

        Args:
            y_true: int (B, T), token ids.
            y_pred: (B, T, V), logits.
        """
        logits = ops.cast(y_pred, "float32")
        loss = keras.losses.sparse_categorical_crossentropy(y_true, logits, from_logits=True)
        if self.label_smoothing:
            # -mean(log p) = -log p[target] + logit[target] - mean(logits): no second softmax over the vocabulary
            target = ops.take_along_axis(logits, ops.expand_dims(ops.cast(y_true, "int32"), -1), axis=-1)
            loss = loss + self.label_smoothing * (ops.squeeze(target, -1) - ops.mean(logits, axis=-1))
        return loss

    def get_config(self) -> dict[str, Any]:
        """Every constructor argument."""
        return {"label_smoothing": self.label_smoothing, "name": self.name}
