"""The public functions behind `import zoo`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.backend import import_keras
from zoo.config import BaseConfig
from zoo.errors import ConfigError, ModelFileError, ZooError, require
from zoo.references import MANIFEST, Reference, describe_weights, find_weights, resolve
from zoo.registry import architecture, find_training, recipes
from zoo.tasks import get_task

if TYPE_CHECKING:
    import keras

    from zoo.run import Run


def build(name: str, *, weights: str | None = None, seed: int | None = None, **overrides: Any) -> keras.Model:
    """Build a model, untrained or with weights.

    Args:
        name: Registered name; see `zoo.list_models()`.
        weights: Name of the weights to fill it with (see `zoo.show(name)`); its configuration is then theirs.
        seed: Seed of the initial weights; Keras's current random state when not given.
        **overrides: Fields of the architecture's configuration; see `zoo.show(name)`.

    Returns:
        An uncompiled `keras.Model` with named inputs and outputs.

    Raises:
        UnknownNameError: If no model, or none of its weights, has that name.
        ConfigError: If a field does not exist or has a bad value, or if the weights do not fit with the overrides.
        ModelFileError: If the weights cannot be read or trusted.
    """
    cls = architecture(name)
    run = None if weights is None else _run_of(find_weights(name, weights))
    config = (cls.Config() if run is None else run.config).replace(**overrides)
    keras = import_keras("Building a model")
    if seed is not None:
        keras.utils.set_random_seed(seed)
    model = build_from_config(name, config)
    if run is not None:
        if overrides and _shapes(model) != _shapes(build_from_config(name, run.config)):
            raise ConfigError(
                f"The weights '{weights}' of {name} do not fit a model with {', '.join(overrides)} changed; leave that "
                "out, or build without weights."
            )
        run.fill(model)
    return model


def _shapes(model: keras.Model) -> list[tuple[str, tuple[int, ...]]]:
    return [(weight.name, tuple(weight.shape)) for weight in model.weights]


def build_from_config(name: str, config: BaseConfig) -> keras.Model:
    """Build a registered architecture from its configuration."""
    keras = import_keras("Building a model")
    model = architecture(name).build(config)
    if model.name != name:
        raise ZooError(f"{name}.build returned a model named '{model.name}'; pass name='{name}' to keras.Model.")
    assert isinstance(model, keras.Model)
    return model


def compile(model: keras.Model, *, label_smoothing: float = 0.0, optimizer: Any = None) -> keras.Model:
    """Compile a zoo model with its task's loss and metrics, for those who call `fit` themselves.

    Args:
        model: A model from `zoo.build` (or a reloaded one; its name says what it is).
        label_smoothing: Passed to the task's loss, where it has classes or tokens.
        optimizer: Any Keras optimizer; AdamW with a learning rate of 1e-3 when not given.

    Returns:
        The same model.

    Raises:
        UnknownNameError: If the model's name is not that of a zoo model.
    """
    keras = import_keras("Compiling a model")
    task = get_task(architecture(model.name).task)
    model.compile(
        optimizer=optimizer or keras.optimizers.AdamW(1e-3), **task.compile_arguments(label_smoothing=label_smoothing)
    )
    return model


def show(name: str) -> dict[str, Any]:
    """Describe a model (task, paper, configuration, recipes, weights) or a recipe by its own name. Needs no Keras.

    Raises:
        UnknownNameError: If no model and no recipe has that name.
    """
    cls, recipe = find_training(name)
    if recipe is not None and "__" in name:
        return {"name": name, "task": cls.task, **dataclasses.asdict(recipe)}
    task = get_task(cls.task)
    return {
        "name": name,
        "task": cls.task,
        "summary": (cls.__doc__ or "").strip().split("\n")[0],
        "task_summary": task.summary,
        "input": task.input_help,
        "paper": cls.paper,
        "config": cls.Config().to_dict(),
        "recipes": {
            key: {"data": recipe.data, "title": recipe.title, "cost": recipe.cost, "expected": recipe.expected}
            for key, recipe in recipes().items()
            if recipe.architecture == name
        },
        "weights": describe_weights(name),
    }


def train(
    name: str,
    data: str | Path | None = None,
    *,
    data_dir: str | Path | None = None,
    quick: bool = False,
    out: str | Path | None = None,
    model: dict[str, Any] | None = None,
    train: dict[str, Any] | Any = None,
    options: dict[str, Any] | None = None,
    devices: str = "auto",
    backend: str | None = None,
    quiet: bool = False,
) -> Run:
    """Train a model by its recipe.

    Args:
        name: Registered name of the architecture, or the name of a recipe (`caption_attn__emoji`).
        data: Name of a dataset, `tfds:NAME`, or a path to the user's own data; the recipe's when not given.
        data_dir: Where the files of a named dataset lie that this package does not bring.
        quick: Shrink the recipe to about a minute.
        out: Run folder, new or empty; `runs/<name>-<data>-NNN` when not given.
        model: Overrides of the architecture's configuration.
        train: Overrides of `zoo.training.TrainConfig`.
        options: Options of the dataset (language, columns, ...).
        devices: "auto", "one", "mirrored", "multiworker", "jax" or "tpu" (see `zoo.training.devices`).
        backend: Keras backend, "tensorflow" or "jax"; `KERAS_BACKEND`, or what fits the machine, when not given.
        quiet: No progress on standard error.

    Returns:
        The run, with the best weights.

    Raises:
        UnknownNameError: If the model, the recipe or the dataset does not exist.
        ConfigError: If an override does not exist or has a bad value, or the dataset takes no folder.
        DataError: If the data cannot be used.
        TrainingError: If the loss is not a number; the last good checkpoint stays in the run folder.
        PreemptedError: On SIGTERM, after writing a checkpoint; `zoo.resume` goes on from it.
    """
    reference = None if data is None else str(data)
    cls, recipe = find_training(name, reference)
    import_keras("Training", backend)
    require("grain", extra="tf", purpose="Training")
    from zoo.training.loop import run_plan
    from zoo.training.plan import make_plan

    plan = make_plan(
        cls.name, recipe, reference, quick=quick, model=model, train=train, options=options, data_dir=data_dir
    )
    return run_plan(plan, devices=devices, out=None if out is None else Path(out), quiet=quiet)


def resume(run_folder: str | Path, *, devices: str = "auto", backend: str | None = None, quiet: bool = False) -> Run:
    """Go on with a training that was interrupted, exactly from its last checkpoint; a finished run is returned.

    Everything but the devices comes from the run folder. On the same kind and number of devices the losses are those
    of a training that was never interrupted.

    Args:
        run_folder: Folder of the interrupted run.
        devices: As in `train`.
        backend: As in `train`.
        quiet: No progress on standard error.

    Returns:
        The run, with the best weights.

    Raises:
        ModelFileError: If it is not a run folder, or none of its checkpoints can be read.
        TrainingError: As in `train`.
    """
    folder = Path(run_folder)
    if not folder.is_dir():
        raise ModelFileError(f"'{folder}' is not a run folder; name the folder that an interrupted training has left.")
    if (folder / MANIFEST).is_file():
        raise ModelFileError(f"'{folder}' holds finished weights; name the folder of an interrupted training.")
    import_keras("Training", backend)
    require("grain", extra="tf", purpose="Training")
    from zoo.training.loop import resume_run

    return resume_run(folder, devices=devices, quiet=quiet)


def load(reference: str | Path) -> Run:
    """Load a run from its folder, weights by name, or an untrained model by its registered name.

    Args:
        reference: An existing run folder, else `NAME/WEIGHTS` (`caption_attn/emoji-en`), else `NAME`: the weights that
            the architecture gets itself if there are any, or an untrained model.

    Returns:
        The run; that of weights which ship with this package does not write to its folder.

    Raises:
        ModelFileError: If the folder is not a run or is damaged, or if the path is a `.tflite` file.
        UnknownNameError: If it is neither an existing path nor a known name.
    """
    return _run_of(resolve(reference))


def _run_of(reference: Reference) -> Run:
    from zoo.run import Run

    if reference.kind == "file":
        raise ModelFileError(
            f"'{reference.path}' is not a run folder; open a .tflite file with zoo.export.runtime.Edge."
        )
    if reference.path is not None:
        return Run.load(reference.path)
    if reference.kind == "pretrained":
        return Run.pretrained(reference.name, reference.weights)
    return Run.untrained(reference.name)


__all__ = ["build", "compile", "load", "resume", "show", "train"]
