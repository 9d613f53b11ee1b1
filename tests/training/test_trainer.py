"""The steps and epochs of a training, on a model small enough to compute by hand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from zoo.errors import ModelFileError, TrainingError
from zoo.training.config import TrainConfig
from zoo.training.devices import Devices
from zoo.training.engine import Batch, Engine, make_engine
from zoo.training.state import StateFiles
from zoo.training.trainer import Trainer


class Batches:
    """Batches of y = 2 x without end, with a position; from step `bad` on the targets are not numbers."""

    def __init__(self, bad: int = 10**9) -> None:
        self.bad, self.step = bad, 0

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        x = np.random.default_rng(self.step).normal(size=(8, 1)).astype(np.float32)
        y = 2 * x if self.step < self.bad else x * np.nan
        self.step += 1
        return {"x": x}, y, np.linspace(0, 1, 8, dtype=np.float32)

    def get_state(self) -> dict[str, int]:
        return {"step": self.step}

    def set_state(self, state: dict[str, int]) -> None:
        self.step = state["step"]


class Steps(keras.callbacks.Callback):
    """Remembers what the callbacks are told."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[tuple[int, dict[str, Any]]] = []
        self.epochs: list[dict[str, Any]] = []

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self.steps.append((batch, dict(logs or {})))

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.epochs.append(dict(logs or {}))


def _engine(train: TrainConfig, units: int = 1) -> Engine:
    keras.utils.set_random_seed(0)
    engine = make_engine(Devices("one", "a test"), train)
    x = keras.Input((1,), name="x")
    model = keras.Model({"x": x}, keras.layers.Dense(units, kernel_initializer="zeros")(x))
    loss = keras.losses.MeanSquaredError(reduction="mean_with_sample_weight")
    model.compile(keras.optimizers.SGD(0.1), loss, weighted_metrics=[keras.metrics.MeanAbsoluteError(name="mae")])
    engine.setup(model, next(Batches()))
    return engine


def _trainer(folder: Path, batches: Any = None, **settings: Any) -> tuple[Trainer, Steps]:
    train = TrainConfig(epochs=3, clip_norm=0.0, log_every=2, **settings)
    told = Steps()
    trainer = Trainer(
        _engine(train),
        train,
        steps=4,
        batches=batches or Batches(),
        held_out=[next(Batches())],
        files=StateFiles(folder),
        callbacks=[told],
    )
    return trainer, told


def test_a_step_is_what_one_computes_by_hand() -> None:
    engine = _engine(TrainConfig(clip_norm=0.5))
    inputs, targets, weights = next(Batches())
    share = weights / weights.sum()
    gradient = float((share * 2 * (0 - targets[:, 0]) * inputs["x"][:, 0]).sum())
    bias = float((share * 2 * (0 - targets[:, 0])).sum())
    norm = np.hypot(gradient, bias)
    (result,) = engine.step([(inputs, targets, weights)])
    np.testing.assert_allclose(float(result["loss"]), (share * targets[:, 0] ** 2).sum(), rtol=1e-5)
    np.testing.assert_allclose(float(result["gradient_norm"]), norm, rtol=1e-5)
    np.testing.assert_allclose(float(result["learning_rate"]), 0.1, rtol=1e-6)
    engine.sync()
    scale = 0.1 * min(1.0, 0.5 / norm)
    kernel, offset = (keras.ops.convert_to_numpy(weight).item() for weight in engine.model.weights)
    np.testing.assert_allclose([kernel, offset], [-scale * gradient, -scale * bias], rtol=1e-5)


def test_evaluation_counts_examples_by_their_weight() -> None:
    engine = _engine(TrainConfig())
    x = np.arange(1, 9, dtype=np.float32)[:, None]
    weights = np.array([1, 1, 1, 1, 1, 0, 0, 0], np.float32)
    logs = engine.evaluate([({"x": x}, x, np.ones(8, np.float32)), ({"x": x}, 3 * x, weights)])
    errors = np.concatenate([x[:, 0], 3 * x[:5, 0]])
    assert logs.keys() == {"loss", "mae"}
    np.testing.assert_allclose([logs["loss"], logs["mae"]], [(errors**2).mean(), errors.mean()], rtol=1e-6)


def test_callbacks_are_told_every_step_and_values_now_and_then(tmp_path: Path) -> None:
    trainer, told = _trainer(tmp_path)
    trainer.run()
    assert [step for step, _ in told.steps] == list(range(12))
    assert [sorted(logs) for _, logs in told.steps[:2]] == [[], ["gradient_norm", "learning_rate", "loss"]]
    assert [set(logs) for logs in told.epochs] == [{"loss", "mae", "val_loss", "val_mae", "learning_rate"}] * 3
    assert trainer.history["loss"] == [logs["loss"] for logs in told.epochs]
    assert trainer.history["loss"][2] < trainer.history["loss"][0]


def test_training_goes_on_from_any_checkpoint(tmp_path: Path) -> None:
    whole, _ = _trainer(tmp_path / "whole", checkpoint_minutes=0.0)
    whole.run()
    for stop in (1, 4, 7, 11):
        first, _ = _trainer(tmp_path / str(stop), Batches(bad=stop), checkpoint_minutes=0.0)
        with pytest.raises(TrainingError, match=r"The loss is nan .* the last good checkpoint is kept"):
            first.run()
        stored = first.files.read_newest(print)
        assert stored is not None and 0 < stored[1]["step"] <= stop
        second, _ = _trainer(tmp_path / str(stop), checkpoint_minutes=0.0)
        second.restore(*stored)
        second.run()
        assert second.history == whole.history
        for left, right in zip(second.model.get_weights(), whole.model.get_weights(), strict=True):
            np.testing.assert_array_equal(left, right)


def test_the_best_weights_are_in_the_model_at_the_end(tmp_path: Path) -> None:
    trainer, _ = _trainer(tmp_path, monitor="val_mae", monitor_mode="max")
    trainer.run()
    mae = trainer.history["val_mae"]
    assert trainer.best.best_epoch == int(np.argmax(mae)) == 0  # the worst: it is asked for the largest error
    np.testing.assert_allclose(trainer.engine.evaluate([next(Batches())])["loss"], trainer.history["val_loss"][0])


def test_a_validation_that_is_no_number_is_kept_as_such(tmp_path: Path) -> None:
    trainer, _ = _trainer(tmp_path)
    inputs, targets, weights = next(Batches())
    trainer.held_out = [(inputs, targets * np.nan, weights)]
    trainer.run()
    stored = trainer.files.read_newest(print)
    assert stored is not None and stored[1]["history"]["val_loss"] == [None] * 3
    again, _ = _trainer(tmp_path)
    again.restore(*stored)
    assert np.isnan(again.history["val_loss"]).all() and np.isfinite(again.history["loss"]).all()
    assert again.best.best is None


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    trainer, _ = _trainer(tmp_path)
    trainer.checkpoint()
    stored = trainer.files.read_newest(print)
    assert stored is not None
    stored[0]["model/0000/kernel"] = np.zeros((2, 1), np.float32)
    with pytest.raises(ModelFileError, match="is of another model or training, such as in 'model/0000/kernel'"):
        trainer.restore(*stored)
