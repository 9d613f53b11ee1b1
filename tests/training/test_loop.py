"""Training on a user's own data: the run it leaves, equal seeds, what a failure keeps."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import zoo
from zoo.errors import ConfigError, DataError, ModelFileError, ZooError
from zoo.files import read_json
from zoo.registry import architecture
from zoo.run import Run

SENTENCE = "a lovely film"


def _train(name: str, path: Path, out: Path, **train: object) -> Run:
    settings = {"epochs": 2, "batch_size": 16, "learning_rate": 3e-3, "samples": 1, **train}
    return zoo.train(name, path, out=out, model=architecture(name).tiny().to_dict(), train=settings, quiet=True)


@pytest.fixture(scope="module")
def text_run(tiny_data: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A text classifier trained for a moment."""
    path = tiny_data("text_classification")
    return _train("text_attn", path, tmp_path_factory.mktemp("runs") / "text", epochs=12, learning_rate=1e-2)


def test_a_run_has_everything(text_run: Run) -> None:
    assert text_run.folder is not None
    files = {path.name for path in text_run.folder.iterdir()}
    assert files >= {"run.json", "history.json", "model.safetensors", "preprocessor", "checkpoints", "logs"}
    stored = read_json(text_run.folder / "run.json")
    assert stored["format_version"] == 1 and stored["trained"] and stored["licence"]["name"]
    history = read_json(text_run.folder / "history.json")["epochs"]
    assert len(history["loss"]) == len(history["val_loss"]) == 12
    assert history["loss"][-1] < history["loss"][0]


def test_a_stored_run_answers_as_before(text_run: Run) -> None:
    assert text_run.folder is not None
    again = zoo.load(text_run.folder)
    first, second = (run.predict(SENTENCE) for run in (text_run, again))
    assert first == second and str(first)
    assert again.config == text_run.config and again.preprocessor.files() == text_run.preprocessor.files()


def test_evaluation_is_stored_with_baselines(text_run: Run) -> None:
    assert text_run.folder is not None
    report = text_run.evaluate("test")
    assert report["metrics"]["macro_f1"] > 0.9  # one word decides the class
    assert len(report["baselines"]) >= 2
    assert read_json(text_run.folder / "metrics.json")["test"]["metrics"]["macro_f1"] == report["metrics"]["macro_f1"]
    assert report["pictures"] and all((text_run.folder / path).is_file() for path in report["pictures"])
    with pytest.raises(DataError, match="no split 'tset'; it has train, valid, test"):
        text_run.evaluate("tset")


@pytest.mark.parametrize("name", ["caption_attn", "price_attn", "text_attn"])
def test_equal_seeds_give_equal_losses(name: str, tiny_data: Callable[[str], Path], tmp_path: Path) -> None:
    path = tiny_data(architecture(name).task)
    losses = []
    for number, seed in enumerate((3, 3, 4) if name == "text_attn" else (3, 3)):
        run = _train(name, path, tmp_path / str(number), seed=seed, ema=0.9, samples=0)
        assert run.folder is not None
        losses.append(read_json(run.folder / "history.json")["epochs"]["loss"])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-6)
    assert len(losses) == 2 or not np.allclose(losses[0], losses[2], rtol=1e-4)


def test_a_stopped_run_loads_from_its_best_checkpoint(text_run: Run, tmp_path: Path) -> None:
    assert text_run.folder is not None
    shutil.copytree(text_run.folder, tmp_path / "run")
    (tmp_path / "run" / "model.safetensors").unlink()
    assert zoo.load(tmp_path / "run").predict(SENTENCE) == text_run.predict(SENTENCE)
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    with pytest.raises(ModelFileError, match="has no weights"):
        zoo.load(tmp_path / "run").predict(SENTENCE)


def test_bad_requests_are_one_line(tiny_data: Callable[[str], Path], text_run: Run, tmp_path: Path) -> None:
    path = tiny_data("text_classification")
    assert text_run.folder is not None
    with pytest.raises(ZooError, match="exists already"):
        _train("text_attn", path, text_run.folder)
    with pytest.raises(ConfigError, match="no field 'epoch'. Did you mean epochs"):
        zoo.train("text_attn", path, train={"epoch": 3}, out=tmp_path / "a")
    with pytest.raises(ConfigError, match="no field 'd_modl'"):
        zoo.train("text_attn", path, model={"d_modl": 3}, out=tmp_path / "a")
    with pytest.raises(DataError, match="is for captioning, not for text_classification"):
        zoo.train("text_attn", "emoji", out=tmp_path / "a")
    assert not (tmp_path / "a").exists()
    with pytest.raises(ConfigError, match=r"train.monitor is 'val_los'; it can be .*val_loss"):
        _train("text_attn", path, tmp_path / "a", monitor="val_los")


def test_damaged_runs_are_one_line(text_run: Run, tmp_path: Path) -> None:
    assert text_run.folder is not None
    with pytest.raises(ModelFileError, match="not a run folder"):
        zoo.load(tmp_path)
    stored = read_json(text_run.folder / "run.json")
    bad: list[tuple[object, str]] = [
        ({**stored, "format_version": 2}, "newest known is 1"),
        ({key: value for key, value in stored.items() if key != "config"}, "damaged"),
        ({**stored, "config": {**stored["config"], "d_model": -1}}, "damaged"),
        ({**stored, "config": 3}, "damaged"),
        ({**stored, "architecture": "nothing"}, "No model is named 'nothing'"),
        ([], "damaged"),
    ]
    for content, message in bad:
        (tmp_path / "run.json").write_text(json.dumps(content))
        with pytest.raises(ModelFileError, match=message) as caught:
            zoo.load(tmp_path)
        assert "\n" not in str(caught.value)
