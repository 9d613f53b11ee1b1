"""From a finished run to a folder of weights that ships: float16, measured again, with its file and its papers.

Equal runs give equal folders on one machine: no time and no duration goes in (see `zoo.references` for what is there).
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from zoo import datasets, preprocess
from zoo.config import BaseConfig
from zoo.errors import ExportError, ZooError
from zoo.export.bundle import QUANTIZATIONS
from zoo.export.variants import Comparison, compare_variants
from zoo.files import read_json, replace_folder, write_bytes, write_json, write_text
from zoo.references import TFLITE, write_manifest
from zoo.registry import Recipe, find_recipe
from zoo.run import Run
from zoo.training.config import TrainConfig
from zoo.training.plan import Plan
from zoo.weights import save_weights

SHIPPED_VARIANT = "dynamic"
BUDGET = 0.01

Progress = Callable[[str], None]


def pack_run(
    finished: Path,
    name: str,
    target: Path,
    *,
    plan: Plan,
    command: str,
    variants: Sequence[str] = QUANTIZATIONS,
    budget: float = BUDGET,
    rounds: int = 3,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Write a finished run as a folder of weights that ships.

    1. Tables and matrices become float16 where that is safe (`zoo.weights.halved`).
    2. Every split but the training split is evaluated with the weights of the run and with those in float16, the latter
       beside the baselines.
    3. The variants of the whole-task file are made from the float16 weights and compared on the validation split; the
       dynamic-range one goes into the folder.

    Args:
        finished: Folder of a finished run; it stays as it is.
        name: Reference the weights get, `caption_attn/emoji-en`.
        target: The folder to write; one that exists is replaced.
        plan: What the run must have been trained by.
        command: The command that stands for the plan.
        variants: Variants of the file to compare; the shipped one among them.
        budget: Largest relative drop of the task's main metric, by float16 on any split and by 8 bits in the file.
        rounds: Processes in which every variant is timed.
        progress: Called with a line on what is done next.

    Returns:
        What was timed, which is not in the folder: `timing` and, by variant, the records of `zoo.export.benchmark`.

    Raises:
        ExportError: If the metric drops by more than the budget, or the file does not pass the export gate.
        ZooError: If the run is not finished, was trained otherwise, or if weights trained on its data may not be given
            away.
    """
    say: Progress = progress or (lambda line: None)
    source = Run.load(finished)
    source.read_only = True
    recipe = _check(source, name)
    check_plan(source, plan, command)
    splits = [split for split in source.dataset().splits() if split != "train"]
    exact = {}
    for split in splits:
        say(f"{name}: evaluate {split} with the run's own weights")
        exact[split] = source.evaluate(split, baselines=False, pictures=False)
    timed: dict[str, Any] = {}

    def fill(folder: Path) -> None:
        half = _write_run(source, folder)
        metrics = {}
        for split in splits:
            say(f"{name}: evaluate {split} with float16 weights, and its baselines")
            metrics[split] = half.evaluate(split, pictures=False)
            _check_drop(half, exact[split], metrics[split], budget)
        write_json(folder / "metrics.json", metrics)
        comparison = compare_variants(half, variants, budget=budget, rounds=rounds, progress=progress)
        write_bytes(folder / TFLITE, _finished(comparison))
        facts = _facts(half, comparison, {split: _main(half, exact[split]) for split in splits}, command)
        write_json(folder / "card.json", facts)
        write_text(folder / "LICENCE.txt", licence_text(half))
        write_text(folder / "DATA.txt", data_text(half, facts["splits"]))
        write_manifest(folder, name, _about(half, recipe, facts, metrics))
        timed.update(
            timing=comparison.timing, variants={item.name: item.latency for item in comparison.variants if item.latency}
        )

    replace_folder(target, fill)
    return timed


def _check(run: Run, name: str) -> Recipe:
    """Return the recipe of a run that may ship, or raise."""
    if not name.startswith(f"{run.name}/") or name.count("/") != 1:
        raise ZooError(f"The weights of a run of {run.name} are called '{run.name}/...', not '{name}'.")
    if run.folder is None or run.data is None or not (run.folder / "history.json").is_file():
        raise ZooError(f"'{run.folder}' is not a finished run; let the training end: zoo train --resume {run.folder}.")
    reference = run.data["reference"]
    if reference not in datasets.dataset_names():
        raise ZooError(f"'{run.folder}' was trained on '{reference}', which is no dataset by name; it cannot ship.")
    for licence in (run.licence.get("weights_may_ship"), run.dataset().licence.weights_may_ship):
        if licence is not True:
            raise ZooError(f"Weights trained on '{reference}' may not be given away ({run.licence.get('name')}).")
    recipe = find_recipe(run.name, reference)
    if recipe is None:
        raise ZooError(f"{run.name} has no recipe for '{reference}', so that nobody could train it again; write one.")
    return recipe


