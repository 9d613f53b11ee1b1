"""Variants of one run's file against each other, and the choice among them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from zoo import datasets
from zoo.errors import ConfigError, ExportError, UnknownNameError
from zoo.export.auto import choice, choose
from zoo.export.bundle import QUANTIZATIONS, read_bundle, unpack_bundle
from zoo.export.runtime import Edge
from zoo.export.samples import calibration_samples
from zoo.export.variants import Comparison, Variant, compare_variants
from zoo.registry import architecture
from zoo.run import Run
from zoo.tasks import Requests, get_task
from zoo.weights import save_weights

EXAMPLES = 6


@pytest.fixture(scope="module")
def forecaster(tiny_data: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that counts as trained: its answers depend on its inputs, and there are true ones to compare with."""
    cls = architecture("price_attn")
    task = get_task(cls.task)
    options = task.data_options(cls.tiny())
    data = datasets.load(tiny_data(cls.task), task=cls.task, **options)
    preprocessor = task.preprocessor(cls.tiny(), data)
    folder = tmp_path_factory.mktemp("forecaster")
    run = Run(
        name="price_attn",
        config=task.configure(cls.tiny(), preprocessor),
        preprocessor=preprocessor,
        data={"reference": str(tiny_data(cls.task)), "options": options},
    )
    keras.utils.set_random_seed(1)
    for weight in run.model.trainable_weights:
        weight.assign(weight + keras.random.normal(weight.shape, stddev=0.02))
    run.save(folder)
    save_weights(run.model, folder / "model.safetensors")
    return Run.load(folder)


@pytest.fixture(scope="module")
def comparison(forecaster: Run) -> Comparison:
    return compare_variants(forecaster, ("float32", "int8"), budget=0.5, examples=EXAMPLES, rounds=1, runs=4)


def test_comparison(comparison: Comparison, forecaster: Run) -> None:
    assert (comparison.split, comparison.metric, comparison.budget) == ("valid", "pinball", 0.5)
    assert len(comparison.requests) == EXAMPLES
    assert comparison.timing == {"threads": [1], "runs": 4, "rounds": 1, "examples": EXAMPLES}
    exact, small = comparison.variants
    assert (exact.name, small.name) == ("float32", "int8")
    assert exact.passed and exact.same.all() and exact.drop == pytest.approx(0, abs=1e-5)
    assert small.passed and small.same.shape == (EXAMPLES,)
    assert len(small.flatbuffer) < len(exact.flatbuffer) and len(small.bundle) < len(exact.bundle)
    for variant in comparison.variants:
        bundle = unpack_bundle(variant.bundle, variant.name)
        assert (bundle.flatbuffer, bundle.quantize) == (variant.flatbuffer, variant.name)
        assert bundle.json("report.json")["metric"]["tflite"] == variant.metric
        assert variant.outputs["mean"].shape == comparison.expected["mean"].shape
        score = forecaster.task.score(variant.outputs, comparison.requests, forecaster.preprocessor)
        assert score["pinball"] == pytest.approx(variant.metric)
        assert variant.latency[0]["threads"] == 1 and variant.latency[0]["p50_ms"] > 0
        assert variant.record().keys() == Variant("x").record().keys()
    assert "float32, int8 weights" in small.facts["operators_by_type"]["FULLY_CONNECTED"]  # those of the LSTM
    assert "int8" not in str(exact.facts["operators_by_type"])


def test_calibration_is_drawn_from_the_training_split_by_seed(forecaster: Run) -> None:
    serving = forecaster.serving()
    first, again, other = (calibration_samples(forecaster, serving, count=5, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.inputs["window"], again.inputs["window"])
    assert not np.array_equal(first.inputs["window"], other.inputs["window"])
    train = forecaster.task.requests(forecaster.dataset().split("train"), forecaster.preprocessor)
    known = {row.tobytes() for row in train.inputs["window"]}
    assert all(row.tobytes() in known for row in (*first.inputs["window"], *other.inputs["window"]))


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"names": ("int7",)}, UnknownNameError, "int8"),
        ({"rounds": 0}, ConfigError, "rounds"),
        ({"split": "validd"}, Exception, "valid"),
    ],
)
def test_bad_options(forecaster: Run, options: dict[str, Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says) as caught:
        compare_variants(forecaster, **options)
    assert "\n" not in str(caught.value)


def made(*variants: Variant, metric: str | None = "pinball") -> Comparison:
    return Comparison(
        variants=list(variants),
        requests=Requests({}, None, []),
        expected={},
        split="valid",
        metric=metric,
        keras=1.0,
        budget=0.01,
        timing={},
    )


def variant(name: str, size: int, milliseconds: float, **more: Any) -> Variant:
    return Variant(name, bundle=b"x" * size, latency=[{"threads": 1, "p50_ms": milliseconds}], **more)


def test_choice_is_the_smallest_or_fastest_that_passed() -> None:
    whole, half = variant("float32", 100, 3.0), variant("float16", 50, 2.0)
    eighth = variant("dynamic", 25, 2.5)
    worse = variant("int8", 20, 1.0, refused="1.2% worse, over the budget")
    comparison = made(whole, half, eighth, worse)
    assert choose(comparison, "size") is eighth
    assert choose(comparison, "latency") is half
    table = choice(comparison, "latency")
    assert [row["quantize"] for row in table["variants"]] == ["float32", "float16", "dynamic", "int8"]
    assert table["variants"][3]["refused"] == "1.2% worse, over the budget"
    assert (table["prefer"], table["budget"]) == ("latency", 0.01)


def test_no_choice() -> None:
    with pytest.raises(ExportError, match="None of int8, dynamic passed.*int8: it crashed"):
        choose(made(Variant("int8", error="it crashed."), variant("dynamic", 5, 1.0, refused="worse")))
    with pytest.raises(ConfigError, match="name a variant"):
        choose(made(variant("float32", 5, 1.0), metric=None))
    with pytest.raises(UnknownNameError, match="size"):
        choose(made(variant("float32", 5, 1.0)), "seize")
    with pytest.raises(ExportError, match="no file to write to 'x.tflite'"):
        Variant("int8", error="it crashed.").finish({}, "x.tflite")


@pytest.mark.full
@pytest.mark.parametrize("prefer", ["size", "latency"])
def test_auto_writes_the_best_and_says_how_it_compared(
    forecaster: Run, tmp_path: Path, prefer: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from zoo import display

    path = tmp_path / "best.tflite"
    report = forecaster.export(path, quantize="auto", prefer=prefer, budget=0.5, examples=EXAMPLES)
    rows = report["choice"]["variants"]
    assert [row["quantize"] for row in rows] == list(QUANTIZATIONS)
    best = min((row for row in rows if not row["refused"]), key=lambda r: r["bytes" if prefer == "size" else "p50_ms"])
    assert report["quantize"] == best["quantize"] == read_bundle(path).quantize
    assert read_bundle(path).json("report.json")["choice"] == report["choice"]
    Edge(path)
    display.variants(report)
    shown = capsys.readouterr().out
    assert all(name in shown for name in QUANTIZATIONS) and f"*   {best['quantize']}" in shown


@pytest.mark.full
def test_auto_refuses_what_loses_too_much(forecaster: Run, tmp_path: Path) -> None:
    report = forecaster.export(tmp_path / "exact.tflite", quantize="auto", budget=1e-7, examples=EXAMPLES)
    rows = {row["quantize"]: row for row in report["choice"]["variants"]}
    assert rows["int8"]["drop"] <= 1e-7 or "over the budget" in rows["int8"]["refused"]
    assert report["metric"]["drop"] <= 1e-7
