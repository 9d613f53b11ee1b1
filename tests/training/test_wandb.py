"""Weights & Biases in its offline mode: what its file on the disk holds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

CODE = """
import sys
if sys.argv[2] == "without":
    sys.modules["tensorflow"] = None
    import importlib.util
    find = importlib.util.find_spec
    importlib.util.find_spec = lambda name, *rest: None if name == "tensorflow" else find(name, *rest)
from pathlib import Path
import keras
from zoo.training.wandb import WandbLogs

rate = keras.optimizers.schedules.CosineDecay(0.1, 10)
model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
model.compile(keras.optimizers.SGD(rate), "mse")
logs = WandbLogs(Path(sys.argv[1]), {"architecture": "text_attn", "train": {"epochs": 2}})
logs.set_model(model)
try:
    logs.on_train_begin()
    for step in range(20, 40):
        logs.on_train_batch_end(step, {"loss": 1.0 / step, "learning_rate": 0.5} if step % 10 == 9 else {})
    logs.on_epoch_end(1, {"loss": 0.25, "val_loss": 0.125, "learning_rate": 0.5})
    if sys.argv[3] == "fails":
        raise KeyError("training")
    logs.on_train_end()
finally:
    logs.close()
print("tensorflow" in sys.modules and sys.modules["tensorflow"] is not None)
"""


def _records(path: Path) -> Iterator[Any]:
    """Read a .wandb file: records in blocks of 32 KiB, each part with checksum, length and kind (LevelDB's log)."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, parts = path.read_bytes(), 7, b""
    while at + 7 <= len(data):
        if (left := 32768 - at % 32768) < 7:
            at += left
            continue
        size, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        parts += data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # whole, or the last part
            yield Record.FromString(parts)
            parts = b""


def _log(folder: Path, backend: str, tensorflow: str, end: str, **environment: str) -> tuple[list[Any], Any]:
    variables = {"KERAS_BACKEND": backend, "WANDB_MODE": "offline", "WANDB_ERROR_REPORTING": "false", **environment}
    done = subprocess.run(
        [sys.executable, "-P", "-c", CODE, str(folder), tensorflow, end],
        env={**os.environ, **variables},
        cwd=folder.parent,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    files = list(folder.glob("wandb/offline-run-*/run-*.wandb"))
    return [record for file in files for record in _records(file)], done


def _history(records: list[Any]) -> list[dict[str, Any]]:
    rows = []
    for record in records:
        if record.HasField("history"):
            items = {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item}
            rows.append({key: value for key, value in items.items() if not key.startswith("_")})
    return rows


@pytest.mark.parametrize(("backend", "tensorflow"), [("tensorflow", "with"), ("jax", "with"), ("jax", "without")])
def test_offline(backend: str, tensorflow: str, tmp_path: Path) -> None:
    folder = tmp_path / "text_attn-tweets-001"
    folder.mkdir()
    records, done = _log(folder, backend, tensorflow, "ends")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(tensorflow == "with")
    assert _history(records) == [
        {"batch/loss": 1.0 / 29, "batch/learning_rate": 0.5, "batch/batch_step": 29},
        {"batch/loss": 1.0 / 39, "batch/learning_rate": 0.5, "batch/batch_step": 39},
        {"epoch/loss": 0.25, "epoch/val_loss": 0.125, "epoch/learning_rate": 0.5, "epoch/epoch": 1},
    ]
    (run,) = [record.run for record in records if record.HasField("run")]
    assert (run.project, run.display_name) == ("attention-zoo", folder.name)
    config = {item.key: json.loads(item.value_json) for item in run.config.update}
    assert config["architecture"] == "text_attn" and config["train"] == {"epochs": 2}
    metrics = {item.glob_name or item.name: item.step_metric for item in (r.metric for r in records) if item.glob_name}
    assert metrics == {"batch/*": "batch/batch_step", "epoch/*": "epoch/epoch"}
    assert [record.exit.exit_code for record in records if record.HasField("exit")] == [0]
    assert {path.name for path in tmp_path.iterdir()} == {folder.name}


def test_a_failure_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    records, done = _log(folder, "tensorflow", "with", "fails")
    assert done.returncode == 1 and "KeyError: 'training'" in done.stderr
    assert [record.exit.exit_code for record in records if record.HasField("exit")] == [1]


def test_without_a_login_it_is_one_line(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    nobody = {
        "WANDB_MODE": "online",
        "HOME": str(tmp_path),
        "WANDB_API_KEY": "",
        "WANDB_BASE_URL": "http://127.0.0.1:9",
    }
    records, done = _log(folder, "tensorflow", "with", "ends", **nobody)
    assert records == [] and done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("zoo.errors.TrainingError: Weights & Biases cannot start: ")
    assert last.endswith("Log in with 'wandb login', or set WANDB_MODE=offline.")
