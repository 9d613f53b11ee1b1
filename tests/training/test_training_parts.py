"""Batches, optimizer, checkpoints and TensorBoard logs."""

from __future__ import annotations

import itertools
import json
import math
import os
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.errors import ConfigError, ModelFileError, TrainingError, ZooError
from zoo.training.best import BestEpoch
from zoo.training.config import TrainConfig
from zoo.training.interrupts import Signals, Watchdog
from zoo.training.optimizer import make_optimizer
from zoo.training.pipeline import evaluation_batches, training_batches
from zoo.training.state import StateFiles, read_state_file
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


def _epochs(seed: int, count: int = 10, batch: int = 3, epochs: int = 2, **parts: int) -> list[tuple[list[int], float]]:
    dataset = training_batches(Numbers(count), batch_size=batch, seed=seed, **parts)
    batches = itertools.islice(dataset, epochs * (count // batch))
    return [(list(map(int, targets)), float(inputs["x"].sum())) for inputs, targets, _ in batches]


def test_training_batches_shuffle_by_seed() -> None:
    first, again, other = _epochs(1), _epochs(1), _epochs(2)
    assert first == again != other
    assert len(first) == 6
    for epoch in (first[:3], first[3:]):
        seen = [index for indices, _ in epoch for index in indices]
        assert len(set(seen)) == 9
    assert [indices for indices, _ in first[:3]] != [indices for indices, _ in first[3:]]
    assert len({noise for _, noise in first}) == 6


def test_processes_gather_their_own_rows_of_one_stream() -> None:
    whole = _epochs(1, count=12, batch=4)
    parts = [_epochs(1, count=12, batch=4, process_index=index, process_count=2) for index in (0, 1)]
    for (indices, _), (left, noise), (right, other) in zip(whole, *parts, strict=True):
        assert left + right == indices
        assert noise != other


@settings(deadline=None, max_examples=15)
@given(steps=st.integers(0, 12), seed=st.integers(0, 100))
def test_the_position_in_the_data_is_exact(steps: int, seed: int) -> None:
    def begin() -> Any:
        return iter(training_batches(Numbers(10), batch_size=3, seed=seed))

    batches, again = begin(), begin()
    for _ in range(steps):
        next(batches)
    again.set_state(json.loads(json.dumps(batches.get_state())))
    for _ in range(4):
        (inputs, targets, _), (same, same_targets, _) = next(batches), next(again)
        np.testing.assert_array_equal(targets, same_targets)
        np.testing.assert_array_equal(inputs["x"], same["x"])


def test_evaluation_batches_are_in_order_and_complete() -> None:
    batches = list(evaluation_batches(Numbers(7), batch_size=3))
    assert [list(targets) for _, targets, _ in batches] == [[0, 1, 2], [3, 4, 5], [6, 6, 6]]
    assert [list(weights) for *_, weights in batches] == [[1, 1, 1], [1, 1, 1], [1, 0, 0]]
    assert all((inputs["x"] == 0).all() for inputs, *_ in batches)
    parts = [list(evaluation_batches(Numbers(7), batch_size=4, process_index=i, process_count=2)) for i in (0, 1)]
    assert [[list(targets) for _, targets, _ in part] for part in parts] == [[[0, 1], [4, 5]], [[2, 3], [6, 6]]]
    assert [list(weights) for *_, weights in parts[1]] == [[1, 1], [1, 0]]


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


def test_takes_the_steps_of_stock_adamw() -> None:
    rng = np.random.default_rng(0)
    weights = [rng.normal(size=(3, 4)), rng.normal(size=4)]
    ours = make_optimizer(TrainConfig(learning_rate=0.1, warmup=0.2, weight_decay=0.3, ema=0.9), 10)
    stock = keras.optimizers.AdamW(
        ours._learning_rate,
        weight_decay=0.3,
        beta_2=TrainConfig().beta_2,
        use_ema=True,
        ema_momentum=0.9,
        name="adam_w",
    )
    stock.exclude_from_weight_decay(var_names=["bias"])
    found = []
    for optimizer in (ours, stock):
        variables = [keras.Variable(value, name=name) for value, name in zip(weights, ("kernel", "bias"), strict=True)]
        optimizer.build(variables)
        gradients = np.random.default_rng(1)
        for _ in range(10):
            optimizer.apply([keras.ops.convert_to_tensor(gradients.normal(size=v.shape), "float32") for v in variables])
        found.append({v.path: keras.ops.convert_to_numpy(v) for v in [*variables, *optimizer.variables]})
    assert list(found[0])[2:] == list(found[1])[2:]  # the optimizer's own have the same paths
    for a, b in zip(found[0].values(), found[1].values(), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6)
    assert np.abs(found[0]["kernel"] - weights[0]).max() > 0.3


def test_configurations_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"micro_batches is 3; it must be a divisor of batch_size \(32\)"):
        TrainConfig(micro_batches=3)
    with pytest.raises(ConfigError, match="profile_steps"):
        TrainConfig(profile_steps=(5, 5))
    with pytest.raises(ConfigError, match="monitor_mode is 'min'; it must be 'max' where the monitor is 'val_cider'"):
        TrainConfig(monitor="val_cider")


def _model() -> keras.Model:
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.1), "mse")
    return model


