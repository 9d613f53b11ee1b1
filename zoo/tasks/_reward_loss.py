"""The loss of self-critical training: a policy gradient."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from zoo.tasks._search import only_possible

Tensor = Any


@keras.saving.register_keras_serializable(package="zoo")
class PolicyLoss(keras.losses.Loss):
    """`-advantage log p[token]`, the loss whose gradient is REINFORCE's (Rennie et al. 2017, arXiv:1612.00563, eq. 7).

    The probability is that of the search: what may not follow has none. As in every training step dropout is active in
    it, which it is not where captions are drawn. Averaged by the sample weights, which are 0 at
    padding, so that the gradient is that of the mean over tokens.
    """

    def __init__(self, name: str = "policy_loss", **_: Any) -> None:
        super().__init__(name=name, reduction="mean_with_sample_weight", dtype="float32")

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Return the loss of every token, (..., T).

        Args:
            y_true: float32 (..., T, 2), the token that was drawn and its caption's advantage.
            y_pred: (..., T, V), logits.
        """
        logits = only_possible(ops.cast(y_pred, "float32"), ops.arange(y_pred.shape[-2], dtype="int32"))
        tokens, advantage = ops.cast(y_true[..., 0], "int32"), y_true[..., 1]
        return advantage * keras.losses.sparse_categorical_crossentropy(tokens, logits, from_logits=True)

    def get_config(self) -> dict[str, Any]:
        """Every constructor argument."""
        return {"name": self.name}
