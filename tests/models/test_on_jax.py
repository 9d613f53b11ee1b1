"""The shared check of every architecture on JAX, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import zoo


@pytest.mark.full
@pytest.mark.parametrize("name", zoo.list_models())
def test_architecture_check_on_jax(name: str, repository: Path) -> None:
    command = [sys.executable, "-P", "-m", "pytest", "-q", "-n0", "-k", name]
    command += [str(Path(__file__).parent / "test_every_architecture.py")]
    environment = {**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(command, cwd=repository, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout and "failed" not in done.stdout
