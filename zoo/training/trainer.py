"""The steps and epochs of one training, from its state to its end."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterable, Iterator
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
from zoo.training.memory import peak_host_bytes
from zoo.training.stages import Stage, stages_of
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
        stage: Which stage this is; the only one when not given.
        last: Whether no stage follows.
        earlier: Of the stage before, which goes on here.
        on_policy: Whether the batches depend on the weights as they are.
        whole: The model whose weights are kept of the best epoch, where the engine's is a part of it.
        measure: Gives further values of an epoch; called with the weights to be judged.
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
        stage: Stage | None = None,
        last: bool = True,
        earlier: Trainer | None = None,
        on_policy: bool = False,
        whole: keras.Model | None = None,
        measure: Callable[[], dict[str, float]] | None = None,
    ) -> None:
        self.engine, self.train, self.steps, self.held_out, self.files = engine, train, steps, held_out, files
        self.stage = stage or stages_of(train)[0]
        self.last, self.on_policy = last, on_policy
        self.model = engine.model
        self.whole = whole or engine.model
        self.measure = measure
        self.batches: Any = iter(batches)
        self.best = BestEpoch(monitor=train.monitor, mode=train.monitor_mode, patience=train.patience)
        self.history: dict[str, list[float]] = {}
        self.stages: list[dict[str, Any]] = []
        self.step = self.epoch = self.first_epoch = 0
        self.seconds = 0.0
        self._callbacks = keras.callbacks.CallbackList(
            callbacks, add_history=False, add_progbar=False, model=self.model, epochs=train.epochs, steps=steps
        )
        self._follows = earlier is not None
        if earlier is not None:
            self.step, self.epoch, self.history, self.best = earlier.step, earlier.epoch, earlier.history, earlier.best
            self.stages, self._callbacks = earlier.stages, earlier._callbacks
            self.seconds = earlier.seconds + earlier.elapsed
            self.first_epoch = self.epoch
            self.best.wait(self.epoch)
        self._entered = self.seconds
        self._began = self._written = time.monotonic()
        self._last: dict[str, Any] | None = None

    @property
    def best_path(self) -> Path:
        """The weights of the best epoch so far."""
        return self.files.folder / "best.safetensors"

    @property
    def elapsed(self) -> float:
        """Seconds since `run` was called."""
        return time.monotonic() - self._began

    def run(self) -> None:
        """Train to the end of the stage, and leave the best weights so far in the model.

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
                if not self._follows:
                    self._callbacks.on_train_begin()
                while self.epoch < self.first_epoch + self.stage.epochs and not self.best.should_stop:
                    self._train_epoch()
                    self._end_epoch()
                if self.last:
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
        self.stages.append(
            {
                "name": self.stage.name,
                "epochs": self.epoch - self.first_epoch,
                "seconds": round(self.seconds + self.elapsed - self._entered, 1),
                "peak_bytes": peak_host_bytes(reset=True),
            }
        )
        self.engine.sync()
        # Of a stage that has ended before, and a next one that had begun, the best so far is another.
        for path in (self.files.folder / f"after-{self.stage.name}.safetensors", self.best_path):
            if path.exists():
                load_weights(self.whole, path)
                self.engine.changed()
                break

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
        self.first_epoch, self._entered = info.get("first_epoch", 0), info.get("entered", 0.0)
        self.stages = info.get("stages", [])
        self.best.wait(self.first_epoch)
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
            "stage": self.stage.name,
            "first_epoch": self.first_epoch,
            "entered": self._entered,
            "stages": self.stages,
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
            if self.on_policy:
                count = 1
                self.engine.sync()
            batches = [next(self.batches) for _ in range(count)]
            if self.on_policy:
                self.engine.changed()
            results = self.engine.step(batches)
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
            logs |= {f"val_{name}": value for name, value in measured.items()}
            if self.measure is not None:
                logs |= self.measure()
                self.engine.changed()  # Keras's predict on JAX puts new arrays into the variables
            self._watchdog.moved()
            logs["learning_rate"] = float(ops.convert_to_numpy(self.model.optimizer.learning_rate))
            for name in [*self.history, *(name for name in logs if name not in self.history)]:
                self.history.setdefault(name, [math.nan] * self.epoch).append(logs.get(name, math.nan))
            better = self.best.update(self.epoch, logs)
            if better and self.engine.devices.is_chief:
                save_weights(self.whole, self.best_path)
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
