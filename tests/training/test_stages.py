"""Trainings of several stages: frozen, fine-tuned, rewarded."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

import zoo
from zoo.errors import ConfigError
from zoo.files import read_json
from zoo.training.config import TrainConfig
from zoo.training.stages import Stage, stages_of
from zoo.training.state import StateFiles

MODEL = {
    "encoder": "efficientnet_lite0",
    "image_size": 64,
    "vocabulary": "words",
    "max_length": 6,
    "d_model": 16,
    "num_heads": 2,
    "num_layers": 1,
    "mlp_dim": 32,
    "views": "mirror",
}
TRAIN = {
    "epochs": 2,
    "finetune_epochs": 1,
    "reward_epochs": 2,
    "batch_size": 8,
    "reward_samples": 3,
    "samples": 0,
    "monitor": "val_cider",
    "monitor_mode": "max",
    "ema": 0.5,
    "log_every": 1,
}
COLOURS = {"red": (220, 30, 30), "green": (30, 180, 40), "blue": (20, 60, 230)}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Squares of three colours in light or dark, 5 captions each, some repeated."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    lines = []
    for number in range(40):
        colour = list(COLOURS)[number % 3]
        pixels = np.full((48, 48, 3), rng.integers(0, 255, 3), np.uint8)
        pixels[10:38, 10:38] = COLOURS[colour]
        Image.fromarray(pixels).save(folder / f"{number}.png")
        captions = [f"a {colour} square", f"a {colour} square", f"one square is {colour}", "a square", "it is there"]
        side = ["left of nothing"] if number % 4 == 0 else []
        split = "valid" if number % 5 == 0 else "train"
        lines.append(json.dumps({"file": f"{number}.png", "captions": captions + side, "split": split}))
    (folder / "captions.jsonl").write_text("\n".join(lines))
    return folder


def _train(photos: Path, out: Path, model: dict[str, Any] | None = None, **train: Any) -> zoo.Run:
    return zoo.train(
        "caption_attn",
        data=photos,
        out=out,
        model={**MODEL, **(model or {})},
        train={**TRAIN, **train},
        options={"language": "en"},
        quiet=True,
    )


def test_stages_follow_from_the_configuration() -> None:
    assert stages_of(TrainConfig()) == [Stage("train", 20, 1e-3)]
    found = stages_of(TrainConfig(epochs=3, finetune_epochs=2, finetune_rate=0.2, reward_epochs=4, reward_rate=0.1))
    assert found == [
        Stage("train", 3, 1e-3),
        Stage("finetune", 2, 0.2, finetune=True),
        Stage("reward", 4, 0.1, finetune=True, goal="reward"),
    ]
    assert stages_of(TrainConfig(reward_epochs=1))[1].finetune is False


@pytest.mark.full
def test_three_stages_leave_one_run(photos: Path, tmp_path: Path) -> None:
    from zoo.layers.efficientnet_lite import EfficientNetLite
    from zoo.pretrained.efficientnet_lite import load_efficientnet_lite

    run = _train(photos, tmp_path / "run")
    history = read_json(tmp_path / "run" / "history.json")
    epochs = history["epochs"]
    assert [stage["name"] for stage in history["stages"]] == ["train", "finetune", "reward"]
    assert [stage["epochs"] for stage in history["stages"]] == [2, 1, 2]
    assert all(stage["seconds"] > 0 and stage["peak_bytes"] > 1e8 for stage in history["stages"])
    assert len(epochs["val_cider"]) == len(epochs["loss"]) == len(epochs["reward"]) == 5
    assert epochs["reward"][:3] == [None] * 3 and epochs["accuracy"][3:] == [None] * 2
    assert all(value is not None and 0 <= value <= 10 for value in epochs["reward"][3:])

    published = EfficientNetLite("lite0", name="frozen")
    load_efficientnet_lite([published], "efficientnet_lite0")
    encoder = run.model.get_layer("encoder")
    theirs = {name: part.get_weights() for name, part in published.parts().items()}
    for name, part in encoder.get_layer("frozen").parts().items():
        for ours, known in zip(part.get_weights(), theirs[name], strict=True):
            np.testing.assert_array_equal(ours, known, err_msg=name)
    moved = [
        name
        for name, part in encoder.get_layer("tuned").parts().items()
        if any(not np.array_equal(a, b) for a, b in zip(part.get_weights(), theirs[name], strict=True))
    ]
    best = int(np.argmax(epochs["val_cider"]))
    assert bool(moved) == (best >= 2)  # nothing of the encoder learns before fine-tuning
    assert run.predict(photos / "1.png").text
    assert run.evaluate("valid", pictures=False)["metrics"]["cider"] == pytest.approx(
        epochs["val_cider"][best], abs=1e-4
    )


@pytest.mark.full
def test_a_training_stopped_in_any_stage_goes_on_exactly(photos: Path, tmp_path: Path) -> None:
    whole = _train(photos, tmp_path / "whole")
    expected = read_json(tmp_path / "whole" / "history.json")["epochs"]
    for stop in (2, 3, 4):
        out = tmp_path / f"stopped-{stop}"
        program = (
            "import sys, json, os, signal, zoo\n"
            "from zoo.training.trainer import Trainer\n"
            "end = Trainer._end_epoch\n"
            "def stop(self):\n"
            "    end(self)\n"
            f"    if self.epoch == {stop}: os.kill(os.getpid(), signal.SIGKILL)\n"
            "Trainer._end_epoch = stop\n"
            "photos, out, model, train = json.loads(sys.argv[1])\n"
            "zoo.train('caption_attn', data=photos, out=out, model=model, train=train, options={'language': 'en'})\n"
        )
        words = json.dumps([str(photos), str(out), MODEL, TRAIN])
        done = subprocess.run([sys.executable, "-P", "-c", program, words], capture_output=True, text=True)
        assert done.returncode == -9, done.stderr
        assert not (out / "history.json").exists()
        run = zoo.resume(out, quiet=True)
        assert read_json(out / "history.json")["epochs"] == expected
        for one, other in zip(run.model.get_weights(), whole.model.get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.full
def test_the_stages_run_on_jax(photos: Path, tmp_path: Path, jax_environment: dict[str, str]) -> None:
    program = (
        "import sys, json, zoo\n"
        "photos, out, model, train = json.loads(sys.argv[1])\n"
        "zoo.train('caption_attn', data=photos, out=out, model=model, train=train, options={'language': 'en'})\n"
    )
    words = json.dumps([str(photos), str(tmp_path / "jax"), MODEL, {**TRAIN, "epochs": 1, "reward_epochs": 1}])
    done = subprocess.run(
        [sys.executable, "-P", "-c", program, words], capture_output=True, text=True, env=jax_environment
    )
    assert done.returncode == 0, done.stderr[-2000:]
    epochs = read_json(tmp_path / "jax" / "history.json")["epochs"]
    assert [len(epochs[name]) for name in ("loss", "reward", "val_cider")] == [3, 3, 3]
    assert epochs["reward"][:2] == [None, None] and 0 <= epochs["reward"][2] <= 10
    # TensorFlow, which computes its own features, gives the captions that JAX scored from stored ones.
    metrics = zoo.load(tmp_path / "jax").evaluate("valid", pictures=False, baselines=False)["metrics"]
    assert metrics["cider"] == pytest.approx(max(epochs["val_cider"]), abs=1e-4)


@pytest.mark.full
def test_the_stages_run_on_replicas(photos: Path, tmp_path: Path) -> None:
    program = (
        "import sys, json, tensorflow as tf\n"
        "cpu = tf.config.list_physical_devices('CPU')[0]\n"
        "tf.config.set_logical_device_configuration(cpu, 2 * [tf.config.LogicalDeviceConfiguration()])\n"
        "import zoo\n"
        "photos, out, model, train = json.loads(sys.argv[1])\n"
        "zoo.train('caption_attn', photos, out=out, model=model, train=train, options={'language': 'en'},\n"
        "          devices='mirrored')\n"
    )
    words = json.dumps([str(photos), str(tmp_path / "mirrored"), {**MODEL, "dropout": 0.0}, TRAIN])
    done = subprocess.run([sys.executable, "-P", "-c", program, words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    _train(photos, tmp_path / "one", model={"dropout": 0.0})
    one, mirrored = (read_json(tmp_path / name / "history.json")["epochs"] for name in ("one", "mirrored"))
    for name in ("loss", "val_loss", "val_cider"):
        np.testing.assert_allclose(mirrored[name][:3], one[name][:3], rtol=1e-4, err_msg=name)
    np.testing.assert_allclose(mirrored["reward"][3], one["reward"][3], rtol=1e-2)


def test_stages_that_a_model_has_not_are_refused(tiny_data: Any, tmp_path: Path) -> None:
    tiny = {
        "encoder": "cnn",
        "image_size": 24,
        "d_model": 16,
        "num_heads": 2,
        "filters": (8, 16),
        "blocks": (1, 1),
        "strides": (2, 2),
    }
    with pytest.raises(ConfigError, match="finetune_epochs"):
        zoo.train(
            "caption_attn",
            data=tiny_data("captioning"),
            out=tmp_path / "a",
            model=tiny,
            train={"epochs": 1, "finetune_epochs": 1},
            quiet=True,
        )
    with pytest.raises(ConfigError, match="reward_epochs"):
        zoo.train(
            "price_attn",
            data=tiny_data("forecasting"),
            out=tmp_path / "b",
            train={"epochs": 1, "reward_epochs": 1},
            quiet=True,
        )
    assert not (tmp_path / "b").exists()


@pytest.mark.full
def test_an_encoder_of_ones_own_can_be_rewarded(tiny_data: Any, tmp_path: Path) -> None:
    tiny = {
        "image_size": 24,
        "d_model": 16,
        "num_heads": 2,
        "mlp_dim": 32,
        "num_layers": 1,
        "filters": (8, 16),
        "blocks": (1, 1),
        "strides": (2, 2),
    }
    train = {"epochs": 1, "reward_epochs": 1, "batch_size": 8, "samples": 0, "reward_rate": 1e-3}
    judged = {**train, "monitor": "val_cider", "monitor_mode": "max"}
    zoo.train("caption_attn", tiny_data("captioning"), out=tmp_path / "run", model=tiny, train=judged, quiet=True)
    epochs = read_json(tmp_path / "run" / "history.json")["epochs"]
    assert len(epochs["reward"]) == 2 and 0 <= epochs["reward"][1] <= 10
    ((arrays, _),) = [StateFiles(tmp_path / "run" / "checkpoints").read_newest(print)]
    before = load_file(tmp_path / "run" / "checkpoints" / "after-train.safetensors")
    first = next(name for name in before if name.endswith("embedding"))
    now = next(array for name, array in arrays.items() if name.startswith("model/") and name.endswith("/embedding"))
    assert not np.array_equal(before[first], now)
    with pytest.raises(ConfigError, match=r"Set train.monitor to val_cider and train.monitor_mode to max"):
        zoo.train("caption_attn", tiny_data("captioning"), out=tmp_path / "b", model=tiny, train=train, quiet=True)
