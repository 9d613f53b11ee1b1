"""Searches inside an exported file, which a process without TensorFlow runs: what the Keras model says, it says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops
from PIL import Image

from zoo.errors import ConfigError
from zoo.export.runtime import Edge
from zoo.export.samples import random_requests
from zoo.models.caption_attn import CaptionAttn
from zoo.results import Caption
from zoo.run import Run

LENGTH = 8


@pytest.fixture(scope="module")
def run() -> Run:
    """A captioner whose captions depend on the picture, differ in length and repeat themselves."""
    keras.utils.set_random_seed(3)
    run = Run.untrained("caption_attn", **{**CaptionAttn.tiny().to_dict(), "max_length": LENGTH})
    for weight in run.model.trainable_weights:
        weight.assign(weight + keras.random.normal(weight.shape, stddev=0.15))
    return run


@pytest.fixture(scope="module")
def pictures(run: Run) -> np.ndarray:
    return random_requests(run.serving(), 40, tokens=24, seed=9).inputs["image"]


def said(run: Run, pictures: np.ndarray, **options: Any) -> list[tuple[str, ...]]:
    outputs = run.serving_outputs({"image": pictures}, **options)
    return [
        run.preprocessor.pieces(row[:length])  # type: ignore[attr-defined]
        for row, length in zip(outputs["tokens"], outputs["length"], strict=True)
    ]


def export(run: Run, path: Path, pictures: np.ndarray, **options: Any) -> tuple[Edge, dict[str, Any]]:
    """Export through the gate, which compares 64 pictures, and compare others with `Run`."""
    report = run.export(path, **options)
    assert report["agreement"] == {"same": 64, "of": 64}
    edge = Edge(path)
    answers = [edge.predict(picture) for picture in pictures]
    assert all(isinstance(answer, Caption) for answer in answers)
    assert [answer.tokens for answer in answers] == said(run, pictures, **options)  # type: ignore[union-attr]
    return edge, report


@pytest.mark.full
def test_a_file_that_draws(run: Run, pictures: np.ndarray, tmp_path: Path) -> None:
    edge, report = export(run, tmp_path / "sample.tflite", pictures, search="sample", seed=5, temperature=1.5)
    assert report["serving_options"] == {
        "batch_size": 1,
        "search": "sample",
        "beam_width": 1,
        "length_penalty": 1.0,
        "max_length": LENGTH,
        "temperature": 1.5,
        "seed": 5,
    }
    assert edge.signatures["sample"].inputs["seed"] == ((), np.dtype(np.int32))
    sample = run.serving(search="sample", temperature=1.5).signatures["sample"].function
    for picture in pictures[:3]:
        drawn = [edge.predict(picture, seed=seed) for seed in range(12)]
        assert len({answer.tokens for answer in drawn}) > 6  # type: ignore[union-attr]
        plain: Any = edge.predict(picture)
        assert plain.tokens == drawn[5].tokens and plain.score == drawn[5].score  # type: ignore[union-attr]
    for seed in (3, 4):
        outputs = sample(image=ops.convert_to_tensor(picture[None]), seed=seed)
        wanted: Any = run.preprocessor.result({}, {name: np.array(value) for name, value in outputs.items()})
        assert drawn[seed].tokens == wanted.tokens  # type: ignore[union-attr]
        assert drawn[seed].score == pytest.approx(wanted.score, abs=1e-4)  # type: ignore[union-attr]
    for seed in (-1, 2**31 - 1, -(2**31)):
        assert edge.predict(pictures[0], seed=seed) is not None
    for wrong in (2**31, 1.0, "1"):
        with pytest.raises(ConfigError, match="must be a whole number of 32 bits"):
            edge.predict(pictures[0], seed=wrong)  # type: ignore[arg-type]
    Image.fromarray(pictures[1]).save(tmp_path / "1.png")
    command = [sys.executable, "-P", "-m", "zoo", "predict", str(tmp_path / "sample.tflite"), str(tmp_path / "1.png")]
    done = subprocess.run([*command, "--search", "sample", "--seed", "3", "--json"], capture_output=True, check=True)
    answer = edge.predict(pictures[1], seed=3)
    assert json.loads(done.stdout)["text"] == answer.text  # type: ignore[union-attr]
    for options in (["--beam-width", "2"], ["--search", "sample", "--top-k", "2"], ["--must", "word9"]):
        refused = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
        assert refused.returncode == 2 and "searches as it was exported" in refused.stderr


@pytest.mark.full
def test_a_batch_draws_for_each_picture_what_it_would_alone(run: Run, pictures: np.ndarray, tmp_path: Path) -> None:
    options = {"search": "sample", "top_k": 9, "top_p": 0.8, "no_repeat_ngram": 1, "never": ("word5", "word6 word7")}
    edge, _ = export(run, tmp_path / "batch.tflite", pictures[:7], batch_size=3, **options)
    together = edge.predict_batch(list(pictures[:7]), seed=2)
    assert (
        [answer.tokens for answer in together]
        == [  # type: ignore[union-attr]
            edge.predict(picture, seed=2).tokens  # type: ignore[union-attr]
            for picture in pictures[:7]
        ]
    )
    for answer in together:
        assert len(set(answer.tokens)) == len(answer.tokens)  # type: ignore[union-attr]


@pytest.mark.full
def test_a_file_that_asks_for_consensus(run: Run, pictures: np.ndarray, tmp_path: Path) -> None:
    options: dict[str, Any] = {"search": "consensus", "no_repeat_ngram": 1}
    edge, report = export(run, tmp_path / "consensus.tflite", pictures, batch_size=3, **options)
    assert report["serving_options"]["search"] == "consensus" and report["serving_options"]["beam_width"] == 16
    together: list[Any] = edge.predict_batch(list(pictures))
    assert [answer.tokens for answer in together] == said(run, pictures, **options)
    assert all(len(set(answer.tokens)) == len(answer.tokens) for answer in together)
    beams = said(run, pictures, beam_width=16, no_repeat_ngram=1)
    assert 0 < sum(answer.tokens == other for answer, other in zip(together, beams, strict=True)) < len(pictures)


@pytest.mark.full
@pytest.mark.parametrize("quantize", ["float32", "dynamic", "int8"])
def test_rules_hold_in_a_file(run: Run, pictures: np.ndarray, tmp_path: Path, quantize: str) -> None:
    plain = said(run, pictures)
    often = max({piece for pieces in plain for piece in pieces}, key=lambda piece: sum(piece in p for p in plain))
    assert any(len(set(pieces)) < len(pieces) for pieces in plain)  # without the rule words come twice
    word = often.removeprefix("▁")
    for search, options in {
        "greedy": {"no_repeat_ngram": 1, "never": (word,)},
        "beam": {"no_repeat_ngram": 1, "never": (word,), "must": ("word9", "word10 word11"), "beam_width": 2},
    }.items():
        path = tmp_path / f"{search}.tflite"
        if quantize == "float32":
            edge, _ = export(run, path, pictures, **options)
        else:
            run.export(path, quantize=quantize, **options)
            edge = Edge(path)
        for picture in pictures:
            answer: Any = edge.predict(picture)
            pieces = answer.tokens
            assert pieces and often not in pieces and len(set(pieces)) == len(pieces)
            assert search == "greedy" or {"▁word9", "▁word10", "▁word11"} <= set(pieces)
            assert search == "greedy" or "▁word10 ▁word11" in " ".join(pieces)
        with pytest.raises(ConfigError, match="was exported to keep some out"):
            edge.stream(pictures[0])
        with pytest.raises(ConfigError, match="draws nothing at random"):
            edge.predict(pictures[0], seed=1)
