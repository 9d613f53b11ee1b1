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
from zoo.tasks import Lesson, Task, get_task
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
from zoo.training.stages import Stage, stages_of
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
    dataset = _on(chosen, datasets.load(plan.data, task=task.name, **options), quiet)
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
    stored = StateFiles(folder / "checkpoints").read_newest(
        lambda text: console.print(text, highlight=False, markup=False, soft_wrap=True)
    )
    return _Session(run, _on(chosen, run.dataset(), quiet), engine, console, stored).train()


class _Session:
    """One training from data to the finished run folder.

    Args:
        run: Not trained yet; its folder may be given later, before `train`.
        dataset: What to train on.
        engine: What takes the steps.
        console: Where to say what happens.
        stored: Of the checkpoint that training goes on from.
    """

    def __init__(
        self,
        run: Run,
        dataset: datasets.Dataset,
        engine: Engine,
        console: Console,
        stored: tuple[dict[str, np.ndarray], dict[str, Any]] | None = None,
    ) -> None:
        self.run, self.engine, self.console, self.stored = run, engine, console, stored
        self.train_config, self.devices = engine.train, engine.devices
        self.task: Task = run.task
        self.source, self.validation = dataset.split("train"), dataset.split("valid")
        stages = stages_of(engine.train)
        reached = next((i for i, stage in enumerate(stages) if stored and stage.name == stored[1].get("stage")), 0)
        self.stages = stages[reached:]
        for stage in stages:
            self.task.check_stage(run, stage, self.devices.process_count)
        with _dtype_policy(engine.train.precision), engine.scope():
            keras.utils.set_random_seed(engine.train.seed)
            self.model = build_from_config(run.name, run.config)
            run.architecture.load_parts(self.model, run.config)
            self.lesson = self._lesson(self.stages[0])
        if len(self.lesson.examples) == 0:
            raise DataError(f"The training split of '{dataset.name}' has no examples; give more data.")
        self.size = self._batch_size(engine.replicas)

    def train(self) -> Run:
        """Train all stages, and write what the run needs to answer."""
        folder = self.run.folder
        assert folder is not None
        trainer: Trainer | None = None
        with _dtype_policy(self.train_config.precision):
            info = self.stored[1] if self.stored else None
            callbacks = self._callbacks(info) if self.devices.is_chief else []
            total = sum(stage.epochs for stage in stages_of(self.train_config))
            first = info["step"] if info else 0
            callbacks.append(ProgressBar(total, self._steps, self.console, first_step=first))
            self._say(
                f"{'Going on with' if info else 'Training'} {self.run.name} ({self.model.count_params():,} parameters) "
                f"on {len(self.lesson.examples):,} examples{f' from step {first}' if first else ''} -> {folder}"
            )
            self._say(f"Devices: {self.devices}; backend {keras.backend.backend()}")
            try:
                for stage in self.stages:
                    trainer = self._trainer(stage, callbacks, trainer)
                    trainer.run()
                    self._end_stage(stage, trainer)
            finally:
                for callback in callbacks:
                    callback.close()
            assert trainer is not None
            self._finish(trainer)
            self.engine.barrier()
        return self.run

    @property
    def _steps(self) -> int:
        """Steps an epoch, the same in all stages."""
        whole = len(self.lesson.examples) // self.size
        return min(self.train_config.steps_per_epoch or whole, whole)

    def _lesson(self, stage: Stage) -> Lesson:
        return self.task.lesson(self.model, self.run, self.source, self.validation, stage, self.train_config, self._say)

    def _trainer(self, stage: Stage, callbacks: list[Any], earlier: Trainer | None) -> Trainer:
        """Set the engine up for a stage."""
        engine, train, folder = self.engine, self.train_config, self.run.folder
        assert folder is not None
        with engine.scope():
            if earlier is not None:
                self.lesson = self._lesson(stage)
            lesson = self.lesson
            parts = {"process_index": self.devices.process_index, "process_count": self.devices.process_count}
            held_out = evaluation_batches(lesson.held_out, batch_size=self.size, **parts)
            batches = iter(training_batches(lesson.examples, batch_size=self.size, seed=train.seed, **parts))
            lesson.model.compile(
                optimizer=make_optimizer(train, self._steps * stage.epochs, stage.learning_rate),
                **lesson.compile_arguments,
            )
            engine.setup(lesson.model, held_out[0])
        self._check_monitor(lesson)
        if earlier is None and self.stored is None:
            engine.sync()
            self.run.architecture.prepare(self.model, self.run.config, lesson.examples)
            engine.changed()
        trainer = Trainer(
            engine,
            train,
            steps=self._steps,
            batches=lesson.wrap(batches) if lesson.wrap else batches,
            on_policy=lesson.wrap is not None,
            held_out=held_out,
            files=StateFiles(folder / "checkpoints"),
            callbacks=callbacks,
            stage=stage,
            last=stage == self.stages[-1],
            earlier=earlier,
            whole=self.model,
            measure=lesson.measure,
        )
        if earlier is None and self.stored is not None:
            trainer.restore(*self.stored)
            engine.barrier()  # or the first process might replace what another has yet to read
        if len(stages_of(train)) > 1:
            count = sum(int(np.prod(weight.shape)) for weight in lesson.model.trainable_weights)
            self._say(
                f"Stage '{stage.name}': {stage.epochs} epochs at {stage.learning_rate:g}, {count:,} weights learn"
            )
        return trainer

    def _check_monitor(self, lesson: Lesson) -> None:
        """Refuse to watch a value that no epoch will have, before one is trained."""
        own = self.engine.results(self.engine.zeros())
        names = sorted({*own, *(f"val_{name}" for name in own), *lesson.measured})
        if self.train_config.monitor not in names:
            raise ConfigError(f"train.monitor is '{self.train_config.monitor}'; it can be {', '.join(names)}.")

    def _end_stage(self, stage: Stage, trainer: Trainer) -> None:
        if len(stages_of(self.train_config)) > 1:
            assert self.run.folder is not None
            if self.devices.is_chief:
                save_weights(self.model, self.run.folder / "checkpoints" / f"after-{stage.name}.safetensors")
            taken = trainer.stages[-1]
            memory = f", {taken['peak_bytes'] / 1e9:.2f} GB of memory at most" if taken["peak_bytes"] else ""
            self._say(f"Stage '{stage.name}' took {taken['seconds']:.0f} s{memory}")

    def _finish(self, trainer: Trainer) -> None:
        folder = self.run.folder
        assert folder is not None
        if self.devices.is_chief:
            save_weights(self.model, folder / "model.safetensors")
            vocabulary = getattr(self.run.preprocessor, "vocabulary", None) or getattr(
                self.run.preprocessor, "tokens", None
            )
            if vocabulary:
                write_embeddings(folder / "logs" / "train", self.model, vocabulary)
            # Last: a run with a history is a finished one.
            seconds = round(trainer.seconds + trainer.elapsed, 1)
            history = {"epochs": trainer.history, "seconds": seconds, "stages": trainer.stages}
            write_json(folder / "history.json", history)
        if self.devices.process_count > 1:
            digest = hashlib.sha256(b"".join(np.ascontiguousarray(w).tobytes() for w in self.model.get_weights()))
            where = f"Process {self.devices.process_index + 1} of {self.devices.process_count}"
            Console(stderr=True).print(f"{where}: weights {digest.hexdigest()[:16]}", highlight=False)

    def _callbacks(self, info: dict[str, Any] | None) -> list[Any]:
        """Return what writes logs; each has `close`, which is called whatever happens.

        Args:
            info: Of the checkpoint that training goes on from.
        """
        run, train = self.run, self.train_config
        assert run.folder is not None and run.data is not None
        # Answering would need all processes of a global program, and only this one writes.
        samples = train.samples if self.devices.process_count == 1 else 0
        first_step = info["step"] if info else 0
        epochs = sum(stage.epochs for stage in stages_of(train))
        callbacks: list[Any] = [
            TensorBoardLogs(
                run.folder / "logs",
                first_step=first_step,
                examples_per_step=self.size,
                tokens_per_example=getattr(run.config, "max_length", None),
                hparams=hyperparameters(run.name, run.data["reference"], run.config, train),
                monitor=train.monitor,
                monitor_mode=train.monitor_mode,
                history=history_of(info) if info else None,
                sample=_sampler(self.model, self.task, run, self.validation) if samples else None,
                sample_epochs=np.linspace(0, epochs - 1, samples + 1)[1:].astype(int).tolist(),
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
        train, count = self.train_config, len(self.lesson.examples)
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


def _on(devices: Devices, dataset: datasets.Dataset, quiet: bool) -> datasets.Dataset:
    """Let one process alone say what its dataset does."""
    dataset.quiet, dataset.announce = quiet or not devices.is_chief, devices.is_chief
    return dataset


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
