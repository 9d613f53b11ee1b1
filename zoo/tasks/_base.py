"""The interface of tasks. A task module defines one instance, `TASK`; it imports Keras inside its methods."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from zoo.config import BaseConfig
from zoo.errors import ConfigError
from zoo.preprocess import Preprocessor, RawInput

if TYPE_CHECKING:
    import keras

    from zoo.datasets import Dataset, Record, Source
    from zoo.run import Run
    from zoo.training.config import TrainConfig
    from zoo.training.stages import Stage

Arrays = dict[str, np.ndarray]


class Examples(Protocol):
    """Training examples, gathered a batch at a time (per-element work would cost more than the model's)."""

    def __len__(self) -> int:
        """Return the number of examples."""
        ...

    def batch(self, indices: np.ndarray, rng: np.random.Generator | None) -> tuple[Arrays, Any, np.ndarray | None]:
        """Return (inputs by name, targets, sample weights or None) of the examples at `indices`.

        `rng` is given in training only: augmentation draws from it, and nothing else is random.
        """
        ...


@dataclass
class Lesson:
    """What one stage of training needs of a task.

    Attributes:
        model: The model to train: the whole one, or the part of it that learns, with the same layers.
        examples: Of the training split, for `model`.
        held_out: Of the validation split, for `model`.
        compile_arguments: `loss`, `metrics` and `weighted_metrics` for `keras.Model.compile`.
        wrap: Turns training batches into others, with the model as it is at that moment; None to train on them as they
            are. What it returns has `get_state` and `set_state`, as grain's iterators have.
        measure: Gives further values of an epoch with the model as it is, such as a metric of its answers, or is None.
        measured: Names of these values.
    """

    model: keras.Model
    examples: Examples
    held_out: Examples
    compile_arguments: dict[str, Any]
    wrap: Callable[[Any], Any] | None = None
    measure: Callable[[], dict[str, float]] | None = None
    measured: tuple[str, ...] = ()


@dataclass
class Requests:
    """Serving inputs of many examples, with what is needed to judge the answers.

    Attributes:
        inputs: Serving inputs by name, first axis = example.
        truth: Task-private: references, labels, futures.
        ids: One identifier an example.
        raw: Gives example i as a person has it, before preprocessing; None if there is no such thing (made-up tokens).
    """

    inputs: Arrays
    truth: Any
    ids: list[str]
    raw: Callable[[int], RawInput] | None = None

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.ids)

    def spread(self, count: int) -> np.ndarray:
        """Return the indices of at most `count` examples (see `spread`)."""
        return spread(len(self), count)

    def take(self, count: int) -> Arrays:
        """Return the inputs of at most `count` examples, spread evenly."""
        indices = self.spread(count)
        return {name: array[indices] for name, array in self.inputs.items()}


def spread(total: int, limit: int | None) -> np.ndarray:
    """Return at most `limit` indices below `total`, ascending and spread evenly, int (N,); all when `limit` is None."""
    chosen = total if limit is None else min(limit, total)
    return np.unique(np.linspace(0, max(total - 1, 0), chosen).astype(int))


@dataclass
class Signature:
    """A static-shape graph that a file offers by name.

    Attributes:
        function: Called with one keyword argument an input, `function(**inputs)` (backend tensors; it uses `keras.ops`
            only), returns the outputs by name.
        inputs: Name -> (static shape, dtype name). Dtypes are float32, int32 or uint8.
        outputs: Names of the outputs.
    """

    function: Callable[..., dict[str, Any]]
    inputs: dict[str, tuple[tuple[int, ...], str]]
    outputs: tuple[str, ...]


