"""The commands of `zoo`, one dataclass each: fields are options, `run` does the work.

Commands print tables on a terminal and JSON with `--json`. They import Keras and LiteRT only when they need it.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tyro.conf import Positional

from zoo import display
from zoo.backend import can_run_keras, hush_stderr, start_backend
from zoo.commands_answers import answer_folder, explain_split, is_picture_folder
from zoo.commands_compare import Compare
from zoo.commands_data import Data
from zoo.commands_doctor import Doctor
from zoo.commands_files import Bench, Client, Export, Inspect, Report, Search, Verify, Web
from zoo.config import BaseConfig
from zoo.errors import ConfigError, ModelFileError, ZooError
from zoo.explain.deletion import Deletion
from zoo.references import resolve, tflite_path, weights_of
from zoo.tasks._search_options import SearchOptions
from zoo.training.config import TrainConfig
from zoo.training.devices import Choice


@dataclass(frozen=True)
class List:
    """List the models, the datasets they can be trained on, and the weights there are."""

    pattern: Positional[str] = "*"
    """Shell-style pattern of the names."""
    task: str | None = None
    """Only models of this task."""
    json: bool = False
    """Print JSON."""

    def run(self) -> None:
        """Print the table."""
        from zoo.api import show
        from zoo.datasets import dataset_names
        from zoo.registry import list_models

        rows = []
        for name in list_models(self.pattern, task=self.task):
            shown = show(name)
            data = ", ".join(dataset_names(shown["task"]))
            row = {"name": name, "task": shown["task"], "summary": shown["summary"], "datasets": data}
            rows.append({**row, "weights": ", ".join(shown["weights"])})
        display.rows(rows, as_json=self.json, empty=f"No model matches '{self.pattern}'.")


@dataclass(frozen=True)
class Show:
    """Describe a model (task, paper, configuration, recipes), or a recipe."""

    name: Positional[str]
    """Registered name, or that of a recipe."""
    json: bool = False
    """Print JSON."""

    def run(self) -> None:
        """Print the description."""
        from zoo.api import show

        display.record(show(self.name), as_json=self.json)


@dataclass(frozen=True)
class Train:
    """Train a model by its recipe; 'zoo train NAME --help' lists every option of the model."""

    name: Positional[str] = ""
    """Registered name of the model, or of a recipe; not given with --resume."""
    data: str | None = None
    """Name of a dataset, tfds:NAME, or a path; the recipe's when not given."""
    data_dir: Path | None = None
    """Where the files of a named dataset lie, if it does not bring them."""
    quick: bool = False
    """Shrink the recipe to about a minute."""
    out: Path | None = None
    """Run folder, new or empty; runs/<name>-<data>-NNN when not given."""
    resume: Path | None = None
    """Run folder of an interrupted training: go on from its last checkpoint, with its own configuration."""
    devices: Choice = "auto"
    """Where to train; auto looks at what is there ('zoo doctor' tells what it would choose)."""
    backend: Literal["tensorflow", "jax"] | None = None
    """Keras backend; KERAS_BACKEND, or what fits the machine, when not given."""
    quiet: bool = False
    """Show no progress."""
    json: bool = False
    """Print JSON."""

    def run(self) -> None:
        """Train, and say where the run is."""
        from zoo.api import resume, train
        from zoo.registry import find_training
        from zoo.tasks import get_task

        if self.resume is not None:
            if self.name or self.data or self.data_dir or self.out or self.quick:
                raise ConfigError("--resume takes model, data and folder from the run; leave the others out.")
            start_backend(self.backend)
            self._say_where(resume(self.resume, devices=self.devices, backend=self.backend, quiet=self.quiet))
            return
        if not self.name:
            raise ConfigError("zoo train needs the name of a model, or --resume RUN; see 'zoo list'.")
        groups: dict[str, dict[str, Any]] = {}
        for name in ("model", "train", "options"):
            chosen: BaseConfig | None = getattr(self, name, None)
            groups[name] = {} if chosen is None else chosen.to_dict()
        if groups["options"]:
            # Options that follow from the model's configuration, such as a gap of one window, unless set by hand.
            defaults = type(getattr(self, "options"))().to_dict()  # noqa: B009
            cls, _ = find_training(self.name, self.data)
            for key in get_task(cls.task).data_options(cls.Config.from_dict(groups["model"])):
                if groups["options"].get(key) == defaults.get(key):
                    groups["options"].pop(key, None)
        start_backend(self.backend)
        run = train(
            self.name,
            self.data,
            data_dir=self.data_dir,
            quick=self.quick,
            out=self.out,
            devices=self.devices,
            backend=self.backend,
            quiet=self.quiet,
            **groups,
        )
        self._say_where(run)

    def _say_where(self, run: Any) -> None:
        last = f"Next: zoo evaluate {run.folder}; zoo export {run.folder} -o model.tflite"
        display.record({"run": str(run.folder)}, as_json=self.json, note=last)


