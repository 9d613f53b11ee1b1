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
        # Of dense targets the backend computes loss and gradient in one pass.
        targets = ops.one_hot(ops.cast(y_true, "int32"), logits.shape[-1], dtype="float32")
        return keras.losses.categorical_crossentropy(
            targets, logits, from_logits=True, label_smoothing=self.label_smoothing
        )

    def get_config(self) -> dict[str, Any]:
        """Every constructor argument."""
        return {"label_smoothing": self.label_smoothing, "name": self.name}