@dataclass
class Serving(Signature):
    """The whole task as one static-shape graph.

    Attributes:
        function: The signature `serving_default`. A per-example scalar such as `length` has shape () when `batch_size`
            is 1 and (batch_size,) otherwise.
        model: The Keras model whose variables the functions use.
        batch_size: First dimension of the inputs.
        options: The task's options with their values.
        signatures: What the file offers beside `serving_default`, by name.
    """

    model: keras.Model
    batch_size: int = 1
    options: dict[str, Any] = field(default_factory=dict)
    signatures: dict[str, Signature] = field(default_factory=dict)


class Task(ABC):
    """Example schema, preprocessor, loss, metrics and serving function of one task.

    Attributes:
        name: Name of the task, equal to the module's name.
        summary: One line: what goes in and what comes out.
        main_metric: Key of `score`'s result that early stopping by metric, export budgets and tables use.
        higher_is_better: Whether a larger main metric is better.
        input_help: What a user gives to `predict`, in one line.
        difference_help: What `difference` measures, in one line.
        difference_steps: Edges of a histogram of differences: below the first, between them, from the last on.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    main_metric: ClassVar[str]
    higher_is_better: ClassVar[bool]
    input_help: ClassVar[str]
    difference_help: ClassVar[str]
    difference_steps: ClassVar[tuple[float, ...]]

    @abstractmethod
    def data_options(self, config: Any) -> dict[str, Any]:
        """Return dataset options that follow from the model's configuration (forecasting: gap = window)."""

    @abstractmethod
    def preprocessor(self, config: Any, dataset: Dataset) -> Preprocessor:
        """Fit the preprocessor on the dataset's training split alone."""

    @abstractmethod
    def configure(self, config: Any, preprocessor: Preprocessor) -> BaseConfig:
        """Fill the configuration's data-dependent fields (vocabulary, classes, features) from the preprocessor."""

    @abstractmethod
    def default_preprocessor(self, config: Any) -> Preprocessor:
        """Return a stand-in preprocessor for a model built bare, so that an untrained model can be exported."""

    @abstractmethod
    def default_record(self, config: Any) -> Record:
        """Return a made-up record that goes with `default_preprocessor`, for what needs shapes and no data."""

    @abstractmethod
    def examples(self, source: Source, preprocessor: Preprocessor, config: Any) -> Examples:
        """Return the training examples of a split."""

    def check_stage(self, run: Run, stage: Stage, processes: int) -> None:
        """Check that a model has a stage of training; by default it has the first one only.

        Args:
            run: The run that is to be trained.
            stage: The stage.
            processes: Number of processes that train together.

        Raises:
            ConfigError: If it has not.
        """
        if stage.finetune or stage.goal != "likelihood":
            raise ConfigError(f"'{run.name}' has no stage '{stage.name}'; set train.{stage.name}_epochs to 0.")

    def lesson(
        self,
        model: keras.Model,
        run: Run,
        source: Source,
        held_out: Source,
        stage: Stage,
        train: TrainConfig,
        say: Callable[[str], None],
    ) -> Lesson:
        """Return what a stage of training needs; by default one stage of all weights on the task's examples.

        Args:
            model: The whole model, with the weights at which the stage begins.
            run: Configuration and preprocessor.
            source: The training split.
            held_out: The validation split.
            stage: The stage.
            train: Hyper-parameters.
            say: Told what takes long.
        """
        return Lesson(
            model=model,
            examples=self.examples(source, run.preprocessor, run.config),
            held_out=self.examples(held_out, run.preprocessor, run.config),
            compile_arguments=self.compile_arguments(label_smoothing=train.label_smoothing),
        )

    @abstractmethod
    def compile_arguments(self, *, label_smoothing: float = 0.0) -> dict[str, Any]:
        """Return `loss`, `metrics` and `weighted_metrics` for `keras.Model.compile`."""

    def serving_options(self, options: Mapping[str, Any], preprocessor: Any) -> dict[str, Any]:
        """Return what `serving` takes for the options a person gives; only the preprocessor knows what a word is.

        Raises:
            ConfigError: If it does not know one.
        """
        return dict(options)

    @abstractmethod
    def serving(self, model: keras.Model, *, batch_size: int = 1, **options: Any) -> Serving:
        """Return the serving function of a model; options are the task's own (captioning: beam width, length)."""

    @abstractmethod
    def requests(
        self,
        source: Source,
        preprocessor: Preprocessor,
        *,
        limit: int | None = None,
        training: Source | None = None,
    ) -> Requests:
        """Return serving inputs and truth for the records of a split.

        Args:
            source: The split.
            preprocessor: Fitted.
            limit: Most examples; of more, so many are spread evenly.
            training: The training split, for tasks that tell the examples which it answers from the others.
        """

    @abstractmethod
    def score(
        self,
        outputs: Mapping[str, np.ndarray],
        requests: Requests,
        preprocessor: Preprocessor,
        *,
        slow: bool = False,
    ) -> dict[str, Any]:
        """Return the metrics of serving outputs (first axis = example) against the truth, standard errors included.

        With `slow` also those that take many seconds. What is left out has its reason in `note`.
        """

    @abstractmethod
    def baselines(
        self,
        dataset: Dataset,
        split: str,
        preprocessor: Preprocessor,
        requests: Requests,
        *,
        run: Run | None = None,
        slow: bool = False,
    ) -> dict[str, dict[str, Any]]:
        """Return the metrics of the plain baselines on the same requests, by name of the baseline.

        Args:
            dataset: Its training split is what baselines learn from.
            split: Name of the split that the requests are of.
            preprocessor: Fitted.
            requests: The examples.
            run: What is evaluated, for baselines that use what it is made of, such as its encoder.
            slow: As in `score`.
        """

    def answers(
        self, outputs: Mapping[str, np.ndarray], requests: Requests, preprocessor: Preprocessor
    ) -> list[dict[str, Any]]:
        """Return what an evaluation stores of each answer, with all that `compare` needs; nothing by default."""
        return []

    def compare(
        self, answers: Sequence[Sequence[Mapping[str, Any]]], preprocessor: Preprocessor
    ) -> list[dict[str, Any]]:
        """Compare the stored answers of several systems to the same examples with those of the first.

        Returns:
            A record a metric and part of the examples: `part`, `metric`, `count`, `values` (one a system), and
            `differences`, one for each system but the first: `difference`, `low`, `high` (95% interval), `relative`,
            `relative_low`, `relative_high` (None where the first is 0).

        Raises:
            ConfigError: If the task stores no answers.
            DataError: If the answers are not to the same examples, or are damaged.
        """
        raise ConfigError(f"Runs of {self.name} keep no answers to compare.")

    @abstractmethod
    def agreement(self, expected: Mapping[str, np.ndarray], actual: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return bool (N,): whether two sets of serving outputs are the same answer, in task units."""

    @abstractmethod
    def difference(self, expected: Mapping[str, np.ndarray], actual: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return float64 (N,): how far apart two sets of serving outputs are, as `difference_help` says; 0 is equal."""

    @abstractmethod
    def example(self, requests: Requests, index: int, preprocessor: Preprocessor) -> tuple[Any, Any]:
        """Return what a person sees of a request, and the truth (None where there is none).

        A picture, uint8 (H, W, 3), or a text, each with a text; or the known values of a series (W,) with those that
        followed (H,).
        """

    @abstractmethod
    def pictures(
        self,
        folder: Path,
        outputs: Mapping[str, np.ndarray],
        requests: Requests,
        preprocessor: Preprocessor,
    ) -> list[Path]:
        """Draw a picture or two of the answers into `folder`; returns their paths."""

    @abstractmethod
    def samples(
        self, outputs: Mapping[str, np.ndarray], requests: Requests, preprocessor: Preprocessor
    ) -> tuple[str, Sequence[np.ndarray]]:
        """Return (Markdown text, uint8 pictures (H,W,3)) that show some answers in TensorBoard."""