def train_command(arguments: list[str]) -> type[Train]:
    """Return `Train` with the named model's own options, set to what its recipe says.

    Args:
        arguments: The words after `zoo train`; the first is the name of the model or recipe.
    """
    if not arguments or arguments[0].startswith("-"):
        return Train
    from zoo import datasets
    from zoo.registry import find_training
    from zoo.training.plan import make_plan

    data, data_dir = (_option(arguments, name) for name in ("--data", "--data-dir"))
    cls, recipe = find_training(arguments[0], data)
    given = recipe or data
    plan = make_plan(cls.name, recipe, data, quick="--quick" in arguments, data_dir=data_dir) if given else None
    groups: list[tuple[str, Any, Any]] = [
        ("model", cls.Config, field(default_factory=lambda: plan.config if plan else cls.Config())),
        ("train", TrainConfig, field(default_factory=lambda: plan.train if plan else TrainConfig())),
    ]
    if plan is not None:
        dataset = datasets.load(plan.data, task=cls.task, **plan.options)
        groups.append(("options", type(dataset.options), field(default_factory=lambda: dataset.options)))
    return dataclasses.make_dataclass(
        "Train", groups, bases=(Train,), frozen=True, namespace={"__doc__": Train.__doc__}
    )


@dataclass(frozen=True)
class Evaluate:
    """Measure a run on a split, with plain baselines beside it."""

    run_folder: Positional[Path]
    """Run folder, or weights by name (caption_attn/emoji-en)."""
    split: str = "test"
    """Name of the split."""
    limit: int | None = None
    """At most so many examples."""
    baselines: bool = True
    """Measure the baselines too."""
    slow: bool = False
    """Compute metrics that take long too (captioning: METEOR, which needs Java)."""
    search: Search = field(default_factory=SearchOptions)
    json: bool = False
    """Print JSON."""

    def run(self) -> None:
        """Print model and baselines side by side."""
        from zoo.api import load

        start_backend()
        result = load(self.run_folder).evaluate(
            self.split, limit=self.limit, baselines=self.baselines, slow=self.slow, **self.search.changed()
        )
        display.evaluation(result, as_json=self.json, folder=self.run_folder)


@dataclass(frozen=True)
class Predict:
    """Answer one input, or a folder of pictures, with a run or a .tflite file (the latter without TensorFlow)."""

    model: Positional[str]
    """Run folder, .tflite file, or weights by name (caption_attn/emoji-en)."""
    input: Positional[str]
    """A picture file, a folder of them, a text, or a CSV file, as the task asks."""
    html: Path | None = None
    """Pictures: write one page with the answers instead, on which words show where the model looked."""
    limit: int = 500
    """At most so many pictures of a folder."""
    stream: bool = False
    """Say a caption word by word while it is made (.tflite files); with --json one line a word."""
    search: Search = field(default_factory=SearchOptions)
    quiet: bool = False
    """Show no progress."""
    json: bool = False
    """Print JSON; for a folder one line a picture."""

    def run(self) -> None:
        """Print the answer, or those of a folder."""
        predictor = _predictor(self.model, from_file=self.stream)
        options = self._options(predictor)
        if self.html is not None or is_picture_folder(predictor, self.input):
            if self.stream:
                raise ConfigError("--stream says the words of one picture; leave it out for a folder or a page.")
            answer_folder(
                predictor,
                self.model,
                self.input,
                html=self.html,
                limit=self.limit,
                as_json=self.json,
                quiet=self.quiet,
                options=options,
            )
        elif not self.stream:
            display.result(predictor.predict(self.input, **options), as_json=self.json)
        elif hasattr(predictor, "stream"):
            display.words(predictor.stream(self.input), as_json=self.json)
        else:
            raise ConfigError(f"'{self.model}' is a run, which answers at once; stream from its file: zoo export.")

    def _options(self, predictor: Any) -> dict[str, Any]:
        """Return the options of `predict`: a file searches as it was exported, and takes a seed at most."""
        options = self.search.changed()
        if not options or not hasattr(predictor, "stream"):
            return options
        if self.stream or options.pop("search", "") != "sample" or set(options) - {"seed"}:
            raise ConfigError(
                f"'{self.model}' searches as it was exported: only --search sample with --seed goes with a file."
            )
        return {"seed": options.get("seed", 0)}


