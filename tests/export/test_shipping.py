"""Packing a finished run: what is refused, that two packings are equal, and the card made of the folder."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from zoo.errors import ExportError, ZooError
from zoo.export import shipping
from zoo.export.card import model_card, model_index
from zoo.export.shipping import check_plan, pack_run
from zoo.files import read_json, write_json
from zoo.references import MANIFEST, check_shipped
from zoo.registry import architecture, find_recipe
from zoo.run import Run
from zoo.training.config import TrainConfig
from zoo.training.plan import Plan, make_plan

STORED = Path(__file__).resolve().parents[1] / "fixtures" / "shipped_v1"
NAME = "price_attn/tiny"
COMMAND = "zoo train price_attn"


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """A run folder as training leaves it."""
    folder = tmp_path / "run"
    shutil.copytree(STORED / NAME, folder)
    (folder / MANIFEST).unlink()
    run = read_json(folder / "run.json")
    # Settings of stages that it has not were stored with the defaults of their time.
    now = {key: value for key, value in TrainConfig().to_dict().items() if key.startswith(("reward_", "finetune_"))}
    changed = {"created": "2026-01-01T00:00:00+00:00", "train": {**run["train"], **now}}
    write_json(folder / "run.json", {**run, **changed})
    write_json(folder / "history.json", {"epochs": [], "seconds": 1.5})
    return folder


@pytest.fixture(scope="module")
def plan() -> Plan:
    train = {"epochs": 1, "steps_per_epoch": 30, "batch_size": 32, "samples": 0}
    model = architecture("price_attn").tiny().to_dict()
    return make_plan("price_attn", find_recipe("price_attn", "stocks"), "stocks", model=model, train=train)


def change(folder: Path, **changes: Any) -> None:
    write_json(folder / "run.json", {**read_json(folder / "run.json"), **changes})


def test_what_may_not_ship_is_refused(finished: Path, plan: Plan, tmp_path: Path) -> None:
    target = tmp_path / "out"

    def refused(message: str, name: str = NAME, plan: Plan = plan) -> None:
        with pytest.raises(ZooError, match=message):
            pack_run(finished, name, target, plan=plan, command=COMMAND)
        assert not target.exists()

    refused("are called 'price_attn/...', not 'stocks'", name="stocks")
    refused("are called 'price_attn/...', not 'text_attn/x'", name="text_attn/x")
    licence = read_json(finished / "run.json")["licence"]
    other = dataclasses.replace(plan, train=plan.train.replace(epochs=7, seed=1))
    refused(r"was not trained by 'zoo train price_attn' \(epochs, seed differ\)", plan=other)
    change(finished, licence={**licence, "weights_may_ship": False})
    refused("Weights trained on 'stocks' may not be given away")
    change(finished, licence={**licence, "weights_may_ship": "yes"})
    refused("may not be given away")
    change(finished, licence=licence, data={"reference": str(tmp_path / "prices.csv"), "options": {}})
    refused("is no dataset by name")
    (finished / "history.json").unlink()
    refused("is not a finished run")


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({"config": {"d_model": 4}}, "d_model"),
        ({"options": {"gap": 3}}, "gap"),
        ({"train": {"learning_rate": 0.5}}, "learning_rate"),
    ],
)
def test_a_run_of_another_plan_is_told_from_the_plans(
    finished: Path, plan: Plan, changes: dict[str, Any], fields: str
) -> None:
    check_plan(Run.load(finished), plan, COMMAND)
    other = dataclasses.replace(
        plan,
        config=plan.config.replace(**changes.get("config", {})),
        train=plan.train.replace(**changes.get("train", {})),
        options={**plan.options, **changes.get("options", {})},
    )
    with pytest.raises(ZooError, match=f"{fields} differ"):
        check_plan(Run.load(finished), other, COMMAND)


def test_weights_that_lose_too_much_are_refused(finished: Path) -> None:
    run = Run.load(finished)
    before, after = ({"split": "test", "metrics": {"pinball": value}} for value in (2.0, 2.1))
    shipping._check_drop(run, before, after, 0.06)
    shipping._check_drop(run, after, before, 0.0)
    with pytest.raises(ExportError, match="pinball on 'test' goes from 2 to 2.1, over the budget of 4.0%"):
        shipping._check_drop(run, before, after, 0.04)
    lost = {"split": "test", "metrics": {"pinball": float("nan")}}
    with pytest.raises(ExportError, match="over the budget"):
        shipping._check_drop(run, before, lost, 0.04)


@pytest.mark.full
def test_two_packings_are_equal_byte_by_byte(finished: Path, plan: Plan, tmp_path: Path) -> None:
    kept = {path.name for path in finished.iterdir()}
    folders = [tmp_path / "first", tmp_path / "second"]
    for folder in folders:
        timed = pack_run(finished, NAME, folder, plan=plan, command=COMMAND, variants=("dynamic",), rounds=1)
        assert timed["variants"]["dynamic"][0]["p50_ms"] > 0
        assert check_shipped(folder)["about"]["metric"] == "pinball"
    first, second = (
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        for folder in folders
    )
    assert first == second
    assert {path.name for path in finished.iterdir()} == kept  # nothing was written into the run
    assert "created" not in read_json(folders[0] / "run.json")
    metrics = read_json(folders[0] / "metrics.json")
    assert set(metrics) == {"valid", "test"} and all(result["baselines"] for result in metrics.values())


@pytest.mark.full
def test_a_file_that_fails_the_gate_leaves_nothing(finished: Path, plan: Plan, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="did not pass the export gate"):
        pack_run(finished, NAME, tmp_path / "out", plan=plan, command=COMMAND, variants=("dynamic",), budget=0.0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]


def test_a_card_is_made_of_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    shutil.copytree(STORED / NAME, folder)
    record = {"p50_ms": 1.25, "p95_ms": 2.0, "load_ms": 30.0, "peak_memory_mb": 48.0}
    timing = {"threads": [1], "runs": 40, "rounds": 3, "examples": 8}
    timed = {"machine": "a machine", "timing": timing, "variants": {"dynamic": [record]}}
    card = model_card(folder, timed)
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    recipe = find_recipe("price_attn", "stocks")
    assert recipe is not None and recipe.limits
    flat = " ".join(card.split())
    for sentence in (
        "# price_attn/tiny",
        'run = zoo.load("price_attn/tiny")',
        'zoo.build("price_attn", weights="tiny")',
        "Daily prices of Apple, Google, IBM and Microsoft",
        f"| **pinball** | {metrics['test']['metrics']['pinball']:.4g} |",
        f"{metrics['test']['baselines']['persistence']['pinball']:.4g}",
        "| 1.25 | 2 | 30 | 48 | yes |",
        "on a machine, one thread: medians of 3 processes",
        "Quandl WIKI Prices, declared public domain",
        "--only price_attn/tiny",
        *recipe.limits,
    ):
        assert sentence in flat, sentence
    assert model_card(folder, timed) == card
    assert "medians" not in model_card(folder)
    assert all(len(line) <= 120 for line in card.splitlines() if not line.startswith("|"))
    index = model_index([folder])
    assert "[`price_attn/tiny`](price_attn-tiny.md)" in index and "public domain" in index

    facts = read_json(folder / "card.json")
    facts["variants"]["rows"][0] |= {"refused": "too | bad", "bytes": None, "metric": None, "drop": None, "same": None}
    write_json(folder / "card.json", facts)
    assert "| **dynamic** |  |  |  |  | 1.25 | 2 | 30 | 48 | too \\| bad |" in model_card(folder, timed)
