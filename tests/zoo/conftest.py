"""The command line, run in the test's own process, or in one where Keras cannot be imported."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from zoo import references
from zoo.cli import main

WITHOUT_KERAS = """
import sys
from pathlib import Path

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("keras", "tensorflow", "jax", "safetensors"):
            raise ModuleNotFoundError(name, name=name)

sys.meta_path.insert(0, Blocker())
from zoo import references
from zoo.cli import main

references.SHIPPED = Path(sys.argv[1])
main(sys.argv[2:])
"""


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Return a function that runs the command line here and returns (exit code, output, errors)."""

    def call(*words: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            main([str(word) for word in words])
        out, err = capfd.readouterr()
        return int(caught.value.code or 0), out, err

    return call


@pytest.fixture
def answer_without_keras() -> Callable[..., Any]:
    """Return a function that runs a command without Keras, on the shipped weights of this process; gives its JSON."""

    def call(*words: str, timeout: float) -> Any:
        command = [sys.executable, "-P", "-c", WITHOUT_KERAS, str(references.SHIPPED), *words, "--json"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return call
