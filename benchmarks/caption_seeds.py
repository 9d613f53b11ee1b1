"""`caption_attn` on emoji: several trainings by the recipe, every search, on variants and on names never seen.

Every run is the recipe as it stands, changed in nothing but its seed, and with `--deals` in which emoji are held out.
What is trained already in `--out` is not trained again. Standard errors are those of the pictures of one split; the
last rows are means over the runs.

    python -P benchmarks/caption_seeds.py --out runs/seeds
    python -P benchmarks/caption_seeds.py --out runs/seeds --seeds 0 --deals 0 1 2 3
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

import zoo
from zoo.evaluations import evaluation_name
from zoo.files import write_json
from zoo.run import Run

SEARCHES: dict[str, dict[str, Any]] = {
    "greedy": {},
    "beam 3": {"beam_width": 3},
    "consensus": {"search": "consensus"},
}
SPLITS = ("variants", "test")


def evaluations(folder: Path, seed: int, deal: int) -> dict[str, dict[str, Any]]:
    """Return the stored evaluations of a run by name, training and evaluating where they are not there."""
    if not (folder / "history.json").exists():
        zoo.train("caption_attn", "emoji", out=folder, train={"seed": seed}, options={"seed": deal})
    run = Run.load(folder)
    for split in SPLITS:
        for search in SEARCHES.values():
            if evaluation_name(split, search) not in run.metrics:
                run.evaluate(split, pictures=False, baselines=not search, **search)
    return run.metrics


def rows_of(stored: dict[str, dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Return the numbers that are printed, for the baselines and every search."""
    first = {split: stored[evaluation_name(split, {})]["baselines"] for split in SPLITS}
    every = {f"baseline {name}": {split: first[split][name] for split in SPLITS} for name in first[SPLITS[0]]}
    for name, search in SEARCHES.items():
        every[name] = {split: stored[evaluation_name(split, search)]["metrics"] for split in SPLITS}
    rows: dict[str, dict[str, float]] = {}
    for name, metrics in every.items():
        rows[name] = {"variants exact": metrics["variants"]["exact_match"]}
        for split, key in (("variants", "cider"), ("test", "cider"), ("test", "cider_without_flags")):
            nearest = first[split]["nearest_image"]
            rows[name][f"{split} {key}"] = metrics[split][key]
            rows[name][f"{split} {key} / nearest"] = metrics[split][key] / nearest[key]
            rows[name][f"{split} {key} se"] = metrics[split][f"{key}_se"]
        rows[name]["variants exact se"] = metrics["variants"]["exact_match_se"]
    return rows


def line(name: str, row: dict[str, float]) -> str:
    """Return a row of the table."""
    cells = [f"{row['variants exact']:.3f} ({row['variants exact se']:.3f})"]
    for key in ("variants cider", "test cider", "test cider_without_flags"):
        cells.append(f"{row[key]:.3f} ({row[f'{key} se']:.3f}), {row[f'{key} / nearest']:.2f}")
    return f"| {name} | {' | '.join(cells)} |"


def main() -> None:
    """Train, evaluate and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/seeds"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4], help="seeds of training")
    parser.add_argument("--deals", type=int, nargs="+", default=[0], help="seeds of the splits")
    options = parser.parse_args()
    table: dict[str, dict[str, dict[str, float]]] = {}
    print("Value (standard error), and as a multiple of the nearest picture's.")
    print("| run | variants: exact | variants: CIDEr | test: CIDEr | test without flags: CIDEr |")
    print("|---|---|---|---|---|")
    for deal in options.deals:
        for seed in options.seeds:
            stored = evaluations(options.out / f"deal-{deal}-seed-{seed}", seed, deal)
            table[f"deal {deal}, seed {seed}"] = rows_of(stored)
            for name, row in table[f"deal {deal}, seed {seed}"].items():
                print(line(f"deal {deal}, seed {seed}, {name}", row), flush=True)
    write_json(options.out / "table.json", table)
    if len(table) > 1:
        for name in next(iter(table.values())):
            runs = [rows[name] for rows in table.values()]
            print(
                line(
                    f"mean of {len(runs)} runs, {name}",
                    {key: float(np.mean([r[key] for r in runs])) for key in runs[0]},
                )
            )


if __name__ == "__main__":
    main()
