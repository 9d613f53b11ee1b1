"""The extras `test` and `dev`: the tools start."""

from __future__ import annotations

import importlib.metadata
import subprocess

import hypothesis
import pytest
import wandb
import xdist

for command in ("pytest", "ruff", "mypy", "pre-commit"):
    done = subprocess.run([command, "--version"], capture_output=True, text=True, check=True)
    assert importlib.metadata.version(command) in done.stdout, (command, done.stdout)
subprocess.run(["pyproject-build", "--version"], capture_output=True, check=True)
assert hypothesis.__version__ and pytest.__version__ and xdist.__version__ and wandb.__version__
