"""RSICD: train what is compared, evaluate every search after each stage, print one table.

    python -P benchmarks/rsicd.py --data-dir DIR [--out runs/rsicd] [--only floor recipe ...]

What is trained already is not trained again, so the table grows from call to call. The floor comes first: the others
are compared with it on the novel part of the validation split, by a paired bootstrap.
"""

from __future__ import annotations

import argparse
import functools
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import zoo
from zoo.evaluations import evaluation_name, read_answers
from zoo.files import read_json, replace_folder, write_json
from zoo.run import Run
from zoo.tasks._caption_scores import compare_answers

RECIPE = "caption_attn__rsicd"
FROZEN: dict[str, Any] = {"finetune_epochs": 0, "reward_scale": False}
CONFIGURATIONS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "floor": ("caption_floor__rsicd", {}, {}),
    "recipe": (RECIPE, {}, {}),
    "frozen": (RECIPE, {"views": "none"}, FROZEN),
    "frozen, no attention before the decoder": (RECIPE, {"views": "none", "attention": None}, FROZEN),
    "frozen, lite2": (RECIPE, {"views": "none", "encoder": "efficientnet_lite2"}, FROZEN),
}
"""Recipe, changes to the model's configuration, and to that of training. The frozen ones have rewards as they are."""

SEARCHES: dict[str, dict[str, Any]] = {
    "greedy": {},
    "beam 3": {"beam_width": 3},
    "consensus": {"search": "consensus"},
}
SPLIT = "valid"
COLUMNS = ("bleu4", "cider", "rouge_l", "bleu4_novel", "cider_novel", "copied", "distinct2")


def trained(name: str, data_dir: Path, out: Path) -> Path:
    """Return the run folder of a configuration, training it if it is not there."""
    folder = out / name.replace(" ", "-").replace(",", "")
    if (folder / "history.json").exists():
        return folder
    recipe, model, train = CONFIGURATIONS[name]
    if folder.exists():
        zoo.resume(folder)
    else:
        zoo.train(recipe, data_dir=data_dir, out=folder, model=model, train=train)
    return folder


def after_stages(folder: Path) -> Iterator[tuple[str, Path]]:
    """Give a run folder with the weights after each stage, by the stage's name."""
    for stage in read_json(folder / "history.json")["stages"]:
        weights = folder / "checkpoints" / f"after-{stage['name']}.safetensors"
        if not weights.exists():  # the only stage
            yield stage["name"], folder
            continue
        copy = folder.with_name(f"{folder.name}-after-{stage['name']}")
        if not copy.exists():
            replace_folder(copy, functools.partial(_with_weights, folder, weights))
        yield stage["name"], copy


def _with_weights(run: Path, weights: Path, new: Path) -> None:
    """Copy a run folder, but with other weights and without what was measured."""
    left_out = shutil.ignore_patterns("checkpoints", "logs", "answers", "metrics.json")
    shutil.copytree(run, new, ignore=left_out, dirs_exist_ok=True)
    shutil.copy(weights, new / "model.safetensors")


def evaluated(folder: Path, search: dict[str, Any], *, baselines: bool) -> dict[str, Any]:
    """Return the stored evaluation of a run folder, making it if it is not there."""
    name, run = evaluation_name(SPLIT, search), Run.load(folder)
    if name not in run.metrics:
        run.evaluate(SPLIT, pictures=False, baselines=baselines, **search)
    return dict(run.metrics[name])


def main() -> None:
    """Train, evaluate and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/rsicd"))
    parser.add_argument("--only", nargs="*", choices=list(CONFIGURATIONS), default=list(CONFIGURATIONS))
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    floor: list[dict[str, Any]] | None = None
    for name in (name for name in CONFIGURATIONS if name in options.only):
        folder = trained(name, options.data_dir, options.out)
        for stage in read_json(folder / "history.json")["stages"]:
            peak = f"{stage['peak_bytes'] / 1e9:.2f} GB" if stage["peak_bytes"] else "unknown memory"
            print(
                f"{name}: stage {stage['name']}, {stage['epochs']} epochs, {stage['seconds']:.0f} s, {peak}", flush=True
            )
        for stage_name, copy in after_stages(folder):
            for search_name, search in SEARCHES.items():
                found = evaluated(copy, search, baselines=name == "floor" and not search)
                answers = read_answers(copy, evaluation_name(SPLIT, search))
                row = {"model": f"{name}, after {stage_name}, {search_name}", **found["metrics"]}
                if name == "floor" and search_name == "greedy":
                    floor = answers
                    rows += [{"model": f"baseline {key}", **values} for key, values in found["baselines"].items()]
                elif floor is not None:
                    novel = next(
                        row
                        for row in compare_answers([floor, answers], "en")
                        if (row["part"], row["metric"]) == ("novel", "cider")
                    )
                    row["against the floor"] = novel["differences"][0]
                rows.append(row)
    write_json(options.out / "table.json", rows)
    print("| model | " + " | ".join(COLUMNS) + " | novel CIDEr against the floor, 95% |")
    print("|---" * (len(COLUMNS) + 2) + "|")
    for row in rows:
        cells = [f"{row[column]:.3f}" if column in row else "" for column in COLUMNS]
        difference = row.get("against the floor")
        cells.append(
            f"{difference['relative']:+.1%} ({difference['relative_low']:+.1%} to {difference['relative_high']:+.1%})"
            if difference
            else ""
        )
        print(f"| {row['model']} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
