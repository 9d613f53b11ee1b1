"""Runs side by side: from files alone, finished or still training."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from zoo.cli import main
from zoo.compare import compare_runs, draw_curves, table
from zoo.errors import ConfigError, DataError, ModelFileError
from zoo.files import read_json, write_json
from zoo.training.state import StateFiles

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures" / "run_v1"
HISTORY = {"loss": [3.0, 2.0, 1.0], "val_loss": [2.5, 1.5, 1.75], "val_accuracy": [0.5, 0.75, 0.8]}

Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Return a function that makes a run folder: a stored run with the given training and history."""

    def make_run(name: str, *, source: str = "text_attn", history: Any = None, **train: Any) -> Path:
        folder = tmp_path / name
        shutil.copytree(FIXTURES / source, folder)
        stored = read_json(folder / "run.json")
        write_json(folder / "run.json", {**stored, "train": train})
        if history is not None:
            write_json(folder / "history.json", {"epochs": history, "seconds": 12.5})
        return folder

    return make_run


def test_what_differs_and_what_was_best(make: Make) -> None:
    first = make("a", history=HISTORY, learning_rate=0.1)
    second = make("b", history=HISTORY, monitor="val_accuracy", monitor_mode="max")
    stored = read_json(second / "run.json")
    write_json(second / "run.json", {**stored, "config": {**stored["config"], "head_fraction": 0.5}})
    metrics = {"macro_f1": 0.7, "macro_f1_se": 0.02, "accuracy": 0.8}
    baselines = {"majority": {"macro_f1": 0.2}, "tfidf": {"macro_f1": 0.65}, "other": {"accuracy": 0.9}}
    write_json(second / "metrics.json", {"test": {"metrics": metrics, "baselines": baselines, "examples": 90}})
    report = compare_runs([first, second])
    assert report["differences"] == {
        "model.head_fraction": [1.0, 0.5],
        "train.learning_rate": [0.1, 0.001],  # what a stored training does not say is the default
        "train.monitor": ["val_loss", "val_accuracy"],
        "train.monitor_mode": ["min", "max"],
    }
    one, other = report["runs"]
    assert (one["best_epoch"], one["best"]["val_loss"], one["last"]["val_loss"]) == (2, 1.5, 1.75)
    assert (other["best_epoch"], other["best"]["val_accuracy"], other["seconds"]) == (3, 0.8, 12.5)
    assert one["measured"] == {} and other["measured"]["test"] == {
        "value": 0.7,
        "se": 0.02,
        "examples": 90,
        "baseline": "tfidf",
        "baseline_value": 0.65,
    }
    from zoo.api import load

    assert one["parameters"] == load(first).model.count_params()
    rows = {row[""]: (row["a"], row["b"]) for row in table(report)}
    assert rows["macro_f1 on test"] == ("", "0.7 ± 0.02 (tfidf 0.65), 90 examples")
    assert rows["epochs"] == ("3", "3") and rows["val_loss, best epoch"] == ("1.5", "1.75")


def test_runs_still_training(make: Make) -> None:
    first, second, third = make("a", history=HISTORY), make("b"), make("c")
    StateFiles(second / "checkpoints").write(
        8, {"x": np.zeros(2)}, {"history": {"loss": [3.0], "val_loss": [2.0]}, "seconds": 4.0}
    )
    (third / "model.safetensors").unlink()
    report = compare_runs([first, second, third])
    assert [run["epochs"] for run in report["runs"]] == [3, 1, 0]
    assert [run["finished"] for run in report["runs"]] == [True, False, False]
    assert [run["parameters"] is None for run in report["runs"]] == [False, False, True]
    rows = {row[""]: row for row in table(report)}
    assert rows["epochs"] == {"": "epochs", "a": "3", "b": "1, not finished", "c": "0, not finished"}
    assert rows["loss, last epoch"] == {"": "loss, last epoch", "a": "1", "b": "3", "c": ""}


def test_names_are_told_apart(make: Make, tmp_path: Path) -> None:
    first, second = make("x/run", history=HISTORY), make("y/run", history=HISTORY)
    assert list(table(compare_runs([first, second]))[0]) == ["", str(first), str(second)]


def test_curves(make: Make, tmp_path: Path) -> None:
    gap = {"loss": [2.0, None, 1.0], "val_loss": [None, 1.0, 2.0]}
    folders = [make("a", history=HISTORY), make("b", history=gap)]
    report = compare_runs(folders)
    assert report["runs"][1]["best_epoch"] == 2  # an epoch without a number is not the best
    draw_curves(report, tmp_path / "all.png")
    with Image.open(tmp_path / "all.png") as picture:
        found = {colour for _, colour in picture.convert("RGB").getcolors(1 << 20) or []}
    assert {(0x25, 0x63, 0xEB), (0xD9, 0x77, 0x06)} <= found  # one colour a run
    with pytest.raises(DataError, match="no curves to draw"):
        draw_curves(compare_runs([make("c"), make("d")]), tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()


def test_bad_requests_are_one_line(make: Make, tmp_path: Path) -> None:
    run = make("a", history=HISTORY)
    with pytest.raises(ConfigError, match="two runs or more"):
        compare_runs([run])
    with pytest.raises(ConfigError, match="named twice"):
        compare_runs([run, tmp_path / "x" / ".." / "a"])
    with pytest.raises(ConfigError, match="text_classification.*captioning.*cannot be compared"):
        compare_runs([run, make("b", source="caption_attn")])
    with pytest.raises(ModelFileError, match="not a run folder"):
        compare_runs([run, tmp_path])
    for content in ({"seconds": 3}, {"epochs": {"loss": [1], "val_loss": []}}, {"epochs": 3}, [], {"epochs": {"x": 3}}):
        broken = make(f"broken{len(list(tmp_path.iterdir()))}")
        (broken / "history.json").write_text(json.dumps(content))
        with pytest.raises(ModelFileError, match=r"history.json' is damaged"):
            compare_runs([run, broken])
    state = make("state")
    StateFiles(state / "checkpoints").write(8, {"x": np.zeros(2)}, {"history": 3, "seconds": 4.0})
    with pytest.raises(ModelFileError, match=r"state-0000000008.safetensors' is damaged"):
        compare_runs([run, state])
    cut = make("cut", history=HISTORY)
    (cut / "model.safetensors").write_bytes(b"\xff" * 20)
    with pytest.raises(ModelFileError, match=r"model.safetensors' is damaged"):
        compare_runs([run, cut])


def test_the_command(make: Make, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folders = [str(make("a", history=HISTORY)), str(make("b", history=HISTORY, epochs=7))]
    with pytest.raises(SystemExit) as caught:
        main(["compare", *folders, "-o", str(tmp_path / "compare.png")])
    out, _ = capfd.readouterr()
    assert caught.value.code in (0, None) and "train.epochs" in out and f"Wrote {tmp_path / 'compare.png'}" in out
    assert (tmp_path / "compare.png").stat().st_size > 10_000
    code = "import sys\nfor name in ('keras', 'tensorflow', 'jax', 'safetensors'): sys.modules[name] = None\n"
    code += f"from zoo.cli import main\nmain(['compare', *{folders!r}, '--json'])"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["differences"] == {"train.epochs": [20, 7]}
