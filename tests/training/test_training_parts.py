"""Batches, optimizer, checkpoints and TensorBoard logs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from zoo.errors import ModelFileError, TrainingError
from zoo.training.checkpoints import Checkpoints, StopOnNaN
from zoo.training.config import TrainConfig
from zoo.training.optimizer import make_optimizer
from zoo.training.pipeline import evaluation_batches, training_batches
from zoo.training.tensorboard import EventWriter
from zoo.weights import load_weights, save_weights


class Numbers:
    """Examples 0, 1, 2, ... with noise drawn in training."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def batch(self, indices: np.ndarray, rng: np.random.Generator | None) -> tuple[dict[str, np.ndarray], Any, None]:
        noise = rng.normal(size=len(indices)) if rng is not None else np.zeros(len(indices))
        return {"x": noise}, np.asarray(indices), None


def _epochs(seed: int, count: int = 10, batch: int = 3, epochs: int = 2) -> list[tuple[list[int], float]]:
    dataset = training_batches(Numbers(count), batch_size=batch, epochs=epochs, seed=seed)
    return [(list(map(int, targets)), float(inputs["x"].sum())) for inputs, targets in dataset]


def test_training_batches_shuffle_by_seed() -> None:
    first, again, other = _epochs(1), _epochs(1), _epochs(2)
    assert first == again != other
    assert len(first) == 6
    for epoch in (first[:3], first[3:]):
        seen = [index for indices, _ in epoch for index in indices]
        assert len(set(seen)) == 9
    assert [indices for indices, _ in first[:3]] != [indices for indices, _ in first[3:]]
    assert len({noise for _, noise in first}) == 6


def test_evaluation_batches_are_in_order_and_complete() -> None:
    batches = list(evaluation_batches(Numbers(7), batch_size=3))
    assert [list(targets) for _, targets in batches] == [[0, 1, 2], [3, 4, 5], [6]]
    assert all((inputs["x"] == 0).all() for inputs, _ in batches)


def test_schedule_rises_and_falls_to_zero() -> None:
    optimizer = make_optimizer(TrainConfig(learning_rate=1.0, warmup=0.1), 100)
    rates = [float(optimizer._learning_rate(step)) for step in (0, 5, 10, 55, 100)]
    np.testing.assert_allclose(rates, [0.0, 0.5, 1.0, 0.5, 0.0], atol=1e-6)


def test_weight_decay_leaves_biases_alone() -> None:
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, bias_initializer="ones")])
    optimizer = make_optimizer(TrainConfig(learning_rate=0.1, warmup=0.0, weight_decay=0.5), 10)
    model.compile(optimizer, "mse")
    kernel, bias = (keras.ops.convert_to_numpy(weight) for weight in model.weights)
    target = model.predict_on_batch(np.ones((4, 2)))
    model.train_on_batch(np.ones((4, 2)), target)  # no gradient: only decay acts
    np.testing.assert_allclose(keras.ops.convert_to_numpy(model.weights[0]), kernel * 0.95, rtol=1e-5)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(model.weights[1]), bias)


def _model() -> keras.Model:
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.1), "mse")
    return model


def test_best_weights_are_restored(tmp_path: Path) -> None:
    model = _model()
    checkpoints = Checkpoints(tmp_path, monitor="val_loss", mode="min", patience=2)
    checkpoints.set_model(model)
    for epoch, loss in enumerate((3.0, 1.0, 2.0, 4.0)):
        model.set_weights([np.full((1, 1), float(epoch)), np.zeros(1)])
        checkpoints.on_epoch_end(epoch, {"val_loss": loss})
    assert model.stop_training
    checkpoints.restore(model)
    assert float(keras.ops.convert_to_numpy(model.weights[0])[0, 0]) == 1.0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.safetensors", "last.safetensors"]


def test_unknown_monitor_names_the_known(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, monitor="val_los", mode="min", patience=0)
    checkpoints.set_model(_model())
    with pytest.raises(TrainingError, match="'val_los'; monitor one of loss, val_loss"):
        checkpoints.on_epoch_end(0, {"loss": 1.0, "val_loss": 1.0})


def test_nan_stops_and_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    model = _model()
    x = np.ones((8, 1), np.float32)
    checkpoints = Checkpoints(tmp_path, monitor="loss", mode="min", patience=0)
    model.fit(x, x, epochs=1, verbose=0, callbacks=[StopOnNaN(), checkpoints])
    good = checkpoints.last_path.read_bytes()
    with pytest.raises(TrainingError, match="The loss is nan in epoch 1"):
        model.fit(x, x * np.nan, epochs=1, verbose=0, callbacks=[StopOnNaN(), checkpoints])
    assert checkpoints.last_path.read_bytes() == good


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_weights(_model(), path)
    other = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    with pytest.raises(ModelFileError, match="another model or configuration"):
        load_weights(other, path)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(ModelFileError, match="damaged"):
        load_weights(_model(), path)
    with pytest.raises(ModelFileError, match="No such file"):
        load_weights(_model(), tmp_path / "none.safetensors")


def test_event_files_are_read_by_tensorboard(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    writer = EventWriter(tmp_path)
    writer.scalar("epoch/loss", 0.25, 3)
    writer.text("samples/text", "**bold**", 3)
    writer.picture("samples/0", np.full((4, 6, 3), 200, np.uint8), 3)
    writer.close()
    events = EventAccumulator(str(tmp_path)).Reload()
    scalar = events.Scalars("epoch/loss")[0] if "epoch/loss" in events.Tags()["scalars"] else None
    value = scalar.value if scalar else float(events.Tensors("epoch/loss")[0].tensor_proto.float_val[0])
    assert value == 0.25
    assert events.Tensors("samples/text")[0].tensor_proto.string_val[0] == b"**bold**"
    if "samples/0" in events.Tags()["images"]:
        image = events.Images("samples/0")[0]
        assert (image.height, image.width, image.encoded_image_string[:4]) == (4, 6, b"\x89PNG")
    else:
        assert events.Tensors("samples/0")[0].tensor_proto.string_val[2][:4] == b"\x89PNG"
