"""Profiler traces of both backends: the steps asked for, in files that the usual programs read."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from zoo.errors import TrainingError
from zoo.training.profiler import Profiler

CODE = """
import json, sys
if sys.argv[2] == "jax":
    sys.modules["tensorflow"] = None
import keras, numpy as np
from pathlib import Path
from zoo.training.profiler import Profiler

model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
model.compile("sgd", "mse")
for name, (first, end) in json.loads(sys.argv[3]).items():
    profiler = Profiler(Path(sys.argv[1]) / name, (6, 8), first_step=first)
    profiler.on_train_begin()
    seen = []
    for step in range(first, end):
        if profiler.tracing:
            seen.append(step)
        model.train_on_batch(np.ones((2, 4)), np.ones((2, 1)))
        profiler.on_train_batch_end(step, {})
    profiler.close()
    print(json.dumps(seen))
"""


def _trace(folder: Path, backend: str, trainings: dict[str, tuple[int, int]]) -> list[list[int]]:
    """Train from the first step to before the second, once each; return the steps taken while a trace was under way."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", CODE, str(folder), backend, json.dumps(trainings)],
        env={**os.environ, "KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return list(map(json.loads, done.stdout.splitlines()))


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_the_steps_asked_for_are_traced(backend: str, tmp_path: Path) -> None:
    trainings = {"whole": (0, 12), "resumed": (7, 12), "short": (0, 7), "after": (8, 12)}
    assert _trace(tmp_path, backend, trainings) == [[6, 7], [7], [6], []]
    traces = {path.relative_to(tmp_path).parts[0]: path for path in tmp_path.glob("*/plugins/profile/*/*.xplane.pb")}
    assert sorted(traces) == ["resumed", "short", "whole"]
    assert all(path.stat().st_size > 1000 for path in traces.values())
    if backend == "jax":
        (events,) = traces["whole"].parent.glob("*.trace.json.gz")
        assert len(json.loads(gzip.decompress(events.read_bytes()))["traceEvents"]) > 10


def test_a_second_trace_is_refused(tmp_path: Path) -> None:
    first, second = Profiler(tmp_path / "a", (0, 5)), Profiler(tmp_path / "b", (0, 5))
    first.on_train_begin()
    try:
        with pytest.raises(TrainingError, match="The profiler cannot start: .*Train without profile_steps"):
            second.on_train_begin()
    finally:
        first.close()
        second.close()
    assert list((tmp_path / "a").rglob("*.xplane.pb")) and not (tmp_path / "b").exists()
