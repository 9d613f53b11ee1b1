"""Which backend Keras runs on: asked for, told by the environment, or chosen."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from zoo.backend import import_keras
from zoo.errors import ConfigError


def _ask(code: str, **environment: str) -> str:
    """Run code in a process that knows of no backend but what `environment` tells."""
    env = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
    command = [sys.executable, "-P", "-c", f"from zoo.backend import import_keras, default_backend\n{code}"]
    done = subprocess.run(command, env={**env, **environment}, capture_output=True, text=True, timeout=120, check=False)
    return done.stdout.strip() or done.stderr.strip().splitlines()[-1]


def test_another_backend_than_the_running_one_is_refused() -> None:
    assert import_keras("A test", "tensorflow").backend.backend() == "tensorflow"
    with pytest.raises(
        ConfigError, match="runs on tensorflow in this process, not on jax; start anew with KERAS_BACKEND="
    ):
        import_keras("A test", "jax")
    with pytest.raises(ConfigError, match="backend is 'torch'; it must be one of tensorflow, jax"):
        import_keras("A test", "torch")


def test_asked_for_told_and_chosen() -> None:
    show = "print(import_keras('A test').backend.backend())"
    assert _ask(show) == "tensorflow"
    assert _ask(show, KERAS_BACKEND="jax") == "jax"
    assert _ask("print(import_keras('A test', 'jax').backend.backend())", KERAS_BACKEND="tensorflow") == "jax"
    assert _ask("print(default_backend()[0])", COLAB_TPU_ADDR="10.0.0.2:8470") == "jax"
