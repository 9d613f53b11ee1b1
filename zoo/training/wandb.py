"""Weights & Biases, for those who have it: the values of steps and epochs, through its own Keras callback."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras

from zoo.errors import TrainingError, is_installed, require

PROJECT = "attention-zoo"


class WandbLogs(keras.callbacks.Callback):
    """Send every logged step and epoch to Weights & Biases.

    `WANDB_MODE=offline` keeps everything below `<run folder>/wandb`, for `wandb sync` later; other settings of W&B
    are taken from its environment variables too.

    Its `WandbMetricsLogger` imports TensorFlow. Where that is not installed (a Colab TPU has JAX only), the same values
    go out under the same names without it.

    Args:
        folder: The run folder; its name is the run's.
        plan: What is trained on what, as plain values. A resumed training is a second run of the same name.

    Raises:
        MissingExtraError: If wandb is not installed.
        TrainingError: If W&B does not start, for example because nobody is logged in.
    """

    def __init__(self, folder: Path, plan: Mapping[str, Any]) -> None:
        super().__init__()
        wandb = require("wandb", extra="wandb", purpose="Logging to Weights & Biases")
        try:
            self.run = wandb.init(
                project=PROJECT,
                name=folder.name,
                dir=str(folder),
                config=dict(plan),
                # Its own lines on the terminal would break the progress bar's.
                settings=wandb.Settings(console="off", silent=True),
            )
        except wandb.Error as error:
            raise TrainingError(
                f"Weights & Biases cannot start: {error} Log in with 'wandb login', or set WANDB_MODE=offline."
            ) from error
        wandb.define_metric("epoch/*", step_metric="epoch/epoch")  # its callback does one of the two
        self.logger = _keras_logger() if is_installed("tensorflow") else _PlainLogger(wandb)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Send a step's values, where there are any."""
        if logs:
            self.logger.global_batch = batch
            self.logger.on_train_batch_end(batch, dict(logs))

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Send the epoch's values."""
        self.logger.on_epoch_end(epoch, dict(logs or {}))

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """End the run as a success."""
        self._finish(0)

    def close(self) -> None:
        """End the run as a failure, if it has not ended; called in any case."""
        self._finish(1)

    def _finish(self, code: int) -> None:
        if self.run is not None:
            self.run.finish(exit_code=code)
            self.run = None


def _keras_logger() -> Any:
    module = require("wandb.integration.keras", extra="wandb", purpose="Logging to Weights & Biases")

    class Logger(module.WandbMetricsLogger):  # type: ignore[name-defined]
        def _get_lr(self) -> None:
            """Give nothing: the rate is in our logs, and on JAX W&B fails where it follows a schedule."""

    return Logger(log_freq="batch")


class _PlainLogger:
    """What `WandbMetricsLogger` sends, without TensorFlow."""

    def __init__(self, wandb: Any) -> None:
        self.wandb, self.global_batch = wandb, 0
        wandb.define_metric("batch/batch_step")
        wandb.define_metric("batch/*", step_metric="batch/batch_step")

    def on_train_batch_end(self, batch: int, logs: dict[str, float]) -> None:
        """Send a step's values."""
        values = {f"batch/{key}": value for key, value in logs.items()}
        self.wandb.log({**values, "batch/batch_step": self.global_batch})

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        """Send an epoch's values."""
        self.wandb.log({**{f"epoch/{key}": value for key, value in logs.items()}, "epoch/epoch": epoch})
