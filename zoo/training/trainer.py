"""The steps and epochs of one training, from its state to its end."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from zoo.errors import ModelFileError, PreemptedError, TrainingError, ZooError
from zoo.training.best import BestEpoch
from zoo.training.config import TrainConfig
from zoo.training.engine import Batch, Engine
from zoo.training.interrupts import Signals, Watchdog
from zoo.training.state import StateFiles, history_of
from zoo.weights import load_weights, save_weights


class _Interrupted(Exception):
    """A signal arrived between two batches."""


class Trainer:
    """Takes steps, evaluates, writes checkpoints, and goes on from one.

    All that decides how training goes on is in the checkpoint (see `zoo.training.state`), so a training that was
    killed at any time and resumed gives the same losses as one that was not.

    Args:
        engine: Set up with the model.
        train: Hyper-parameters.
        steps: Steps an epoch.
        batches: Training batches without end (see `zoo.training.pipeline.training_batches`).
        held_out: Validation batches.
        files: Where checkpoints go.
        callbacks: Keras callbacks. `on_train_batch_end` gets the number of the step over the whole training and, every
            `log_every` steps, its `loss`, `gradient_norm` and `learning_rate`; the other steps get no values.
    """

    def __init__(
        self,
        engine: Engine,
        train: TrainConfig,
        *,
        steps: int,
        batches: Iterable[Batch],
        held_out: Iterable[Batch],
        files: StateFiles,
        callbacks: list[keras.callbacks.Callback],
    ) -> None:
        self.engine, self.train, self.steps, self.held_out, self.files = engine, train, steps, held_out, files
        self.model = engine.model
        self.batches: Any = iter(batches)
        self.best = BestEpoch(monitor=train.monitor, mode=train.monitor_mode, patience=train.patience)
        self.history: dict[str, list[float]] = {}
        self.step = 0
        self.epoch = 0
        self.seconds = 0.0
        self._began = self._written = time.monotonic()
        self._last: dict[str, Any] | None = None
        self._callbacks = keras.callbacks.CallbackList(
            callbacks, add_history=False, add_progbar=False, model=self.model, epochs=train.epochs, steps=steps
        )

    @property
    def best_path(self) -> Path:
        """The weights of the best epoch so far."""
        return self.files.folder / "best.safetensors"

    @property
    def elapsed(self) -> float:
        """Seconds since `run` was called."""
        return time.monotonic() - self._began

    def run(self) -> None:
        """Train to the end, and leave the best weights in the model.

        Raises:
            TrainingError: If the loss is not a number, or another process is gone.
            PreemptedError: On SIGTERM; a checkpoint was written.
            KeyboardInterrupt: On SIGINT; a checkpoint was written.
        """
        devices = self.engine.devices
        several = devices.process_count > 1
        gone = (
            f"Process {devices.process_index + 1} of {devices.process_count} has waited for "
            f"{self.train.stall_minutes:g} minutes; another one is gone or stuck. Start all of them again with "
            f"--resume {self.files.folder.parent}."
        )
        watchdog = Watchdog(60 * self.train.stall_minutes if several else 0.0, gone)
        self._began = self._written = time.monotonic()
        with Signals() as self._signals, watchdog as self._watchdog:
            try:
                self._callbacks.on_train_begin()
                while self.epoch < self.train.epochs and not self.best.should_stop:
                    self._train_epoch()
                    self._end_epoch()
                self._callbacks.on_train_end()
                self.engine.barrier()
            except _Interrupted:
                self._stop()
            except (ZooError, KeyboardInterrupt):
                raise
            except Exception as error:
                if not several:
                    raise
                first = str(error).strip().split("\n")[0][:200]
                raise TrainingError(
                    f"A step of process {devices.process_index + 1} of {devices.process_count} failed, most likely "
                    f"because another process is gone; start all of them again with "
                    f"--resume {self.files.folder.parent}. ({first})"
                ) from error
        self.engine.sync()
        if self.best_path.exists():
            load_weights(self.model, self.best_path)
            self.engine.changed()

    def restore(self, arrays: dict[str, np.ndarray], info: dict[str, Any]) -> None:
        """Go on from a checkpoint.

        Raises:
            ModelFileError: If it is of another model or training.
        """
        variables = self._variables()
        have = {(key, array.shape) for key, array in arrays.items() if not key.startswith("sums/")}
        need = {(key, tuple(variable.shape)) for key, variable in variables.items()}
        if have != need:
            key, shape = sorted(have ^ need)[0]
            raise ModelFileError(
                f"The checkpoint is of another model or training, such as in '{key}' of shape {shape}; train again."
            )
        self.engine.sync()
        for key, variable in variables.items():
            variable.assign(arrays[key])
        self.engine.changed()
        self.engine.sums = self.engine.place([arrays[f"sums/{i:04d}"] for i in range(len(self.engine.sums))])
        self.batches.set_state(info["batches"])
        self.best.restore(info["best"])
        self.step, self.epoch, self.seconds = info["step"], info["epoch"], info["seconds"]
        self.history = history_of(info)

    def checkpoint(self) -> None:
        """Write the present state; the first process does it for all."""
        self._written = time.monotonic()
        if not self.engine.devices.is_chief:
            return
        self.engine.sync()
        arrays = {key: ops.convert_to_numpy(variable) for key, variable in self._variables().items()}
        arrays |= {f"sums/{i:04d}": np.asarray(ops.convert_to_numpy(v)) for i, v in enumerate(self.engine.sums)}
        info = {
            "epoch": self.epoch,
            "seconds": round(self.seconds + self.elapsed, 1),
            "batches": self.batches.get_state(),
            "best": self.best.state(),
            "history": self.history,
        }
        try:
            self.files.write(self.step, arrays, info)
        except ZooError as error:
            whole = [path.name for path in self.files.paths()]
            kept = f"the checkpoint before, '{whole[0]}', is whole" if whole else "there is no checkpoint yet"
            raise TrainingError(
                f"{error} Training stops; {kept}. Make room, then: zoo train --resume {self.files.folder.parent}"
            ) from error

    def _variables(self) -> dict[str, keras.Variable]:
        """Return everything that a step changes, by a name that does not depend on automatic layer names."""
        groups = {"model": self.model.variables, "optimizer": self.model.optimizer.variables}
        return {
            f"{group}/{index:04d}/{variable.name}": variable
            for group, variables in groups.items()
            for index, variable in enumerate(variables)
        }

    def _train_epoch(self) -> None:
        """Take the steps of this epoch that are not taken yet."""
        self._callbacks.on_epoch_begin(self.epoch)
        end = (self.epoch + 1) * self.steps
        while self.step < end:
            count = min(self.train.steps_per_call, end - self.step)
            results = self.engine.step([next(self.batches) for _ in range(count)])
            self._watchdog.moved()
            for result in results:
                self.step += 1
                due = self.step % self.train.log_every == 0
                logs = {name: float(ops.convert_to_numpy(value)) for name, value in result.items()} if due else {}
                if due:
                    self._check(logs["loss"], f"step {self.step - self.epoch * self.steps}")
                self._callbacks.on_train_batch_end(self.step - 1, logs)
            self._last = results[-1]
            if self._signals.received:
                raise _Interrupted
            if time.monotonic() - self._written >= 60 * self.train.checkpoint_minutes and self.step < end:
                self._check_last("a checkpoint")
                self.checkpoint()

    def _end_epoch(self) -> None:
        """Evaluate, keep the best weights, tell the callbacks, and write a checkpoint."""
        logs = self.engine.results(self.engine.sums)
        self._check(logs["loss"], "its end")
        with self.engine.averaged():
            measured = self.engine.evaluate(self._until_interrupted(self.held_out))
            self._watchdog.moved()
            logs |= {f"val_{name}": value for name, value in measured.items()}
            logs["learning_rate"] = float(ops.convert_to_numpy(self.model.optimizer.learning_rate))
            for name, value in logs.items():
                self.history.setdefault(name, []).append(value)
            better = self.best.update(self.epoch, logs)
            if better and self.engine.devices.is_chief:
                save_weights(self.model, self.best_path)
            self._callbacks.on_epoch_end(self.epoch, logs)
            self.engine.changed()  # Keras's predict on JAX puts new arrays into the variables
        self.epoch += 1
        self.engine.sums = self.engine.zeros()
        self.checkpoint()

    def _until_interrupted(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        for batch in batches:
            if self._signals.received:
                raise _Interrupted
            yield batch

    def _check(self, loss: float, where: str) -> None:
        if not math.isfinite(loss):
            raise TrainingError(
                f"The loss is {loss} in epoch {self.epoch + 1} at {where}; the last good checkpoint is kept. "
                "Lower the learning rate, or check the data for extreme values."
            )

    def _check_last(self, where: str) -> None:
        if self._last is not None:
            self._check(float(ops.convert_to_numpy(self._last["loss"])), where)

    def _stop(self) -> None:
        """Write a checkpoint, and end as the signal asks."""
        self._check_last("an interrupt")
        self.checkpoint()
        if self._signals.received == signal.SIGTERM:
            raise PreemptedError(
                f"Stopped by SIGTERM after step {self.step}; a checkpoint was written. Go on with: "
                f"zoo train --resume {self.files.folder.parent}"
            )
        raise KeyboardInterrupt