@dataclass(frozen=True)
class Explain:
    """Draw what the model attended to for its answer; for captions also measure whether its words rest on that."""

    model: Positional[str]
    """Run folder, .tflite file, or weights by name (caption_attn/emoji-en)."""
    input: Positional[str] = ""
    """A picture file, a text, or a CSV file, as the task asks; not given with --split."""
    out: Path = Path("explanation.png")
    """The picture to write."""
    split: str | None = None
    """Captioning: measure the captions of a split of the run's data instead of one picture's."""
    limit: int = 100
    """At most so many pictures of the split."""
    faithfulness: bool = True
    """Captioning: hide parts of the picture and see how the probability of every word falls."""
    deletion: Deletion = field(default_factory=Deletion)
    json: bool = False
    """Print JSON."""

    def run(self) -> None:
        """Answer and draw the picture, or measure a split."""
        from zoo.explain.answer import explain

        if bool(self.input) == bool(self.split):
            raise ConfigError("zoo explain takes an input or --split, one of them.")
        predictor = _predictor(self.model)
        if self.split:
            explain_split(
                predictor, self.model, self.split, limit=self.limit, deletion=self.deletion, as_json=self.json
            )
            return
        found = explain(predictor, self.input, self.out, deletion=self.deletion, measure=self.faithfulness)
        if self.json:
            display.record(found.to_dict(), as_json=True)
            return
        display.result(found.result, as_json=False)
        if found.words:
            display.rows(found.rows(), as_json=False, empty="")
        for line in filter(None, (found.note, f"Wrote {self.out}")):
            print(line)


@dataclass(frozen=True)
class Demo:
    """Train a captioner on emoji, export it, and caption new pictures without TensorFlow."""

    out: Path = Path("demo")
    """Folder for what is made; an earlier demo in it is replaced."""

    def run(self) -> int:
        """Run the whole road; exit code 1 if the captions are worse than the floor."""
        from zoo.demo import run_demo

        return run_demo(self.out)


COMMANDS: dict[str, type[Any]] = {
    cls.__name__.lower(): cls
    for cls in (
        List,
        Show,
        Data,
        Train,
        Evaluate,
        Compare,
        Predict,
        Export,
        Verify,
        Bench,
        Report,
        Inspect,
        Explain,
        Web,
        Client,
        Doctor,
        Demo,
    )
}


def _predictor(reference: str, *, from_file: bool = False) -> Any:
    """Return what answers: an `Edge` for a .tflite file, a `Run` for a run folder.

    Args:
        reference: What the user named.
        from_file: Take the file of weights that have both, as is done anyway where Keras is not installed.
    """
    found = resolve(reference)
    if found.kind == "file" or (found.kind == "shipped" and (from_file or not can_run_keras())):
        from zoo.export.runtime import Edge

        path = tflite_path(reference)
        with hush_stderr():  # LiteRT says which delegate it made
            return Edge(path)
    from zoo.api import load

    if found.kind == "untrained":
        others = " or ".join([f"zoo train {found.name}", *(f"{found.name}/{name}" for name in weights_of(found.name))])
        raise ModelFileError(f"'{reference}' is an untrained model; train it, or name trained weights: {others}.")
    start_backend()
    return load(reference)


def _option(arguments: list[str], name: str) -> str | None:
    """Return the value of an option in raw words."""
    for index, word in enumerate(arguments):
        if word == name:
            if index + 1 == len(arguments):
                raise ZooError(f"{name} needs a value.")
            return arguments[index + 1]
        if word.startswith(f"{name}="):
            return word.partition("=")[2]
    return None
