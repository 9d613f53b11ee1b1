"""A run: what training leaves. A folder with configuration, preprocessor, weights, metrics, history and logs.

run.json             format version, architecture, task, data, configurations, licence, versions
preprocessor/        the preprocessor's files
model.safetensors    the best weights
history.json         losses and metrics of every epoch
metrics.json         evaluations by name (split and serving options), baselines beside the model
faithfulness.json    what `zoo explain` has measured of a captioner's attention, by split
answers/             what was answered in each of them, where the task keeps it
checkpoints/ logs/ pictures/
"""

from __future__ import annotations

import datetime
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from zoo import datasets, preprocess, references
from zoo.config import BaseConfig
from zoo.doctor import versions
from zoo.errors import ConfigError, DataError, ModelFileError, ZooError
from zoo.evaluations import evaluation_name, write_answers
from zoo.files import read_json, replace_folder, write_json
from zoo.preprocess import Preprocessor
from zoo.registry import Architecture, architecture
from zoo.results import Result
from zoo.tasks import Serving, Task, get_task

if TYPE_CHECKING:
    import keras

FORMAT_VERSION = 1
_MAX_BATCH = 1024
_PACKAGES = ("attention-zoo", "keras", "tensorflow", "jax", "numpy")


class Run:
    """A model with its preprocessor, and where it came from.

    Attributes:
        name: Registered name of the architecture.
        config: The architecture's configuration.
        preprocessor: Fitted on the training split.
        folder: Where it is stored, or None.
        data: `{"reference": ..., "options": {...}}`, or None for an untrained model.
        train: The training configuration as a dictionary, or None.
        licence: Terms of the training data: `name`, `credit`, `url`, `weights_may_ship`.
        trained: Whether the weights were trained.
        read_only: Whether nothing is ever written to the folder, as where the weights ship with this package.
    """

    def __init__(
        self,
        *,
        name: str,
        config: BaseConfig,
        preprocessor: Preprocessor,
        folder: Path | None = None,
        data: dict[str, Any] | None = None,
        train: dict[str, Any] | None = None,
        licence: dict[str, Any] | None = None,
        trained: bool = False,
        read_only: bool = False,
        assign: Callable[[keras.Model], None] | None = None,
    ) -> None:
        """Keep the parts; the model is built on first use, and `assign` fills it where no folder does."""
        self.name, self.config, self.preprocessor, self.folder = name, config, preprocessor, folder
        self.data, self.train, self.licence, self.trained = data, train, licence or {}, trained
        self.read_only, self._assign = read_only, assign
        self._runners: dict[Any, Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]] = {}

    @classmethod
    def untrained(cls, name: str, **overrides: Any) -> Run:
        """Return a run of a freshly built model with a stand-in preprocessor."""
        config = architecture(name).Config().replace(**overrides)
        preprocessor = get_task(architecture(name).task).default_preprocessor(config)
        return cls(name=name, config=config, preprocessor=preprocessor)

    @classmethod
    def pretrained(cls, name: str, weights: str) -> Run:
        """Return a run with weights that the architecture gets itself (see `Architecture.pretrained`).

        Raises:
            ModelFileError: If the weights cannot be read or trusted.
            MissingExtraError: If the package that carries them is not installed.
        """
        found = architecture(name).pretrained(weights)
        return cls(
            name=name,
            config=found.config,
            preprocessor=found.preprocessor,
            licence=found.licence,
            trained=True,
            assign=found.assign,
        )

    @property
    def architecture(self) -> type[Architecture]:
        """The registered class."""
        return architecture(self.name)

    @property
    def task(self) -> Task:
        """The task."""
        return get_task(self.architecture.task)

    @functools.cached_property
    def model(self) -> keras.Model:
        """The Keras model in float32, with its weights."""
        from zoo.api import build_from_config

        model = build_from_config(self.name, self.config)
        self.fill(model)
        return model

    def fill(self, model: keras.Model) -> None:
        """Put this run's weights, if it has any, into a model whose weights have the same names and shapes.

        Raises:
            ModelFileError: If the weights cannot be read, or do not fit.
        """
        if self._assign is not None:
            self._assign(model)
        elif self.trained and self.folder is not None:
            from zoo.weights import load_weights

            load_weights(model, weights_path(self.folder))

    @property
    def metrics(self) -> dict[str, Any]:
        """The stored evaluations by split; empty if there are none."""
        path = self.folder / "metrics.json" if self.folder else None
        return read_json(path) if path is not None and path.exists() else {}

    def dataset(self) -> datasets.Dataset:
        """Return the dataset it was trained on.

        Raises:
            DataError: If the run is of an untrained model.
        """
        if self.data is None:
            raise DataError(f"This {self.name} was not trained, so it has no dataset; train it first.")
        return datasets.load(self.data["reference"], task=self.architecture.task, **self.data["options"])

    def serving(self, *, batch_size: int = 1, **options: Any) -> Serving:
        """Return the serving function (see `zoo.tasks.Serving`).

        Raises:
            ConfigError: If an option does not exist or is out of range.
        """
        if not (isinstance(batch_size, int) and 1 <= batch_size <= _MAX_BATCH):
            raise ConfigError(f"The batch size is {batch_size!r}; it must be a number from 1 to {_MAX_BATCH}.")
        known = self.task.serving_options(options, self.preprocessor)
        return self.task.serving(self.model, batch_size=batch_size, **known)

    def serving_outputs(
        self, inputs: Mapping[str, np.ndarray], *, batch_size: int = 32, **options: Any
    ) -> dict[str, np.ndarray]:
        """Run the serving function in Keras on many examples (first axis); the compiled function is kept."""
        from zoo.execution import compile_serving

        key = (batch_size, repr(sorted(options.items())))
        if key not in self._runners:
            self._runners[key] = compile_serving(self.serving(batch_size=batch_size, **options))
        return self._runners[key](inputs)

    def predict(self, value: Any, **options: Any) -> Result:
        """Answer one input: a picture, a text, a table (see the task's `input_help`).

        Raises:
            DataError: If the input cannot be used.
        """
        request = self.preprocessor.request(value)
        return self.preprocessor.result(request, self.serving_outputs(request, batch_size=1, **options))

    def evaluate(
        self,
        split: str = "test",
        *,
        limit: int | None = None,
        baselines: bool = True,
        pictures: bool = True,
        slow: bool = False,
        **options: Any,
    ) -> dict[str, Any]:
        """Measure the model on a split, with the task's plain baselines on the same examples.

        The evaluation is called after the split and the options (see `zoo.evaluations`). Under that name, unless the
        folder is read-only, the result is stored in the run's `metrics.json`, pictures in `pictures/`, and the answers,
        where the task keeps them, in `answers/`.

        Args:
            split: Name of the split.
            limit: At most so many examples, spread evenly.
            baselines: Whether to measure the baselines too.
            pictures: Whether to draw pictures.
            slow: Whether to compute metrics that take long too (captioning: METEOR, which needs Java).
            **options: The task's serving options, such as `beam_width=3`.

        Returns:
            `{"split", "serving_options", "examples", "metrics", "baselines", "main_metric", "pictures"}`.

        Raises:
            ConfigError: If an option does not exist or is out of range.
            DataError: If there is no such split, or it is empty.
        """
        dataset = self.dataset()
        requests = self.task.requests(
            dataset.split(split), self.preprocessor, limit=limit, training=dataset.split("train")
        )
        if len(requests) == 0:
            raise DataError(f"The split '{split}' has no examples to evaluate; choose another split or give more data.")
        outputs = self.serving_outputs(requests.inputs, **options)
        measured = (
            self.task.baselines(dataset, split, self.preprocessor, requests, run=self, slow=slow) if baselines else {}
        )
        result: dict[str, Any] = {
            "split": split,
            "serving_options": options,
            "examples": len(requests),
            "main_metric": self.task.main_metric,
            "metrics": self.task.score(outputs, requests, self.preprocessor, slow=slow),
            "baselines": measured,
            "pictures": [],
        }
        if self.folder is not None and not self.read_only:
            name = evaluation_name(split, options)
            if answers := self.task.answers(outputs, requests, self.preprocessor):
                write_answers(self.folder, name, answers)
            if pictures:
                folder = self.folder / "pictures" / name
                draw = functools.partial(self.task.pictures, outputs=outputs, requests=requests)
                replace_folder(folder, lambda new: draw(new, preprocessor=self.preprocessor))
                result["pictures"] = sorted(str(path.relative_to(self.folder)) for path in folder.iterdir())
            write_json(self.folder / "metrics.json", {**self.metrics, name: result})
        return result

    def export(self, path: str | Path, *, quantize: str = "float32", **options: Any) -> dict[str, Any]:
        """Write one `.tflite` file that does the whole task, through the export gate.

        Args:
            path: Destination, ending in `.tflite`; any other name gives a SavedModel folder.
            quantize: "float32", "float16", "dynamic", "int8" or "auto".
            **options: `budget`, `examples`, and the task's serving options (see `zoo.export.exporter.export_run`).

        Returns:
            The report that is also stored beside and inside the file.

        Raises:
            ExportError: If conversion fails or the gate is not passed; nothing is written then.
        """
        from zoo.export.exporter import export_run

        return export_run(self, path, quantize=quantize, **options)

    def report(self, folder: str | Path, **options: Any) -> dict[str, Any]:
        """Compare every variant of the file: size, speed, memory, metric, and the answers that differ most.

        Args:
            folder: Gets `report.json` and `report.html`, one page that opens offline.
            **options: `names`, `budget`, `examples`, `threads`, `progress`, and the task's serving options (see
                `zoo.export.report.write_report`).

        Returns:
            What `report.json` holds.

        Raises:
            ExportError: If no variant could be made; nothing is written then.
        """
        from zoo.export.report import write_report

        return write_report(self, folder, **options)

    def describe(self) -> dict[str, Any]:
        """Return what `run.json` holds."""
        return {
            "format_version": FORMAT_VERSION,
            "kind": "run",
            "architecture": self.name,
            "task": self.architecture.task,
            "config": self.config.to_dict(),
            "data": self.data,
            "train": self.train,
            "licence": self.licence,
            "trained": self.trained,
            "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "versions": versions(_PACKAGES),
        }

    def save(self, folder: Path) -> None:
        """Write `run.json` and the preprocessor into the run's folder (weights are written by training)."""
        self.folder = folder
        replace_folder(folder / "preprocessor", lambda new: preprocess.save_folder(self.preprocessor, new))
        write_json(folder / "run.json", self.describe())

    @classmethod
    def load(cls, folder: str | Path) -> Run:
        """Read a run folder; the model is built on first use. Of weights that ship, every file is checked first.

        Raises:
            ModelFileError: If it is not a run folder, is damaged, or was made by a newer version.
        """
        folder = Path(folder)
        path = folder / "run.json"
        if not path.is_file():
            raise ModelFileError(f"'{folder}' is not a run folder: it has no run.json; train with 'zoo train'.")
        sealed = (folder / references.MANIFEST).is_file()
        if sealed:
            references.check_shipped(folder)
        try:
            stored = read_json(path)
            version = stored["format_version"]
            if not isinstance(version, int) or version > FORMAT_VERSION:
                raise ModelFileError(
                    f"The run '{folder}' has format version {version}; the newest known is {FORMAT_VERSION}; upgrade."
                )
            return cls(
                name=stored["architecture"],
                config=architecture(stored["architecture"]).Config.from_dict(stored["config"]),
                preprocessor=preprocess.load_folder(folder / "preprocessor"),
                folder=folder,
                data=stored["data"],
                train=stored["train"],
                licence=stored["licence"],
                trained=True,
                read_only=sealed,
            )
        except ModelFileError:
            raise
        except (KeyError, TypeError, AttributeError, ConfigError) as error:
            raise ModelFileError(f"The run '{folder}' is damaged: run.json lacks or misstates {error}.") from error
        except ZooError as error:
            raise ModelFileError(f"The run '{folder}' cannot be read: {error}") from error


def weights_path(folder: Path) -> Path:
    """Return the path of a run's weights: the finished ones, else those of the best epoch so far."""
    for path in (folder / "model.safetensors", folder / "checkpoints" / "best.safetensors"):
        if path.exists():
            return path
    raise ModelFileError(f"The run '{folder}' has no weights: training stopped before its first epoch ended.")


def new_folder(base: Path, name: str, data: str) -> Path:
    """Make and return a fresh folder `<base>/<name>-<data>-NNN`."""
    stem = "".join(char if char.isalnum() or char in "_-" else "_" for char in Path(data).stem)[:40] or "data"
    for number in range(1, 100_000):
        folder = base / f"{name}-{stem}-{number:03d}"
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise ZooError(f"Cannot make the run folder '{folder}': {error.strerror or error}.") from error
        return folder
    raise ZooError(f"'{base}' is full of runs of {name}; remove some or give another --out.")