def check_plan(run: Run, plan: Plan, command: str) -> None:
    """Refuse a run that was not trained by a plan; `command` says what stands for it.

    Raises:
        ZooError: If data, options, training or configuration differ; the message names the fields.
    """
    assert run.data is not None
    options = {**run.task.data_options(plan.config), **plan.options}
    planned = datasets.load(plan.data, task=run.task.name, **options).options
    config = run.task.configure(plan.config, run.preprocessor)
    pairs: list[tuple[BaseConfig, BaseConfig]] = [
        (run.dataset().options, planned),
        (TrainConfig.from_dict(run.train or {}), plan.train),
        (run.config, config),
    ]
    differing = [
        key for here, there in pairs for key, value in here.to_dict().items() if there.to_dict().get(key) != value
    ]
    if (run.name, run.data["reference"]) != (plan.name, plan.data) or differing:
        which = f" ({', '.join(differing)} differ)" if differing else ""
        raise ZooError(f"'{run.folder}' was not trained by '{command}'{which}; train it again.")


def _write_run(source: Run, folder: Path) -> Run:
    """Write run.json, preprocessor and float16 weights; returns the run they make."""
    assert source.folder is not None
    stored = read_json(source.folder / "run.json")
    write_json(folder / "run.json", {key: value for key, value in stored.items() if key != "created"})
    (folder / "preprocessor").mkdir()
    preprocess.save_folder(source.preprocessor, folder / "preprocessor")
    save_weights(source.model, folder / "model.safetensors", half=True)
    half = Run.load(folder)
    half.read_only = True
    return half


def _main(run: Run, result: dict[str, Any]) -> float:
    return float(result["metrics"][run.task.main_metric])


def _check_drop(run: Run, exact: dict[str, Any], half: dict[str, Any], budget: float) -> None:
    before, after = _main(run, exact), _main(run, half)
    loss = before - after if run.task.higher_is_better else after - before
    if not loss <= budget * max(abs(before), 1e-9):
        raise ExportError(
            f"With float16 weights the {run.task.main_metric} on '{half['split']}' goes from {before:.4g} to "
            f"{after:.4g}, over the budget of {budget:.1%}; the weights were not written."
        )


def _finished(comparison: Comparison) -> bytes:
    """Return the bundle that ships; its report says how well, and not how fast, which differs every time."""
    chosen = next((item for item in comparison.variants if item.name == SHIPPED_VARIANT), None)
    if chosen is None or not chosen.passed:
        why = "it was not made" if chosen is None else chosen.error or chosen.refused
        raise ExportError(f"The file with 8-bit weights did not pass the export gate: {why}")
    return chosen.finish(chosen.facts | {"latency": []}, TFLITE)


def _facts(run: Run, comparison: Comparison, exact: dict[str, float], command: str) -> dict[str, Any]:
    """Return what `card.json` holds."""
    dataset = run.dataset()
    counts: dict[str, dict[str, int]] = {}
    for split, rows in dataset.splits().items():
        examples = len(run.task.examples(rows, run.preprocessor, run.config))
        counts[split] = {"records": len(rows), "examples": examples}
    dropped = ("p50_ms", "p95_ms")
    return {
        "command": command,
        "parameters": run.model.count_params(),
        "splits": counts,
        "main_metric": run.task.main_metric,
        "higher_is_better": run.task.higher_is_better,
        "float32": exact,
        "variants": {
            "split": comparison.split,
            "examples": len(comparison.requests),
            "budget": comparison.budget,
            "metric": comparison.keras,
            "rows": [
                {key: value for key, value in item.record().items() if key not in dropped}
                for item in comparison.variants
            ],
        },
    }


def _about(run: Run, recipe: Recipe, facts: dict[str, Any], metrics: dict[str, Any]) -> dict[str, Any]:
    """Return what `zoo show` says of the weights."""
    split = recipe.expected_split
    assert run.data is not None
    return {
        "title": recipe.title,
        "data": run.data["reference"],
        "language": run.dataset().language,
        "licence": run.licence["name"],
        "parameters": facts["parameters"],
        "split": split,
        "metric": facts["main_metric"],
        "value": round(_main(run, metrics[split]), 4),
    }


def licence_text(run: Run) -> str:
    """Return the licence note of a run's weights."""
    terms = run.licence
    return "\n".join(
        [
            f"Weights of {run.name}, part of attention-zoo: Apache License 2.0.",
            "",
            "They were trained on data under these terms; keep the credit with them:",
            "",
            f"    {terms['name']}",
            f"    {terms['credit']}",
            f"    {terms['url']}",
            "",
        ]
    )


def data_text(run: Run, splits: dict[str, dict[str, int]]) -> str:
    """Return the data statement: what the data is, how it was split, and what of it was seen."""
    dataset = run.dataset()
    options = ", ".join(f"{key} {value}" for key, value in dataset.options.to_dict().items())
    sizes = [f"    {split}: {_count(item)}" for split, item in splits.items()]
    return "\n".join(
        [
            f"Data: '{dataset.name}'" + (f", language {dataset.language}" if dataset.language else ""),
            "",
            about_data(dataset),
            "",
            f"Options: {options}.",
            "",
            "Splits:",
            *sizes,
            "",
            "Weights, vocabulary and scales come from the training split alone; the validation split chose the best",
            "epoch and checked the export. Terms: LICENCE.txt.",
            "",
        ]
    )


def about_data(dataset: datasets.Dataset) -> str:
    """Return what a dataset's module says of it."""
    return inspect.cleandoc(sys.modules[type(dataset).__module__].__doc__ or "")


def _count(item: dict[str, int]) -> str:
    records, examples = item["records"], item["examples"]
    return f"{records:,} records" if records == examples else f"{records:,} records, {examples:,} examples"
