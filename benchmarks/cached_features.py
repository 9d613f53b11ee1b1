"""What storing the frozen encoder's features saves: steps of the same decoder with and without the encoder in the loop.

    python -P benchmarks/cached_features.py --data-dir DIR [--steps 20] [--rounds 3] [--batch-size 32]

Three ways to take the steps of the recipe `caption_attn__rsicd`, in turns, on the same pictures with one caption each:
from stored features; with the frozen encoder in every step; and with the encoder learning too. A step counts from
asking for the batch (pictures are read and decoded where there are no features) to the updated weights.

Then a training is started by the command, whose features are stored by now: seconds to the end of its first step.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from zoo import datasets
from zoo.api import build_from_config
from zoo.registry import find_training
from zoo.run import Run
from zoo.training.config import TrainConfig
from zoo.training.devices import Devices
from zoo.training.engine import Engine, make_engine
from zoo.training.optimizer import make_optimizer
from zoo.training.pipeline import PREFETCHED, training_batches
from zoo.training.plan import make_plan
from zoo.training.stages import stages_of

RECIPE = "caption_attn__rsicd"

_REST = 3.0
"""Seconds in which the way before fetches the batches that it fetches ahead: they are not the next way's work."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch-size", type=int, help="pictures a step; the recipe's when not given")
    options = parser.parse_args()
    cls, recipe = find_training(RECIPE)
    plan = make_plan(
        cls.name,
        recipe,
        None,
        model={"views": "none"},
        train={"captions": 1} | ({"batch_size": options.batch_size} if options.batch_size else {}),
        options={"data_dir": str(options.data_dir)},
    )
    keras.config.set_dtype_policy(plan.train.precision)
    dataset = datasets.load(plan.data, task=cls.task, **plan.options)
    source = dataset.split("train")
    run = Run(name=cls.name, config=plan.config, preprocessor=Run.untrained(cls.name).preprocessor)
    run.preprocessor = run.task.preprocessor(plan.config, dataset)
    run.config = run.task.configure(plan.config, run.preprocessor)

    ways = {
        "stored features": _stored(run, dataset, plan.train),
        "frozen encoder in the loop": _in_the_loop(run, source, plan.train, learns=False),
        "learning encoder in the loop": _in_the_loop(run, source, plan.train, learns=True),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for step in ways.values():  # the first one compiles
        step()
    for _ in range(options.rounds):
        for name, step in ways.items():
            time.sleep(_REST)
            for _ in range(PREFETCHED):  # the way's own are used up before the clock starts
                step()
            began = time.perf_counter()
            for _ in range(options.steps):
                step()
            seconds[name].append((time.perf_counter() - began) / options.steps)
    first = statistics.median(seconds["stored features"])
    steps = len(source) // plan.train.batch_size
    print(f"| encoder | seconds a step (of {plan.train.batch_size} pictures) | an epoch of {steps} steps | ratio |")
    print("|---|---|---|---|")
    for name, values in seconds.items():
        median = statistics.median(values)
        spread = f"{median:.3f} ({min(values):.3f} to {max(values):.3f})"
        print(f"| {name} | {spread} | {median * steps:.0f} s | {median / first:.2f} |")
    print(f"A start with stored features: {second_start(options.data_dir):.1f} s to the end of the first step.")


def second_start(data_dir: Path) -> float:
    """Return the seconds from the command to the end of the first step."""
    with tempfile.TemporaryDirectory() as folder:
        brief = {"epochs": 1, "finetune-epochs": 0, "reward-epochs": 0, "steps-per-epoch": 1, "log-every": 1}
        words = [word for name, value in brief.items() for word in (f"--train.{name}", str(value))]
        where = ["--data-dir", str(data_dir), "--out", f"{folder}/run", "--model.views", "none"]
        command = [sys.executable, "-P", "-m", "zoo", "train", RECIPE, *where, *words]
        began = time.time()
        subprocess.run(command, check=True, capture_output=True)
        events = EventAccumulator(f"{folder}/run/logs/steps").Reload()
        return float(events.Scalars("step/loss")[0].wall_time - began)


def _engine(model: keras.Model, arguments: dict[str, Any], train: TrainConfig, batch: Any) -> Engine:
    engine = make_engine(Devices("one", "a measurement"), train)
    model.compile(optimizer=make_optimizer(train, 10_000), **arguments)
    engine.setup(model, batch)
    return engine


def _stored(run: Run, dataset: datasets.Dataset, train: TrainConfig) -> Callable[[], None]:
    model = build_from_config(run.name, run.config)
    run.architecture.load_parts(model, run.config)
    lesson = run.task.lesson(
        model, run, dataset.split("train"), dataset.split("valid"), stages_of(train)[0], train, print
    )
    batches = iter(training_batches(lesson.examples, batch_size=train.batch_size, seed=0))
    engine = _engine(lesson.model, lesson.compile_arguments, train, next(batches))
    return lambda: _step(engine, next(batches))


def _in_the_loop(run: Run, source: datasets.Source, train: TrainConfig, *, learns: bool) -> Callable[[], None]:
    model = build_from_config(run.name, run.config)
    run.architecture.load_parts(model, run.config)
    for part in ("frozen", "tuned"):
        model.get_layer("encoder").get_layer(part).trainable = learns
    examples = run.task.examples(source, run.preprocessor, run.config.replace(augment=0.0))
    batches = iter(training_batches(examples, batch_size=train.batch_size, seed=0))
    arguments = run.task.compile_arguments(label_smoothing=train.label_smoothing)
    engine = _engine(model, arguments, train, next(batches))
    return lambda: _step(engine, next(batches))


def _step(engine: Engine, batch: Any) -> None:
    (result,) = engine.step([batch])
    np.asarray(keras.ops.convert_to_numpy(result["loss"]))  # waits for the device


if __name__ == "__main__":
    main()
