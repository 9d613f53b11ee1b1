"""The catalogue: every file in `zoo/models/` registers one architecture under the file's name.

Nothing here imports Keras; `zoo list` and `zoo show` work where it is not installed.
"""

from __future__ import annotations

import fnmatch
import functools
import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from zoo.config import BaseConfig
from zoo.errors import ZooError, unknown_name

if TYPE_CHECKING:
    import keras

    from zoo.preprocess import Preprocessor

_ARCHITECTURES: dict[str, type[Architecture]] = {}

T = TypeVar("T", bound="type[Architecture]")


@dataclass(frozen=True)
class Pretrained:
    """A model that its architecture can fill with weights from elsewhere, such as an installed package.

    Attributes:
        config: The configuration the weights are for.
        preprocessor: What they expect of their inputs.
        assign: Puts the weights into a model built from `config`; raises `ModelFileError` if they cannot be trusted.
        licence: Terms of the weights: `name`, `credit`, `url`, `weights_may_ship`.
    """

    config: BaseConfig
    preprocessor: Preprocessor
    assign: Callable[[keras.Model], None]
    licence: dict[str, Any] = field(default_factory=dict)


class Architecture:
    """How a task is done: a frozen configuration and the Keras model it builds.

    Sub-classes define a nested frozen dataclass `Config(BaseConfig)` and the two methods below, and are registered with
    `@register`. What the task's serving function needs of the model (names of layers) is said in the task's module.

    Attributes:
        name: Registered name, equal to the module's name.
        task: Name of the task.
        paper: The work it follows.
        pretrained_weights: Names that `pretrained` takes, beside the weights that ship with this package. The first is
            what the bare name of the architecture means where an answer is wanted.
    """

    name: ClassVar[str]
    task: ClassVar[str]
    paper: ClassVar[str]
    Config: ClassVar[type[BaseConfig]]
    pretrained_weights: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def tiny(cls) -> BaseConfig:
        """Return a configuration small enough for a test."""
        raise ZooError(f"Architecture {cls.__name__} lacks tiny(); define it beside Config.")

    @classmethod
    def build(cls, config: Any) -> keras.Model:
        """Return the uncompiled model; a pure function of the configuration and Keras's random seed."""
        raise ZooError(f"Architecture {cls.__name__} lacks build(); define it beside Config.")

    @classmethod
    def prepare(cls, model: keras.Model, config: Any, examples: Any) -> None:
        """Set weights that are not learned by gradients from the training examples; called once before training.

        Nothing by default. It must be deterministic, and use the training examples alone.
        """

    @classmethod
    def load_parts(cls, model: keras.Model, config: Any) -> None:
        """Put published weights into the parts that the configuration takes from elsewhere; nothing by default.

        Called once on a new model, before training.
        """

    @classmethod
    def pretrained(cls, weights: str) -> Pretrained:
        """Return what is needed to fill a model with one of `pretrained_weights`; imports no Keras."""
        raise ZooError(f"Architecture {cls.__name__} lacks pretrained(); define it beside pretrained_weights.")


def register(name: str, *, task: str, paper: str) -> Callable[[T], T]:
    """Register an architecture class under `name`.

    Raises:
        ZooError: If the name is taken, or is not the name of the module the class lives in.
    """

    def decorate(cls: T) -> T:
        if name in _ARCHITECTURES:
            raise ZooError(f"Architecture '{name}' is already registered by {_ARCHITECTURES[name].__module__}.")
        if cls.__module__.startswith("zoo.models.") and cls.__module__.rpartition(".")[2] != name:
            raise ZooError(f"Architecture '{name}' must live in zoo/models/{name}.py, not in {cls.__module__}.")
        cls.name, cls.task, cls.paper = name, task, paper
        _ARCHITECTURES[name] = cls
        return cls

    return decorate


