"""`text_attn` against its plain baselines: three seeds of a recipe, one split, paired bootstrap intervals.

Every seed trains by the recipe as it stands, changed in nothing but the seed; no models are averaged. Macro-F1 with
the standard error of the test examples; differences with the 95% interval of a paired bootstrap over the test examples,
for every seed and for the mean of the seeds.

    python benchmarks/text_seeds.py tweets reviews_zh
    python benchmarks/text_seeds.py tweets --seeds 0 --quick --out text.json
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import zoo
from zoo.files import write_json
from zoo.metrics.baselines_text import majority_probabilities, tfidf_logistic
from zoo.metrics.bootstrap import bootstrap_interval, paired_bootstrap, resamples
from zoo.metrics.classification import macro_f1
from zoo.run import Run


def baseline_predictions(run: Run, split: str) -> dict[str, np.ndarray]:
    """Return the classes each baseline predicts on a split, int (N,), fitted on the run's training split."""
    dataset, names = run.dataset(), run.preprocessor.class_names  # type: ignore[attr-defined]
    train, asked = dataset.split("train"), dataset.split(split)
    texts = [train[i]["text"] for i in range(len(train))]
    labels = np.array([names.index(train[i]["label"]) for i in range(len(train))])
    questions = [asked[i]["text"] for i in range(len(asked))]
    result = {"majority": majority_probabilities(labels, len(questions), len(names))}
    for name, balanced in (("tfidf_logistic", False), ("tfidf_logistic_balanced", True)):
        result[name] = tfidf_logistic(
            texts, labels, questions, language=dataset.language or "en", balanced=balanced, num_classes=len(names)
        )
    return {name: probabilities.argmax(1) for name, probabilities in result.items()}


def compare(
    labels: np.ndarray, models: dict[str, np.ndarray], baselines: dict[str, np.ndarray], num_classes: int
) -> dict[str, Any]:
    """Score predictions (N,) by name and the differences between every model and every baseline."""

    def score_of(predictions: list[np.ndarray]) -> Callable[[np.ndarray], float]:
        return lambda i: float(np.mean([macro_f1(labels[i], p[i], num_classes) for p in predictions]))

    statistics = {name: score_of([p]) for name, p in {**models, **baselines}.items()}
    statistics["mean of seeds"] = score_of(list(models.values()))
    table: dict[str, Any] = {}
    for name, statistic in statistics.items():
        value, low, high = bootstrap_interval(statistic, len(labels), n=1000)
        spread = float(np.std([statistic(i) for i in resamples(len(labels), n=200)]))
        table[name] = {"macro_f1": value, "se": spread, "low": low, "high": high, "minus": {}}
        if name not in baselines:
            for other in baselines:
                table[name]["minus"][other] = paired_bootstrap(statistic, statistics[other], len(labels), n=1000)
    table["mean of seeds"]["se_between_seeds"] = (
        float(np.std([table[name]["macro_f1"] for name in models], ddof=1) / np.sqrt(len(models)))
        if len(models) > 1
        else None
    )
    return table


def measure(data: str, seeds: list[int], split: str, quick: bool) -> dict[str, Any]:
    """Train every seed and compare on a split."""
    models: dict[str, np.ndarray] = {}
    for seed in seeds:
        started = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            run = zoo.train("text_attn", data, quick=quick, out=Path(folder) / "run", train={"seed": seed}, quiet=True)
            requests = run.task.requests(run.dataset().split(split), run.preprocessor)
            outputs = run.serving_outputs(requests.inputs, batch_size=64)
            models[f"seed {seed}"] = outputs["probabilities"].argmax(1)
            print(f"{data}, seed {seed}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
            if seed == seeds[-1]:
                baselines = baseline_predictions(run, split)
    labels = requests.truth[1]
    return {
        "data": data,
        "split": split,
        "examples": len(labels),
        "parameters": run.model.count_params(),
        "table": compare(labels, models, baselines, len(run.preprocessor.class_names)),  # type: ignore[attr-defined]
    }


def show(result: dict[str, Any]) -> None:
    print(f"{result['data']}, {result['split']}: {result['examples']} texts; {result['parameters']:,} parameters")
    for name, row in result["table"].items():
        between = f", between seeds {row['se_between_seeds']:.4f}" if row.get("se_between_seeds") else ""
        print(f"  {name:24} macro-F1 {row['macro_f1']:.4f} (standard error {row['se']:.4f}{between})")
        for other, (value, low, high) in row["minus"].items():
            print(f"      minus {other:24} {value:+.4f}  95% [{low:+.4f}, {high:+.4f}]")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="*", default=["tweets", "reviews_zh"], help="datasets that have a recipe")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--split", default="test")
    parser.add_argument("--quick", action="store_true", help="the recipe's quick form")
    parser.add_argument("--out", type=Path, help="also write the table as JSON")
    arguments = parser.parse_args()
    results = []
    for data in arguments.data:
        results.append(measure(data, arguments.seeds, arguments.split, arguments.quick))
        show(results[-1])
    if arguments.out:
        write_json(arguments.out, results)


if __name__ == "__main__":
    main()
