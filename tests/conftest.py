"""What every test needs before Keras is imported: one thread a worker, a quiet log and a configuration of its own."""

from __future__ import annotations

import os
import runpy
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent

# Tests run side by side, one worker a core; a child process inherits all of this.
for _name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("MPLBACKEND", "Agg")
# Children never find the folders datasets/, layers/ and export/ through the working directory.
os.environ["PYTHONSAFEPATH"] = "1"
# A user's ~/.keras/keras.json may name another backend or float type.
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
_KERAS_HOME = tempfile.TemporaryDirectory(prefix="zoo-keras-")
os.environ["KERAS_HOME"] = _KERAS_HOME.name
# Nor is anything left in a user's cache, or taken from there.
_CACHE = tempfile.TemporaryDirectory(prefix="zoo-cache-")
os.environ["ZOO_CACHE"] = _CACHE.name


@pytest.fixture(scope="session")
def repository() -> Path:
    """The folder that holds setup.cfg."""
    return REPOSITORY


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function from a task's name to a small dataset of a user's own for it, made once."""
    made: dict[str, Path] = {}
    makers = runpy.run_path(str(REPOSITORY / "tests" / "extras" / "small_data.py"))["MAKERS"]

    def path_of(task: str) -> Path:
        if task not in made:
            made[task] = makers[task](tmp_path_factory.mktemp(task))
        return made[task]

    return path_of
