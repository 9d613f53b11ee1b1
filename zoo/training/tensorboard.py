"""What TensorBoard shows of training: losses, speed, memory, hyper-parameters and example answers.

    logs/train, logs/validation   the values of every epoch (the horizontal axis is the epoch, from 1); samples
    logs/steps                    the values of single steps, speed and memory (the axis is the step)
    logs/hparams                  hyper-parameters, and the values of the best epoch so far

They are four folders because a resumed run forgets what lies after its first step, and epochs and steps count
differently; and because the HPARAMS tab has one column for every scalar of the folder with the hyper-parameters.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from zoo.training.best import BestEpoch
from zoo.training.event_writer import EventWriter
from zoo.training.memory import device_bytes, host_bytes


class TensorBoardLogs(keras.callbacks.Callback):
    """Log steps, epochs, hyper-parameters, and example answers now and then.

    Args:
        folder: Log folder; the folders above go below it.
        first_step: The step this process begins at: 0, or where it resumes. Later values in older files are forgotten.
        examples_per_step: Size of the batch over all devices, for examples/s; None if that is of no interest.
        tokens_per_example: Tokens in an example with padding, for tokens/s; None for tasks without tokens.
        hparams: Hyper-parameters for the HPARAMS tab; None for no row in it.
        monitor: The value that decides which epoch is the best.
        monitor_mode: "min" or "max".
        history: Values of the epochs before `first_step` by name, as in history.json.
        sample: Returns (Markdown text, pictures) that show some answers of the model as it is now.
        sample_epochs: The epochs (from 0) after which `sample` is called.
    """

    def __init__(
        self,
        folder: Path,
        *,
        first_step: int = 0,
        examples_per_step: int | None = None,
        tokens_per_example: int | None = None,
        hparams: Mapping[str, bool | float | str] | None = None,
        monitor: str = "val_loss",
        monitor_mode: str = "min",
        history: Mapping[str, Sequence[float]] | None = None,
        sample: Callable[[], tuple[str, Sequence[np.ndarray]]] | None = None,
        sample_epochs: Sequence[int] = (),
    ) -> None:
        super().__init__()
        self.folder, self.first_step, self.hparams = folder, first_step, hparams
        self.sample, self.sample_epochs = sample, frozenset(sample_epochs)
        self.speed = _Speed(examples_per_step, tokens_per_example)
        self.best = BestEpoch(monitor=monitor, mode=monitor_mode, patience=0)
        self.best_values: dict[str, float] = {}
        past = history or {}
        for epoch, values in enumerate(zip(*past.values(), strict=True)):
            self._compare(epoch, dict(zip(past, values, strict=True)))
        self.writers: dict[str, EventWriter] = {}

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Open the event files."""
        steps = self.params.get("steps")
        epoch = self.first_step // steps + 1 if steps else 1
        for name in ("train", "validation"):
            self.writers[name] = EventWriter(self.folder / name, first_step=epoch)
        self.writers["steps"] = EventWriter(self.folder / "steps", first_step=self.first_step)
        if self.hparams is not None:
            self.writers["hparams"] = EventWriter(self.folder / "hparams", first_step=epoch)
            self.writers["hparams"].start_session(self.hparams)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Start the clock: what lies between two epochs, such as validation, is no training."""
        self.speed.start()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Write a step's values, where there are any."""
        self.speed.count()
        if not logs:
            return
        values = {f"step/{key}": value for key, value in logs.items()}
        values |= {f"speed/{key}": value for key, value in self.speed.read().items()}
        values |= {f"memory/{key}": value for key, value in device_bytes().items()}
        if (resident := host_bytes()) is not None:
            values["memory/host_bytes"] = resident
        for tag, value in values.items():
            self.writers["steps"].scalar(tag, float(value), batch)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Write the epoch's values."""
        step = epoch + 1
        values = {key: float(value) for key, value in (logs or {}).items()}
        for key, value in values.items():
            writer = self.writers["validation" if key.startswith("val_") else "train"]
            writer.scalar(f"epoch/{key.removeprefix('val_')}", value, step)
        self._compare(epoch, values)
        if "hparams" in self.writers:
            for key, value in self.best_values.items():
                self.writers["hparams"].scalar(f"best/{key}", value, step)
        if self.sample is not None and epoch in self.sample_epochs:
            text, pictures = self.sample()
            self.writers["validation"].text("samples/text", text, step)
            for index, picture in enumerate(pictures):
                self.writers["validation"].picture(f"samples/{index}", picture, step)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Say that all went well, and close the event files."""
        if "hparams" in self.writers:
            self.writers["hparams"].end_session()
        self.close()

    def close(self) -> None:
        """Close the event files; also called when training fails."""
        while self.writers:
            self.writers.popitem()[1].close()

    def _compare(self, epoch: int, values: Mapping[str, float]) -> None:
        """Keep the values of the best epoch so far, for the HPARAMS tab."""
        if self.best.update(epoch, values):
            shown = {key: value for key, value in values.items() if key.startswith("val_") or key == self.best.monitor}
            self.best_values = {"epoch": epoch + 1, **shown}


class _Speed:
    """The time of a step, over the interval since the last look; the first interval holds the compilation: no speed.

    The loop waits for the device where there are values to look at, so an interval holds the work of its steps alone.
    """

    def __init__(self, examples: int | None, tokens: int | None) -> None:
        self.examples, self.tokens = examples, tokens
        self.steps, self.since = 0, time.perf_counter()
        self.compiled = False

    def start(self) -> None:
        """Begin an interval."""
        self.steps, self.since = 0, time.perf_counter()

    def count(self) -> None:
        """Count a step."""
        self.steps += 1

    def read(self) -> dict[str, float]:
        """Return `step_seconds`, `examples_per_second` and `tokens_per_second`, and begin the next interval."""
        seconds = (time.perf_counter() - self.since) / self.steps
        self.start()
        if not self.compiled:
            self.compiled = True
            return {}
        found = {"step_seconds": seconds}
        if self.examples is not None:
            found["examples_per_second"] = self.examples / seconds
            if self.tokens is not None:
                found["tokens_per_second"] = self.examples * self.tokens / seconds
        return found
