"""The tests of steps, epochs and runs once more, on JAX in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.full
@pytest.mark.parametrize("module", ["test_trainer.py", "test_loop.py"])
def test_training_on_jax(module: str, repository: Path) -> None:
    command = [sys.executable, "-P", "-m", "pytest", "-q", "-n0", str(Path(__file__).with_name(module))]
    environment = {**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(command, cwd=repository, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout and "failed" not in done.stdout
