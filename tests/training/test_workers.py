"""Several processes on this machine train together: equal weights on all, and an end when one is gone."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from zoo.files import read_json
from zoo.registry import architecture

FLAGSHIPS = ("caption_attn", "price_attn", "text_attn")
TRAIN = ["--train.epochs", "3", "--train.batch-size", "16", "--train.samples", "0", "--train.ema", "0.9"]


def _environment(backend: str, index: int, ports: list[int], cache: dict[str, str]) -> dict[str, str]:
    addresses = [f"127.0.0.1:{port}" for port in ports]
    own = (
        {"TF_CONFIG": json.dumps({"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}})}
        if backend == "tensorflow"
        else {
            "KERAS_DISTRIBUTION_JOB_ADDRESSES": addresses[0],
            "KERAS_DISTRIBUTION_NUM_PROCESSES": str(len(ports)),
            "KERAS_DISTRIBUTION_PROCESS_ID": str(index),
        }
    )
    return {**cache, "KERAS_BACKEND": backend, **own}


def _start(
    words: list[str], backend: str, ports: list[int], logs: Path, environment: dict[str, str]
) -> list[subprocess.Popen[bytes]]:
    """Start two processes that do the same; what they say goes to files, so that none waits for a reader."""
    logs.mkdir(parents=True, exist_ok=True)
    processes = []
    for index in range(2):
        with (logs / f"{index}.txt").open("wb") as file:
            command = [sys.executable, "-P", "-m", "zoo", *words]
            processes.append(
                subprocess.Popen(
                    command, env=_environment(backend, index, ports, environment), stdout=file, stderr=file
                )
            )
    return processes


def _wait(processes: list[subprocess.Popen[bytes]], logs: Path, timeout: float = 400) -> list[str]:
    """Return what each has said; all must end well."""
    try:
        codes = [process.wait(timeout) for process in processes]
    finally:
        for process in processes:
            process.kill()
    said = [(logs / f"{index}.txt").read_text(errors="replace") for index in range(2)]
    assert codes == [0, 0], "\n".join(text[-2000:] for text in said)
    return said


def _words(name: str, data: Path, out: Path, *more: str) -> list[str]:
    small = {"caption_attn": ["--model.image-size", "24", "--model.filters", "8", "16", "--model.blocks", "1", "1"]}
    small["caption_attn"] += ["--model.strides", "2", "2", "--model.d-model", "16", "--model.mlp-dim", "32"]
    small["price_attn"] = ["--model.window", "12", "--model.horizon", "3", "--model.d-model", "8", "--model.lags", "4"]
    small["text_attn"] = ["--model.d-model", "16", "--model.mlp-dim", "24", "--model.max-length", "24"]
    return ["train", name, "--data", str(data), "--out", str(out), *small[name], *TRAIN, *more]


def _digests(said: list[str]) -> list[str]:
    return [match[1] for text in said if (match := re.search(r"Process \d of 2: weights (\w+)", text))]


@pytest.mark.full
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
@pytest.mark.parametrize("name", FLAGSHIPS)
def test_two_workers_end_with_equal_weights(
    name: str,
    backend: str,
    tiny_data: Callable[[str], Path],
    tmp_path: Path,
    free_ports: list[int],
    jax_environment: dict[str, str],
) -> None:
    data = tiny_data(architecture(name).task)
    out = tmp_path / "run"
    said = _wait(
        _start(_words(name, data, out), backend, free_ports[:2], tmp_path / "logs", jax_environment), tmp_path / "logs"
    )
    kind = {"tensorflow": "multiworker", "jax": "jax"}[backend]
    assert re.search(rf"Devices: {kind} \(1 CPU, process 1 of 2\)", said[0]), said[0]
    digests = _digests(said)
    assert len(digests) == 2 and digests[0] == digests[1]
    history = read_json(out / "history.json")["epochs"]
    assert len(history["loss"]) == 3 and np.isfinite(history["val_loss"]).all()


@pytest.mark.full
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_a_dead_worker_ends_the_run_and_it_goes_on(
    backend: str,
    tiny_data: Callable[[str], Path],
    tmp_path: Path,
    free_ports: list[int],
    jax_environment: dict[str, str],
) -> None:
    data = tiny_data("text_classification")
    often = ["--train.checkpoint-minutes", "0", "--train.epochs", "6", "--train.stall-minutes", "0.5"]
    whole, run = tmp_path / "whole", tmp_path / "run"
    words = _words("text_attn", data, whole, *often)
    _wait(_start(words, backend, free_ports[:2], tmp_path / "1", jax_environment), tmp_path / "1")

    processes = _start(
        _words("text_attn", data, run, *often), backend, free_ports[2:4], tmp_path / "2", jax_environment
    )
    limit = time.monotonic() + 300
    while len(list((run / "checkpoints").glob("state-*"))) < 2 and time.monotonic() < limit:
        time.sleep(0.02)
    processes[1].send_signal(signal.SIGKILL)
    died = time.monotonic()
    try:
        assert processes[0].wait(240) != 0
    finally:
        processes[0].kill()
    assert time.monotonic() - died < 120  # half a minute without a step, and the time that ending takes
    said = (tmp_path / "2" / "0.txt").read_text(errors="replace")
    assert "zoo: error: " in said and "--resume" in said, said[-3000:]
    assert not (run / "history.json").exists()

    _wait(
        _start(["train", "--resume", str(run)], backend, free_ports[4:], tmp_path / "3", jax_environment),
        tmp_path / "3",
    )
    before, after = (read_json(folder / "history.json")["epochs"] for folder in (whole, run))
    for key, values in before.items():
        np.testing.assert_allclose(after[key], values, rtol=1e-5, atol=1e-7)
