"""Every notebook runs from top to bottom in quick mode, its code cells as one script in a process of its own.

Those for Colab's TPU runtime run on JAX too, with TensorFlow hidden, as there is none on that runtime.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
ON_JAX = [path for path in NOTEBOOKS if path.stem != "04_ship_to_the_edge"]  # exporting is its subject
MOST_CELLS = 13
# Looking for it finds nothing, as where it is not installed; everything else is found as ever.
NO_TENSORFLOW = """
import sys
from importlib.machinery import PathFinder

class WithoutTensorFlow(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] == "tensorflow" else super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = WithoutTensorFlow
"""
NOT_LOADED = "assert 'tensorflow' not in sys.modules\n"


def cells(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return found


def run_notebook(path: Path, folder: Path, *, backend: str, before: str = "", after: str = "") -> str:
    """Run the code cells in a folder, between two more pieces of code, and return what they printed."""
    code = ["".join(cell["source"]) for cell in cells(path) if cell["cell_type"] == "code"]
    script = "\n".join([before, *code, after])
    done = subprocess.run(
        [sys.executable, "-P", "-c", script],
        cwd=folder,
        env={**os.environ, "KERAS_BACKEND": backend, "JAX_PLATFORMS": "cpu", "ZOO_QUICK": "1"},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_there_are_notebooks() -> None:
    assert len(NOTEBOOKS) >= 4


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_form(path: Path) -> None:
    found = cells(path)
    assert len(found) <= MOST_CELLS
    assert all(not cell.get("outputs") and cell.get("execution_count") is None for cell in found), "clear the outputs"
    texts = ["".join(cell["source"]) for cell in found if cell["cell_type"] == "markdown"]
    badge = f"](https://colab.research.google.com/github/attention-zoo/attention-zoo/blob/main/notebooks/{path.name})"
    assert badge in texts[0] and "colab-badge.svg" in texts[0], "the badge opens another notebook, or there is none"
    for text in texts:
        assert re.match(r"#+ .+\n\n.*[\u4e00-\u9fff]", text), f"a heading without its Chinese line: {text[:60]}"


@pytest.mark.full
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(path: Path, tmp_path: Path) -> None:
    run_notebook(path, tmp_path, backend="tensorflow")
    assert list(tmp_path.rglob("*.tflite")), "nothing was exported"


@pytest.mark.full
@pytest.mark.parametrize("path", ON_JAX, ids=lambda path: path.stem)
def test_notebook_runs_without_tensorflow(path: Path, tmp_path: Path) -> None:
    said = run_notebook(path, tmp_path, backend="jax", before=NO_TENSORFLOW, after=NOT_LOADED)
    assert "pip install 'attention-zoo[tf,demo]'" in said, "it does not say how to export"
    assert list(tmp_path.rglob("model.safetensors")) and not list(tmp_path.rglob("*.tflite"))
