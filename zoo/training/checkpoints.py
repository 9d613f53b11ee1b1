"""Keep the last and the best weights; stop early, and stop at once when the loss is not a number."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import keras

from zoo.errors import TrainingError
from zoo.weights import load_weights, save_weights


class Checkpoints(keras.callbacks.Callback):
    """Write `last.safetensors` after every epoch and `best.safetensors` when the monitored value improves.

    Args:
        folder: Where the two files go.
        monitor: Key of the epoch's logs.
        mode: "min" or "max".
        patience: Stop after this many epochs without improvement; 0 means never.
    """

    def __init__(self, folder: Path, *, monitor: str, mode: str, patience: int) -> None:
        super().__init__()
        self.folder, self.monitor, self.patience = folder, monitor, patience
        self.sign = 1.0 if mode == "min" else -1.0
        self.best = math.inf
        self.best_epoch = -1

    @property
    def last_path(self) -> Path:
        """The weights after the latest finished epoch."""
        return self.folder / "last.safetensors"

    @property
    def best_path(self) -> Path:
        """The weights of the best epoch."""
        return self.folder / "best.safetensors"

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Save, compare, and decide whether to stop."""
        logs = logs or {}
        if self.monitor not in logs:
            raise TrainingError(f"No value is named '{self.monitor}'; monitor one of {', '.join(sorted(logs))}.")
        value = self.sign * float(logs[self.monitor])
        save_weights(self.model, self.last_path)
        if value < self.best:
            self.best, self.best_epoch = value, epoch
            save_weights(self.model, self.best_path)
        elif self.patience and epoch - self.best_epoch >= self.patience:
            self.model.stop_training = True

    def restore(self, model: keras.Model) -> None:
        """Load the best weights; where no epoch gave a finite value, the last ones."""
        load_weights(model, self.best_path if self.best_path.exists() else self.last_path)


class StopOnNaN(keras.callbacks.Callback):
    """Raise when the training loss is not a number; checkpoints of earlier epochs stay.

    Args:
        every: Look every so many steps (looking waits for the device).
    """

    def __init__(self, every: int = 20) -> None:
        super().__init__()
        self.every = every
        self.epoch = 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Remember the epoch for the message."""
        self.epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Look now and then."""
        if batch % self.every == 0:
            self._check(logs, f"step {batch + 1}")

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Look before a checkpoint is written."""
        self._check(logs, "its end")

    def _check(self, logs: dict[str, Any] | None, where: str) -> None:
        loss = (logs or {}).get("loss")
        if loss is not None and not math.isfinite(float(loss)):
            raise TrainingError(
                f"The loss is {float(loss)} in epoch {self.epoch + 1} at {where}; the last good checkpoint is kept. "
                "Lower the learning rate, or check the data for extreme values."
            )
