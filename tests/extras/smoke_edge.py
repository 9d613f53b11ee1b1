"""The extra `edge`: answers, listings and latencies from stored .tflite files, with no TensorFlow and no Keras.

The weights that ship answer too, from the files that the wheel brings.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from small_data import SHIPPED, shipped_inputs

from zoo.export.runtime import Edge
from zoo.references import shipped
from zoo.results import Caption, Classification, Forecast

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures" / "bundle_v1"
ABSENT = ("keras", "tensorflow", "jax", "tokenizers", "sklearn", "matplotlib")


def cli(*arguments: object) -> str:
    """Run the installed command and return what it printed."""
    done = subprocess.run(["zoo", *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, (arguments, done.stdout, done.stderr)
    return done.stdout


def example(edge: Edge) -> Any:
    """Return an input of the file's task."""
    if edge.task == "captioning":
        return np.random.default_rng(0).integers(0, 256, (50, 40, 3), dtype=np.uint8)
    if edge.task == "text_classification":
        return "what a lovely day"
    _, window, features = edge.inputs["window"][0]
    steps = np.random.default_rng(0).normal(0, 0.01, (window, features))
    return (100 * np.exp(np.cumsum(steps, axis=0))).astype(np.float32)


def check(edge: Edge, answer: Any) -> None:
    """Check that an answer makes sense."""
    if edge.task == "captioning":
        assert isinstance(answer, Caption)
        assert answer.score <= 0
        assert np.allclose(answer.attention.sum((1, 2)), 1, atol=1e-3)
    elif edge.task == "text_classification":
        assert isinstance(answer, Classification)
        assert abs(sum(answer.probabilities.values()) - 1) < 1e-4
        assert answer.label in answer.probabilities
    else:
        assert isinstance(answer, Forecast)
        assert np.isfinite(answer.mean).all()
        assert (np.diff(answer.quantiles, axis=1) >= 0).all()


for name in ABSENT:
    assert importlib.util.find_spec(name) is None, f"{name} is installed by the extra edge"

files = sorted(FIXTURES.glob("*.tflite"))
assert files, f"{FIXTURES} has no .tflite"
with tempfile.TemporaryDirectory() as folder:  # `zoo bench` saves its report beside the file
    for stored in files:
        file = Path(shutil.copy(stored, folder))
        edge = Edge(file)
        check(edge, edge.predict(example(edge)))
        cli("verify", file)
        cli("bench", file)
assert set(shipped()) == set(SHIPPED), "the wheel lacks weights"
for name, given in shipped_inputs(Path.cwd()).items():
    said = json.loads(cli("predict", name, given, "--json"))
    assert said.get("text") or said.get("label") or len(said["mean"]) > 1, (name, said)
    cli("inspect", name)
assert "emoji-en" in cli("show", "caption_attn")
assert "tensorflow" not in sys.modules
assert "caption_attn" in cli("list")
cli("show", "caption_attn")
