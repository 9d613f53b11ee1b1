"""The training loop: recipe, data, model, Keras `fit`, and the run it leaves."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
from rich.console import Console

from zoo import datasets
from zoo.api import build_from_config
from zoo.errors import DataError, ZooError
from zoo.execution import compile_serving
from zoo.files import write_json
from zoo.registry import architecture
from zoo.run import Run, new_folder
from zoo.tasks import Task, get_task
from zoo.training.checkpoints import Checkpoints, StopOnNaN
from zoo.training.config import TrainConfig
from zoo.training.optimizer import make_optimizer
from zoo.training.pipeline import evaluation_batches, training_batches
from zoo.training.plan import Plan
from zoo.training.progress import ProgressBar
from zoo.training.tensorboard import TensorBoardLogs
from zoo.weights import save_weights


def run_plan(plan: Plan, *, out: Path | None = None, quiet: bool = False) -> Run:
    """Train, and return the run.

    Args:
        plan: What to train on what.
        out: Run folder; it must not exist or be empty. `runs/<name>-<data>-NNN` when not given.
        quiet: No progress on standard error.

    Raises:
        DataError: If the data cannot be used.
        TrainingError: If the loss is not a number; the last good checkpoint stays in the run folder.
    """
    console = Console(stderr=True, quiet=quiet)
    task = get_task(architecture(plan.name).task)
    options = {**task.data_options(plan.config), **plan.options}
    dataset = datasets.load(plan.data, task=task.name, **options)
    console.print(f"Reading {plan.data} ...", highlight=False, soft_wrap=True)
    source, validation = dataset.split("train"), dataset.split("valid")
    preprocessor = task.preprocessor(plan.config, dataset)
    config = task.configure(plan.config, preprocessor)
    run = Run(
        name=plan.name,
        config=config,
        preprocessor=preprocessor,
        data={"reference": _absolute(plan.data), "options": dataset.options.to_dict()},
        train=plan.train.to_dict(),
        licence=dataclasses.asdict(dataset.licence),
        trained=True,
    )
    examples = task.examples(source, preprocessor, config)
    if len(examples) == 0:
        raise DataError(f"The training split of '{plan.data}' has no examples; give more data.")
    folder = _run_folder(plan, out)
    run.save(folder)
    with _dtype_policy(plan.train.precision):
        keras.utils.set_random_seed(plan.train.seed)
        model = build_from_config(plan.name, config)
        console.print(
            f"Training {plan.name} ({model.count_params():,} parameters) on {len(examples):,} examples -> {folder}",
            highlight=False,
            soft_wrap=True,
        )
        started = time.monotonic()
        run.architecture.prepare(model, config, examples)
        history = _fit(model, plan.train, task, run, examples, validation, console)
    write_json(folder / "history.json", {"epochs": history, "seconds": round(time.monotonic() - started, 1)})
    return run


def _fit(
    model: keras.Model,
    train: TrainConfig,
    task: Task,
    run: Run,
    examples: Any,
    validation: datasets.Source,
    console: Console,
) -> dict[str, list[float]]:
    assert run.folder is not None
    batch_size = min(train.batch_size, len(examples))
    held_out = task.examples(validation, run.preprocessor, run.config)
    steps = min(train.steps_per_epoch or len(examples) // batch_size, len(examples) // batch_size)
    model.compile(
        optimizer=make_optimizer(train, steps * train.epochs),
        **task.compile_arguments(label_smoothing=train.label_smoothing),
    )
    checkpoints = Checkpoints(
        run.folder / "checkpoints", monitor=train.monitor, mode=train.monitor_mode, patience=train.patience
    )
    progress = ProgressBar(train.epochs, steps, console)
    logs = TensorBoardLogs(
        run.folder / "logs",
        sample=_sampler(model, task, run, validation) if train.samples else None,
        sample_epochs=np.linspace(0, train.epochs - 1, train.samples + 1)[1:].astype(int).tolist(),
    )
    callbacks: list[keras.callbacks.Callback] = [StopOnNaN()]
    if train.ema:
        callbacks.append(keras.callbacks.SwapEMAWeights(swap_on_epoch=True))
    callbacks += [checkpoints, logs, progress]
    try:
        history = model.fit(
            # An epoch to spare: Keras looks past the last batch and would warn that the input ran out.
            training_batches(examples, batch_size=batch_size, epochs=train.epochs + 1, seed=train.seed),
            epochs=train.epochs,
            steps_per_epoch=steps,
            # Repeated, with the number of steps given: Keras warns about an input that ends.
            validation_data=evaluation_batches(held_out, batch_size=batch_size).repeat(),
            validation_steps=-(-len(held_out) // batch_size),
            callbacks=callbacks,
            shuffle=False,  # done by the pipeline
            verbose=0,
        )
    finally:
        progress.close()
        logs.close()
    checkpoints.restore(model)
    save_weights(model, run.folder / "model.safetensors")
    return {key: [float(value) for value in values] for key, values in history.history.items()}


def _sampler(model: keras.Model, task: Task, run: Run, validation: datasets.Source) -> Any:
    """Return a function that shows answers to a few validation examples; compiled at its first call."""
    state: dict[str, Any] = {}

    def sample() -> tuple[str, Any]:
        if not state:
            state["requests"] = task.requests(validation, run.preprocessor, limit=8)
            state["answer"] = compile_serving(task.serving(model, batch_size=8))
        requests = state["requests"]
        return task.samples(state["answer"](requests.inputs), requests, run.preprocessor)

    return sample


def _run_folder(plan: Plan, out: Path | None) -> Path:
    if out is None:
        return new_folder(Path("runs"), plan.name, plan.data)
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise ZooError(f"The run folder '{out}' exists already; give another name or remove it.")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ZooError(f"Cannot make the run folder '{out}': {error.strerror or error}.") from error
    return out


def _absolute(reference: str) -> str:
    """Keep names as they are; make paths independent of the working folder."""
    known = reference in datasets.dataset_names() or reference.startswith("tfds:")
    return reference if known else str(Path(reference).resolve())


@contextlib.contextmanager
def _dtype_policy(name: str) -> Iterator[None]:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
