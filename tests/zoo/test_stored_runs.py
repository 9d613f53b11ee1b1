"""Runs of every past format version are still read, and answer as they did."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import zoo
from zoo.files import to_json

RUNS = sorted(path.parent for path in (Path(__file__).resolve().parents[1] / "fixtures").glob("run_v*/*/run.json"))


def _compare(actual: Any, expected: Any) -> None:
    if isinstance(expected, dict):
        assert actual.keys() == expected.keys()
        for key, value in expected.items():
            _compare(actual[key], value)
    elif isinstance(expected, list):
        assert len(actual) == len(expected)
        for one, other in zip(actual, expected, strict=True):
            _compare(one, other)
    elif isinstance(expected, float):
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)
    else:
        assert actual == expected


@pytest.mark.parametrize("folder", RUNS, ids=lambda folder: f"{folder.parent.name}-{folder.name}")
def test_stored_run(folder: Path) -> None:
    expected = json.loads((folder / "expected.json").read_text(encoding="utf-8"))
    value = expected["input"]
    if isinstance(value, list):
        value = np.array(value, np.uint8 if folder.name == "caption_attn" else np.float64)
    _compare(json.loads(to_json(zoo.load(folder).predict(value).to_dict())), expected["result"])


def test_there_is_one_of_every_task() -> None:
    assert {folder.name for folder in RUNS} >= {"caption_attn", "price_attn", "text_attn"}