def test_the_best_epoch_and_when_to_stop() -> None:
    best = BestEpoch(monitor="val_loss", mode="min", patience=2)
    better = [best.update(epoch, {"val_loss": loss}) for epoch, loss in enumerate((3.0, 1.0, math.nan))]
    assert better == [True, True, False] and not best.should_stop
    again = BestEpoch(monitor="val_loss", mode="min", patience=2)
    again.restore(best.state())
    assert not again.update(3, {"val_loss": 1.0})
    assert again.should_stop and again.best_epoch == 1
    highest = BestEpoch(monitor="accuracy", mode="max", patience=0)
    assert [highest.update(epoch, {"accuracy": value}) for epoch, value in enumerate((0.1, 0.3, 0.2))] == [
        True,
        True,
        False,
    ]
    assert not highest.should_stop


def test_unknown_monitor_names_the_known() -> None:
    best = BestEpoch(monitor="val_los", mode="min", patience=0)
    with pytest.raises(TrainingError, match="'val_los'; monitor one of loss, val_loss"):
        best.update(0, {"loss": 1.0, "val_loss": 1.0})


def test_state_files_keep_the_last_two(tmp_path: Path) -> None:
    files = StateFiles(tmp_path)
    assert files.read_newest(print) is None
    arrays = {"a": np.float32(2.5), "b": np.arange(6, dtype=np.uint32).reshape(2, 3), "empty": np.zeros((0, 4))}
    for step in (3, 20, 100):
        files.write(step, {**arrays, "a": np.float32(step)}, {"epoch": step // 10})
    assert [path.name for path in files.paths()] == ["state-0000000100.safetensors", "state-0000000020.safetensors"]
    read, info = files.read_newest(print) or ({}, {})
    assert info["step"] == 100 and info["epoch"] == 10
    assert read["a"].shape == () and float(read["a"]) == 100
    np.testing.assert_array_equal(read["b"], arrays["b"])
    assert read["empty"].shape == (0, 4)


@settings(deadline=None)
@given(place=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_any_flipped_bit_of_a_checkpoint_is_seen(place: int, bit: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = StateFiles(Path(folder)).write(1, {"a": np.arange(50.0), "b": np.ones(3, np.float32)}, {"epoch": 0})
        content = bytearray(path.read_bytes())
        content[place % len(content)] ^= 1 << bit
        path.write_bytes(content)
        with pytest.raises(ModelFileError, match="checkpoint"):
            read_state_file(path)


def test_a_failed_write_keeps_the_checkpoint_before(tmp_path: Path) -> None:
    files = StateFiles(tmp_path)
    first = files.write(1, {"a": np.ones(3)}, {})
    (tmp_path / "state-0000000002.safetensors").mkdir()
    with pytest.raises(ZooError, match="Cannot write"):
        files.write(2, {"a": np.ones(3)}, {})
    assert read_state_file(first)[1]["step"] == 1


def test_the_watchdog_ends_what_does_not_move(capfd: pytest.CaptureFixture[str]) -> None:
    ended: list[int] = []
    with Watchdog(0.2, "Process 1 of 2 has waited", ended.append) as watchdog:
        for _ in range(8):
            time.sleep(0.05)
            watchdog.moved()
        assert not ended
        time.sleep(0.6)
    assert ended == [1]
    assert capfd.readouterr().err == "zoo: error: Process 1 of 2 has waited\n"


def test_signals_are_remembered_once() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with Signals() as signals:
        assert signals.received is None
        os.kill(os.getpid(), signal.SIGTERM)
        assert signals.received == signal.SIGTERM
        assert signal.getsignal(signal.SIGTERM) == before
    assert signal.getsignal(signal.SIGTERM) == before


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
