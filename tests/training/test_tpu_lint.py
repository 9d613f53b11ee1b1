"""The linter for TPUs: small bad models on JAX, one a rule, and the layer that each finding names."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import zoo

# Of every case in tpu_lint_cases.py: the rule and the layers that must be named, and nothing else.
EXPECTED: dict[str, tuple[str, list[str]]] = {
    "sound": ("", []),
    "input of open shape": ("dynamic shapes", ["x"]),
    "layer of open shape": ("dynamic shapes", ["unfold"]),
    "layer of open shape in a model inside": ("dynamic shapes", ["inside/unfold"]),
    "shape from values": ("dynamic shapes", ["select"]),
    "size from values": ("dynamic shapes", ["size"]),
    "strings": ("strings", ["lookup", "words"]),
    "strings in the batch": ("strings", ["inputs/x"]),
    "batch not divisible": ("batch", ["x"]),
    "micro-batches not divisible": ("batch", ["x"]),
    "batch of unknown size": ("batch", ["x"]),
    "float64 layer": ("float64", ["wide"]),
    "float64 variable": ("float64", ["weight"]),
    "float64 constant": ("float64", ["scale"]),
    "float64 constant in the loss": ("float64", ["case, in no layer"]),
    "float64 in the batch": ("float64", ["inputs/x"]),
    "pure callback": ("host callbacks", ["host"]),
    "ordered callback": ("host callbacks", ["outer/inner"]),
    "debug print": ("host callbacks", ["print"]),
    "debug print in a loop": ("host callbacks", ["loop"]),
    "numpy": ("host callbacks", ["numpy"]),
    "error": ("not traceable", ["broken"]),
}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, str]]]:
    """Findings by case, from a process whose Keras runs on JAX."""
    path = tmp_path_factory.mktemp("lint") / "found.json"
    # Initial weights are all that is compiled; how well does not matter.
    chosen = {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    command = [sys.executable, "-P", str(Path(__file__).with_name("tpu_lint_cases.py")), str(path)]
    done = subprocess.run(command, env={**os.environ, **chosen}, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    answer = json.loads(path.read_text(encoding="utf-8"))
    assert isinstance(answer, dict)
    return answer


@pytest.mark.parametrize("case", EXPECTED)
def test_the_finding_names_the_layer(found: dict[str, list[dict[str, str]]], case: str) -> None:
    rule, layers = EXPECTED[case]
    assert [(item["rule"], item["layer"]) for item in found[case]] == [(rule, layer) for layer in layers]
    assert all(item["advice"][0].isupper() and item["advice"].endswith(".") for item in found[case])


def test_advice_on_the_batch_can_be_followed(found: dict[str, list[dict[str, str]]]) -> None:
    assert "use 28 or 32" in found["batch not divisible"][0]["advice"]
    assert "use 16 or 32" in found["micro-batches not divisible"][0]["advice"]


def test_registered_architectures_have_no_findings(found: dict[str, list[dict[str, str]]]) -> None:
    assert set(found) == {*EXPECTED, *zoo.list_models()}
    assert not [(name, found[name]) for name in zoo.list_models() if found[name]]