def architectures() -> dict[str, type[Architecture]]:
    """Return every registered architecture by name, importing the files of `zoo/models/` on first use."""
    _load_package("zoo.models")
    return dict(sorted(_ARCHITECTURES.items()))


def architecture(name: str) -> type[Architecture]:
    """Return the architecture registered under `name`.

    Raises:
        UnknownNameError: If there is none; the message has the nearest names.
    """
    known = architectures()
    if name not in known:
        raise unknown_name("model", name, known)
    return known[name]


def list_models(pattern: str = "*", *, task: str | None = None) -> list[str]:
    """Return the names of the registered models.

    Args:
        pattern: Shell-style pattern the name must match, for example `"caption*"`.
        task: Only models of this task.

    Raises:
        UnknownNameError: If no task has that name.
    """
    if task is not None:
        from zoo.tasks import task_names

        if task not in task_names():
            raise unknown_name("task", task, task_names())
    return [
        name for name, cls in architectures().items() if fnmatch.fnmatchcase(name, pattern) and task in (None, cls.task)
    ]


@dataclass(frozen=True)
class Recipe:
    """How an architecture is trained on a dataset.

    Attributes:
        architecture: Registered name.
        data: Dataset reference.
        title: One line.
        expected: Metric name -> the value to expect (mean of measured runs), on `expected_split`.
        expected_split: Split the expected values are of.
        cost: What it costs, for a person ("7 min on 2 cores").
        model: Overrides of the architecture's configuration.
        train: Overrides of `zoo.training.TrainConfig`.
        options: Options of the dataset.
        quick_model: Further model overrides under `--quick`.
        quick_train: Further training overrides under `--quick`.
        quick_options: Further dataset options under `--quick`.
        limits: What a model trained by it cannot do, a sentence each, for its card; from what the data is.
        default: Whether this is the architecture's recipe when no dataset is named.
    """

    architecture: str
    data: str
    title: str
    cost: str
    expected: dict[str, float]
    expected_split: str = "test"
    model: dict[str, Any] | None = None
    train: dict[str, Any] | None = None
    options: dict[str, Any] | None = None
    quick_model: dict[str, Any] | None = None
    quick_train: dict[str, Any] | None = None
    quick_options: dict[str, Any] | None = None
    limits: tuple[str, ...] = ()
    default: bool = False


def recipes() -> dict[str, Recipe]:
    """Return every recipe by the name of its file in `zoo/recipes/` (`<architecture>__<dataset>`)."""
    return {name: module.RECIPE for name, module in _load_package("zoo.recipes").items()}


def find_recipe(name: str, data: str | None = None) -> Recipe | None:
    """Return the recipe of an architecture for a dataset; without `data`, the architecture's default one."""
    for recipe in recipes().values():
        if recipe.architecture == name and (recipe.default if data is None else recipe.data == data):
            return recipe
    return None


def find_training(name: str, data: str | None = None) -> tuple[type[Architecture], Recipe | None]:
    """Return the architecture and the recipe that a name stands for: an architecture's, or that of a recipe.

    Args:
        name: A recipe's name has two underscores together, as `caption_attn__emoji`.
        data: Dataset reference. A recipe named with other data than its own keeps its settings, not its data's options.

    Raises:
        UnknownNameError: If there is none; the message has the nearest names.
    """
    if "__" not in name:
        return architecture(name), find_recipe(name, data)
    known = recipes()
    if name not in known:
        raise unknown_name("recipe", name, known)
    recipe = known[name]
    if data not in (None, recipe.data):
        recipe = replace(recipe, data=data, options=None, quick_options=None)
    return architecture(recipe.architecture), recipe


@functools.cache
def _load_package(package: str) -> dict[str, ModuleType]:
    """Import every public module of a package; returns them by name."""
    path = importlib.import_module(package).__path__
    names = sorted(info.name for info in pkgutil.iter_modules(path) if not info.name.startswith("_"))
    return {name: importlib.import_module(f"{package}.{name}") for name in names}
