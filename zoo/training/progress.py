"""A live progress bar on a terminal, a line an epoch elsewhere."""

from __future__ import annotations

import time
from typing import Any

import keras
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class ProgressBar(keras.callbacks.Callback):
    """Show epochs, steps, losses and the time left.

    Args:
        epochs: Number of epochs.
        steps_per_epoch: Steps in one.
        console: Where to show it; standard error by default, so that `--json` output stays clean.
        first_step: Steps that are done already.
    """

    def __init__(
        self, epochs: int, steps_per_epoch: int, console: Console | None = None, *, first_step: int = 0
    ) -> None:
        super().__init__()
        self.epochs, self.steps_per_epoch = epochs, steps_per_epoch
        self.console = console or Console(stderr=True)
        self.progress: Progress | None = None
        self.started = 0.0
        self.step = first_step

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Open the bar."""
        self.started = time.monotonic()
        if self.console.is_terminal:
            columns = (
                TextColumn("[bold]{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
            )
            self.progress = Progress(*columns, console=self.console)
            self.progress.start()
            self.bar = self.progress.add_task(
                f"epoch {self.step // self.steps_per_epoch + 1}",
                total=self.epochs * self.steps_per_epoch,
                completed=self.step,
            )

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Advance the bar."""
        self.step += 1
        if self.progress is not None and self.step % 5 == 0:
            self.progress.update(self.bar, completed=self.step)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Say how the epoch went."""
        shown = {key: float(value) for key, value in (logs or {}).items() if key != "learning_rate"}
        order = sorted(shown, key=lambda key: (key.startswith("val_"), not key.endswith("loss"), len(key)))
        values = "  ".join(f"{key} {shown[key]:.4f}" for key in order)
        seconds = time.monotonic() - self.started
        self.console.print(
            f"epoch {epoch + 1}/{self.epochs}  {values}  [{seconds:.0f} s]",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
        if self.progress is not None:
            self.progress.update(self.bar, description=f"epoch {min(epoch + 2, self.epochs)}", completed=self.step)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Close the bar."""
        self.close()

    def close(self) -> None:
        """Close the bar; also called when training fails."""
        if self.progress is not None:
            self.progress.stop()
            self.progress = None
