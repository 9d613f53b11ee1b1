"""Nothing is lost: a training that is killed, preempted, out of disk or has a damaged checkpoint goes on exactly."""

from __future__ import annotations

import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zoo.files import read_json
from zoo.registry import architecture

FLAGSHIPS = ("caption_attn", "price_attn", "text_attn")
TRAIN = ["--train.epochs", "4", "--train.batch-size", "16", "--train.ema", "0.9", "--train.samples", "0"]
# A checkpoint after every step, and every step logged.
OFTEN = ["--train.checkpoint-minutes", "0", "--train.log-every", "1"]


def _words(name: str, data: Path, out: Path, *more: str) -> list[str]:
    tiny = architecture(name).tiny().to_dict()
    model = []
    for key, value in tiny.items():
        if value is None or isinstance(value, bool):
            continue
        values = [str(item) for item in value] if isinstance(value, list) else [str(value)]
        model += [f"--model.{key.replace('_', '-')}", *values]
    return ["train", name, "--data", str(data), "--out", str(out), *model, *TRAIN, *OFTEN, *more]


def _start(words: list[str], **options: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-P", "-m", "zoo", *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def _finish(process: subprocess.Popen[str], timeout: float = 300) -> tuple[int, str]:
    _, err = process.communicate(timeout=timeout)
    return process.returncode, err


def _checkpoints(run: Path) -> list[Path]:
    return sorted((run / "checkpoints").glob("state-*.safetensors"))


def _wait_for_step(process: subprocess.Popen[str], run: Path, step: int) -> None:
    """Wait until a checkpoint of this step or a later one is there."""
    limit = time.monotonic() + 240
    while time.monotonic() < limit and process.poll() is None:
        found = _checkpoints(run)
        if found and int(found[-1].stem.removeprefix("state-")) >= step:
            return
        time.sleep(0.01)
    raise AssertionError(f"step {step} was not reached: {process.communicate()[1][-2000:]}")


def _kill_at(words: list[str], run: Path, step: int, **options: Any) -> None:
    """Start a training and kill it after a step."""
    process = _start(words, **options)
    _wait_for_step(process, run, step)
    process.send_signal(signal.SIGKILL)
    code, err = _finish(process)
    # The last steps go by fast: it may have ended before the signal.
    assert code in (-signal.SIGKILL, 0), err


def _result(run: Path) -> dict[str, Any]:
    return {
        "epochs": read_json(run / "history.json")["epochs"],
        "weights": (run / "model.safetensors").read_bytes(),
    }


def _assert_same(run: Path, whole: Path) -> None:
    """Compare every value of every epoch, and the weights, bit for bit."""
    left, right = _result(run), _result(whole)
    assert left["epochs"] == right["epochs"]
    assert left["weights"] == right["weights"]


@pytest.mark.full
@pytest.mark.parametrize("name", FLAGSHIPS)
def test_kill_at_random_steps(name: str, tiny_data: Callable[[str], Path], tmp_path: Path) -> None:
    data = tiny_data(architecture(name).task)
    whole, run = tmp_path / "whole", tmp_path / "run"
    code, err = _finish(_start(_words(name, data, whole)))
    assert code == 0, err
    total = int(_checkpoints(whole)[-1].stem.removeprefix("state-"))
    steps = sorted(random.Random(name).sample(range(1, total - 1), 5))
    words = _words(name, data, run)
    for step in steps:
        _kill_at(words, run, step)
        words = ["train", "--resume", str(run)]
    code, err = _finish(_start(words))
    assert code == 0, err
    _assert_same(run, whole)
    assert (run / "checkpoints" / "best.safetensors").read_bytes() == (
        whole / "checkpoints" / "best.safetensors"
    ).read_bytes()


@pytest.fixture(scope="module")
def whole(tiny_data: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text classifier whose training was not disturbed."""
    run = tmp_path_factory.mktemp("whole") / "run"
    code, err = _finish(_start(_words("text_attn", tiny_data("text_classification"), run)))
    assert code == 0, err
    return run


@pytest.mark.full
def test_sigterm_writes_a_checkpoint(tiny_data: Callable[[str], Path], whole: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    # Checkpoints at the end of epochs only: the one in the middle is the signal's.
    words = _words("text_attn", tiny_data("text_classification"), run, "--train.checkpoint-minutes", "60")
    process = _start(words)
    _wait_for_step(process, run, 6)
    process.send_signal(signal.SIGTERM)
    code, err = _finish(process)
    assert code == 143
    last = err.strip().splitlines()[-1]
    assert last.startswith("zoo: Stopped by SIGTERM after step") and f"zoo train --resume {run}" in last
    assert "Traceback" not in err
    code, err = _finish(_start(["train", "--resume", str(run)]))
    assert code == 0, err
    assert "from step" in err
    _assert_same(run, whole)
    # Once more is no mistake.
    code, err = _finish(_start(["train", "--resume", str(run)]))
    assert code == 0 and "is finished" in err


@pytest.mark.full
def test_a_damaged_checkpoint_falls_back(tiny_data: Callable[[str], Path], whole: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    _kill_at(_words("text_attn", tiny_data("text_classification"), run), run, 9)
    before, last = _checkpoints(run)[-2:]
    content = bytearray(last.read_bytes())
    content[len(content) // 2] ^= 1  # one bit among the tensors: only the digest can tell
    last.write_bytes(content)
    again = tmp_path / "again"
    shutil.copytree(run, again)
    code, err = _finish(_start(["train", "--resume", str(run)]))
    assert code == 0, err
    assert f"'{last.name}' is damaged" in err and f"trying the one before, '{before.name}'" in err
    _assert_same(run, whole)
    for path in _checkpoints(again):
        path.write_bytes(path.read_bytes()[:1000])
    code, err = _finish(_start(["train", "--resume", str(again)]))
    assert code == 1 and err.strip().splitlines()[-1].startswith("zoo: error: No checkpoint in")


@pytest.mark.full
def test_a_full_disk_keeps_the_checkpoint_before(tiny_data: Callable[[str], Path], whole: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    _kill_at(_words("text_attn", tiny_data("text_classification"), run), run, 5)
    kept = _checkpoints(run)[-1]
    size = kept.stat().st_size

    def small_files() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # the write fails, as on a full disk
        resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, size // 2))

    code, err = _finish(_start(["train", "--resume", str(run)], preexec_fn=small_files))
    last = err.strip().splitlines()[-1]
    assert code == 1 and last.startswith("zoo: error: Cannot write"), err
    assert f"the checkpoint before, '{kept.name}', is whole" in last and "Traceback" not in err
    assert not [path for path in (run / "checkpoints").iterdir() if path.name.startswith(".")]
    code, err = _finish(_start(["train", "--resume", str(run)]))
    assert code == 0, err
    _assert_same(run, whole)


@pytest.mark.full
def test_the_same_on_jax(tiny_data: Callable[[str], Path], tmp_path: Path, jax_environment: dict[str, str]) -> None:
    data = tiny_data("text_classification")
    whole, run = tmp_path / "whole", tmp_path / "run"
    code, err = _finish(_start(_words("text_attn", data, whole), env=jax_environment))
    assert code == 0, err
    _kill_at(_words("text_attn", data, run), run, 8, env=jax_environment)
    code, err = _finish(_start(["train", "--resume", str(run), "--backend", "jax"], env=jax_environment))
    assert code == 0, err
    for key, values in _result(whole)["epochs"].items():
        np.testing.assert_allclose(_result(run)["epochs"][key], values, rtol=1e-6)


def test_what_cannot_be_resumed_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for words, expected, message in (
        (["train", "--resume", str(tmp_path / "none")], 1, "is not a run folder"),
        (["train", "--resume", str(tmp_path / "empty")], 1, "is not a run folder"),
        (["train", "text_attn", "--resume", str(tmp_path)], 2, "--resume takes model, data and folder from the run"),
        (["train"], 2, "needs the name of a model"),
    ):
        code, err = _finish(_start(words))
        assert code == expected and message in err and "Traceback" not in err, err
    assert not list((tmp_path / "empty").iterdir())
