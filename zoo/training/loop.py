"""From a plan to a run: recipe, data, devices, model, training, and the run folder it leaves."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
from rich.console import Console

from zoo import datasets
from zoo.api import build_from_config
from zoo.errors import ConfigError, DataError, ModelFileError, ZooError
from zoo.execution import compile_serving
from zoo.files import write_json
from zoo.registry import architecture
from zoo.run import Run, new_folder
from zoo.tasks import Task, get_task
from zoo.training.config import TrainConfig
from zoo.training.devices import Devices, choose
from zoo.training.engine import Engine, make_engine
from zoo.training.hparams import hyperparameters
from zoo.training.optimizer import make_optimizer
from zoo.training.pipeline import evaluation_batches, training_batches
from zoo.training.plan import Plan
from zoo.training.profiler import Profiler
from zoo.training.progress import ProgressBar
from zoo.training.projector import write_embeddings
from zoo.training.state import StateFiles, history_of
from zoo.training.tensorboard import TensorBoardLogs
from zoo.training.trainer import Trainer
from zoo.weights import save_weights


def run_plan(plan: Plan, *, devices: str = "auto", out: Path | None = None, quiet: bool = False) -> Run:
    """Train, and return the run.

    Args:
        plan: What to train on what.
        devices: One of `zoo.training.devices.CHOICES`.
        out: Run folder; it must not exist or be empty. `runs/<name>-<data>-NNN` when not given. Several processes need
            one that all of them see.
        quiet: No progress on standard error.

    Raises:
        ConfigError: If the devices do not fit the backend, or the batch cannot be cut evenly.
        DataError: If the data cannot be used.
        TrainingError: If the loss is not a number; the last good checkpoint stays in the run folder.
    """
    chosen = choose(devices)
    console = _console(chosen, quiet)
    if chosen.process_count > 1 and out is None:
        raise ConfigError(f"{chosen.process_count} processes train together; name a run folder that all of them see.")
    engine = make_engine(chosen, plan.train)  # TensorFlow's workers must meet before anything else is done
    task = get_task(architecture(plan.name).task)
    options = {**task.data_options(plan.config), **plan.options}
    dataset = datasets.load(plan.data, task=task.name, **options)
    console.print(f"Reading {plan.data} ...", highlight=False, soft_wrap=True)
    dataset.split("train"), dataset.split("valid")  # both must be there before a vocabulary is learned
    preprocessor = task.preprocessor(plan.config, dataset)
    run = Run(
        name=plan.name,
        config=task.configure(plan.config, preprocessor),
        preprocessor=preprocessor,
        data={"reference": _absolute(plan.data), "options": dataset.options.to_dict()},
        train=plan.train.to_dict(),
        licence=dataclasses.asdict(dataset.licence),
        trained=True,
    )
    session = _Session(run, dataset, engine, console)
    folder = _run_folder(plan, out, chosen)
    if chosen.is_chief:
        run.save(folder)
    run.folder = folder
    return session.train()


def resume_run(folder: Path, *, devices: str = "auto", quiet: bool = False) -> Run:
    """Go on with a training that was interrupted, exactly where its last checkpoint is; a finished one is returned.

    Args:
        folder: The run folder.
        devices: One of `zoo.training.devices.CHOICES`. Equal losses need the same kind and number as before.
        quiet: No progress on standard error.

    Raises:
        ModelFileError: If it is not a run of this version, or none of its checkpoints can be read.
        DataError: If the data is not what it was.
    """
    run = Run.load(folder)
    if run.train is None or run.data is None:
        raise ModelFileError(f"The run '{folder}' was not trained by this program; it cannot be resumed.")
    chosen = choose(devices)
    console = _console(chosen, quiet)
    if (folder / "history.json").exists():
        console.print(f"The training in {folder} is finished.", highlight=False, soft_wrap=True)
        return run
    engine = make_engine(chosen, TrainConfig.from_dict(run.train))
    console.print(f"Reading {run.data['reference']} ...", highlight=False, soft_wrap=True)
    return _Session(run, run.dataset(), engine, console).train(resume=True)


class _Session:
    """One training from data to the finished run folder."""

    def __init__(self, run: Run, dataset: datasets.Dataset, engine: Engine, console: Console) -> None:
        self.run, self.engine, self.console = run, engine, console
        self.train_config, self.devices = engine.train, engine.devices
        self.task: Task = run.task
        self.validation = dataset.split("valid")
        self.examples = self.task.examples(dataset.split("train"), run.preprocessor, run.config)
        if len(self.examples) == 0:
            raise DataError(f"The training split of '{dataset.name}' has no examples; give more data.")

    def train(self, *, resume: bool = False) -> Run:
        """Build, train, and write what the run needs to answer."""
        run, engine, train, folder = self.run, self.engine, self.train_config, self.run.folder
        assert folder is not None
        size = self._batch_size(engine.replicas)
        steps = min(train.steps_per_epoch or len(self.examples) // size, len(self.examples) // size)
        held_out = self.task.examples(self.validation, run.preprocessor, run.config)
        files = StateFiles(folder / "checkpoints")
        parts = {"process_index": self.devices.process_index, "process_count": self.devices.process_count}
        batches = training_batches(self.examples, batch_size=size, seed=train.seed, **parts)
        validation = evaluation_batches(held_out, batch_size=size, **parts)
        with _dtype_policy(train.precision):
            with engine.scope():
                keras.utils.set_random_seed(train.seed)
                model = build_from_config(run.name, run.config)
                model.compile(
                    optimizer=make_optimizer(train, steps * train.epochs),
                    **self.task.compile_arguments(label_smoothing=train.label_smoothing),
                )
                engine.setup(model, validation[0])
            stored = files.read_newest(self._say) if resume else None
            if stored is None:
                engine.sync()
                run.architecture.prepare(model, run.config, self.examples)
                engine.changed()
            first = stored[1]["step"] if stored else 0
            progress = ProgressBar(train.epochs, steps, self.console, first_step=first)
            callbacks = self._callbacks(model, size, stored[1] if stored else None) if self.devices.is_chief else []
            trainer = Trainer(
                engine,
                train,
                steps=steps,
                batches=batches,
                held_out=validation,
                files=files,
                callbacks=[*callbacks, progress],
            )
            if stored is not None:
                trainer.restore(*stored)
                engine.barrier()  # or the first process might replace what another has yet to read
            self._say(
                f"{'Going on with' if resume else 'Training'} {run.name} ({model.count_params():,} parameters) on "
                f"{len(self.examples):,} examples{f' from step {first}' if first else ''} -> {folder}"
            )
            self._say(f"Devices: {self.devices}; backend {keras.backend.backend()}")
            try:
                trainer.run()
            finally:
                for callback in (*callbacks, progress):
                    callback.close()
            self._finish(model, trainer)
            engine.barrier()
        return run

    def _finish(self, model: keras.Model, trainer: Trainer) -> None:
        folder = self.run.folder
        assert folder is not None
        if self.devices.is_chief:
            save_weights(model, folder / "model.safetensors")
            vocabulary = getattr(self.run.preprocessor, "vocabulary", None) or getattr(
                self.run.preprocessor, "tokens", None
            )
            if vocabulary:
                write_embeddings(folder / "logs" / "train", model, vocabulary)
            # Last: a run with a history is a finished one.
            seconds = round(trainer.seconds + trainer.elapsed, 1)
            write_json(folder / "history.json", {"epochs": trainer.history, "seconds": seconds})
        if self.devices.process_count > 1:
            digest = hashlib.sha256(b"".join(np.ascontiguousarray(w).tobytes() for w in model.get_weights()))
            where = f"Process {self.devices.process_index + 1} of {self.devices.process_count}"
            Console(stderr=True).print(f"{where}: weights {digest.hexdigest()[:16]}", highlight=False)

    def _callbacks(self, model: keras.Model, batch_size: int, info: dict[str, Any] | None) -> list[Any]:
        """Return what writes logs; each has `close`, which is called whatever happens.

        Args:
            model: The model.
            batch_size: Examples a step.
            info: Of the checkpoint that training goes on from.
        """
        run, train = self.run, self.train_config
        assert run.folder is not None and run.data is not None
        # Answering would need all processes of a global program, and only this one writes.
        samples = train.samples if self.devices.process_count == 1 else 0
        first_step = info["step"] if info else 0
        callbacks: list[Any] = [
            TensorBoardLogs(
                run.folder / "logs",
                first_step=first_step,
                examples_per_step=batch_size,
                tokens_per_example=getattr(run.config, "max_length", None),
                hparams=hyperparameters(run.name, run.data["reference"], run.config, train),
                monitor=train.monitor,
                monitor_mode=train.monitor_mode,
                history=history_of(info) if info else None,
                sample=_sampler(model, self.task, run, self.validation) if samples else None,
                sample_epochs=np.linspace(0, train.epochs - 1, samples + 1)[1:].astype(int).tolist(),
            )
        ]
        if train.profile_steps is not None:
            callbacks.append(Profiler(run.folder / "logs", train.profile_steps, first_step=first_step))
        if train.wandb:
            from zoo.training.wandb import WandbLogs

            plan = {"architecture": run.name, "data": run.data, "model": run.config.to_dict(), "train": train.to_dict()}
            callbacks.append(WandbLogs(run.folder, plan))
        return callbacks

    def _batch_size(self, replicas: int) -> int:
        """Return the examples a step: those asked for, or as many as there are, in equal shards."""
        train, count = self.train_config, len(self.examples)
        unit = replicas * train.micro_batches
        shards = f"{unit} equal shards ({replicas} replicas x {train.micro_batches} micro-batches)"
        if train.batch_size % unit:
            near = max(unit, round(train.batch_size / unit) * unit)
            raise ConfigError(f"batch_size {train.batch_size} cannot be cut into {shards}; {near} can.")
        size = min(train.batch_size, count // unit * unit)
        if size == 0:
            raise DataError(f"The training split has {count} examples, too few for {shards}; give more data.")
        return size

    def _say(self, text: str) -> None:
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)


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


def _console(devices: Devices, quiet: bool) -> Console:
    return Console(stderr=True, quiet=quiet or not devices.is_chief)


def _run_folder(plan: Plan, out: Path | None, devices: Devices) -> Path:
    if out is None:
        return new_folder(Path("runs"), plan.name, plan.data)
    if not devices.is_chief:
        return out
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise ZooError(f"The run folder '{out}' exists already; give another name or remove it.")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ZooError(f"Cannot make the run folder '{out}': {error.strerror or error}.") from error
    return out


def _absolute(reference: str) -> str:
    """Keep names as they are; make paths independent of the working folder."""
    known = reference in datasets.dataset_names() or reference.startswith("tfds:") or "://" in reference
    return reference if known else str(Path(reference).resolve())


@contextlib.contextmanager
def _dtype_policy(name: str) -> Iterator[None]:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
