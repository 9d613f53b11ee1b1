"""The weights that ship: complete, small, made by their recipes, as good as their papers say, and ready to answer."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

import zoo
from zoo.export.bundle import read_bundle
from zoo.export.card import model_card, model_index
from zoo.export.golden import read_golden
from zoo.export.verify import verify_file
from zoo.files import read_json
from zoo.references import SHIPPED, TFLITE, check_shipped, shipped
from zoo.registry import find_recipe
from zoo.run import Run
from zoo.training.plan import make_plan

ROOT = Path(__file__).resolve().parents[2]
TOOL = runpy.run_path(str(ROOT / "tools" / "ship_weights.py"))
NAMES = sorted(TOOL["SHIPMENTS"])
CARDS = ROOT / "docs" / "models"
MOST_BYTES = 16_000_000

each = pytest.mark.parametrize("name", NAMES)


def test_they_are_all_there_and_small() -> None:
    assert sorted(shipped()) == NAMES, "make them: python tools/ship_weights.py"
    assert TOOL["MOST_BYTES"] == MOST_BYTES
    sizes = {path: path.stat().st_size for path in SHIPPED.rglob("*") if path.is_file()}
    assert sum(sizes.values()) <= MOST_BYTES, sizes


@each
def test_a_folder_is_whole(name: str) -> None:
    folder = SHIPPED / name
    manifest = check_shipped(folder)
    assert manifest["name"] == name
    assert set(manifest["files"]) >= {"run.json", "metrics.json", "card.json", "LICENCE.txt", "DATA.txt", TFLITE}
    run = Run.load(folder)
    assert run.read_only and run.licence["weights_may_ship"] is True
    assert run.dataset().licence.weights_may_ship is True
    licence = (folder / "LICENCE.txt").read_text(encoding="utf-8")
    assert run.licence["credit"] in licence and run.licence["name"] in licence
    assert "created" not in read_json(folder / "run.json")
    kinds = {array.dtype.name for array in load_file(folder / "model.safetensors").values() if array.ndim > 1}
    assert "float16" in kinds
    assert read_bundle(folder / TFLITE).quantize == "dynamic"


@each
def test_they_were_made_by_the_recipes_command(name: str) -> None:
    shipment = TOOL["SHIPMENTS"][name]
    recipe = find_recipe(shipment.architecture, shipment.data)
    plan = make_plan(shipment.architecture, recipe, shipment.data, options=dict(shipment.options))
    command = " ".join(["zoo", *shipment.command(quick=False)])
    assert read_json(SHIPPED / name / "card.json")["command"] == command
    # Packing has compared every field; here those that the recipe names, so that another default may change.
    run = Run.load(SHIPPED / name)
    assert run.train is not None and run.data is not None and recipe is not None
    planned = run.task.configure(plan.config, run.preprocessor).to_dict()
    for there, here, fields in (
        (planned, run.config.to_dict(), recipe.model),
        (plan.train.to_dict(), run.train, recipe.train),
        (plan.options, run.data["options"], plan.options),
    ):
        for field in fields or {}:
            assert here[field] == there[field], field


@each
def test_they_score_as_the_recipe_says(name: str) -> None:
    run = Run.load(SHIPPED / name)
    assert run.data is not None
    recipe = find_recipe(run.name, run.data["reference"])
    assert recipe is not None
    result = run.metrics[recipe.expected_split]
    assert set(run.metrics) == set(run.dataset().splits()) - {"train"}
    for metrics in run.metrics.values():
        assert metrics["examples"] > 0 and metrics["baselines"]
    key = run.task.main_metric
    if TOOL["SHIPMENTS"][name].options:  # another language than the recipe's numbers are of
        assert result["metrics"][key] > 1.1 * result["baselines"]["nearest_image"][key]
        return
    expected, found = recipe.expected[key], result["metrics"][key]
    allowed = 3 * result["metrics"].get(f"{key}_se", 0.01 * expected)
    worse = expected - found if run.task.higher_is_better else found - expected
    assert worse <= allowed, (key, found, expected)


@each
def test_the_card_is_that_of_the_folder(name: str) -> None:
    timed = read_json(CARDS / "latency.json")[name]
    written = (CARDS / f"{name.replace('/', '-')}.md").read_text(encoding="utf-8")
    assert written == model_card(SHIPPED / name, timed), "write them anew: python tools/ship_weights.py --cards"


def test_the_index_is_that_of_the_folders() -> None:
    written = (CARDS / "README.md").read_text(encoding="utf-8")
    assert written == model_index([SHIPPED / name for name in NAMES])
    assert sorted(read_json(CARDS / "latency.json")) == NAMES


@each
def test_the_file_passes_verification(name: str) -> None:
    report = verify_file(SHIPPED / name / TFLITE)
    assert report["passed"], report["problems"]


@each
def test_keras_answers_with_them(name: str) -> None:
    run = zoo.load(name)
    model = zoo.build(run.name, weights=name.partition("/")[2])
    assert model.count_params() == check_shipped(SHIPPED / name)["about"]["parameters"]
    cases = [case for case in read_golden(read_bundle(SHIPPED / name / TFLITE)) if "made up" not in case.id]
    pairs = [
        (run.predict(case.request.value()).to_dict(), case.answer) for case in cases if case.request and case.answer
    ]
    assert len(pairs) >= 3
    if "text" in pairs[0][0]:  # 8 bits may change a word of one
        assert sum(answer["text"] != stored["text"] for answer, stored in pairs) <= 1
    for answer, stored in pairs:
        for label, value in answer.get("probabilities", {}).items():
            assert value == pytest.approx(stored["probabilities"][label], abs=0.02)
        if "mean" in answer:
            np.testing.assert_allclose(answer["mean"], stored["mean"], rtol=1e-3)


@each
def test_the_command_line_answers_without_keras(
    name: str, tmp_path: Path, answer_without_keras: Callable[..., Any]
) -> None:
    case = read_golden(read_bundle(SHIPPED / name / TFLITE))[0]
    assert case.request is not None and case.answer is not None
    if case.request.kind == "image_rgb":
        given = str(tmp_path / "picture.png")
        Image.fromarray(case.request.value()).save(given)
    elif case.request.kind == "csv":
        given = str(tmp_path / "prices.csv")
        Path(given).write_bytes(case.request.content)
    else:
        given = case.request.content.decode()
    answer = answer_without_keras("predict", name, given, timeout=120)
    for key in ("text", "label", "target"):
        assert answer.get(key) == case.answer.get(key)
    if "mean" in answer:
        np.testing.assert_allclose(answer["mean"], case.answer["mean"], rtol=1e-4)


@pytest.mark.full
@each
def test_the_stored_metrics_are_those_of_the_stored_weights(name: str) -> None:
    run = zoo.load(name)
    assert run.data is not None
    recipe = find_recipe(run.name, run.data["reference"])
    assert recipe is not None
    key, split = run.task.main_metric, recipe.expected_split
    again = run.evaluate(split, baselines=False)
    assert again["metrics"][key] == pytest.approx(run.metrics[split]["metrics"][key], rel=2e-3)
