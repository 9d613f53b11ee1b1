"""The command `zoo data`: datasets on their way to training."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional, arg

from zoo import datasets, display
from zoo.errors import ConfigError, DataError, unknown_name


@dataclass(frozen=True)
class Data:
    """Write a dataset as shards, which training reads without holding them, or check one.

    'zoo data prepare DATASET -o DIR' writes; 'zoo data check DATASET' says what training would find and leave out.
    """

    action: Positional[Literal["prepare", "check"]]
    """What to do."""
    dataset: Positional[str]
    """Name of a dataset, tfds:NAME, or a path."""
    out: Annotated[Path | None, arg(aliases=["-o"])] = None
    """Folder for the shards, new or empty."""
    data_dir: Path | None = None
    """Where the files of a named dataset lie, if it does not bring them."""
    shards: int = 16
    """Most files a split. A few hundred megabytes a file are a good size."""
    task: Literal["captioning", "image_classification", "text_classification", "forecasting"] | None = None
    """What the dataset is for; a registered name says it by itself."""
    quiet: bool = False
    """Show no progress."""
    json: bool = False
    """Print JSON."""

    def run(self) -> int:
        """Do it; exit code 1 if the check found something."""
        if self.action == "prepare" and self.out is None:
            raise ConfigError("zoo data prepare needs a folder for the shards: --out DIR.")
        if self.action == "check" and self.out is not None:
            raise ConfigError("zoo data check writes nothing; leave --out out.")
        options = getattr(self, "options", None)
        values: dict[str, Any] = {} if options is None else options.to_dict()
        task = _task(self.dataset, self.task)
        if self.data_dir is not None:
            values |= datasets.folder_option(self.dataset, self.data_dir, task)
        dataset = datasets.load(self.dataset, task=task, **values)
        if self.out is None:
            return self._check(dataset)
        self._prepare(dataset, self.out)
        return 0

    def _check(self, dataset: datasets.Dataset) -> int:
        dataset.quiet = self.quiet
        dataset.announce = False
        problem, splits = "", {}
        try:
            splits = {name: len(source) for name, source in dataset.splits().items()}
        except DataError as error:
            problem = str(error)
        left_out = [{"file": file, "reason": reason} for file, reason in dataset.left_out]
        if self.json:
            report = {"data": self.dataset, "splits": splits, "left_out": left_out, "problem": problem}
            display.record(report, as_json=True)
            return 1 if left_out or problem else 0
        if left_out or not problem:
            display.rows(left_out, as_json=False, empty="Nothing is left out.")
        for name, count in splits.items():
            print(f"{name}: {count:,} records")
        if problem:
            raise DataError(problem)
        return 1 if left_out else 0

    def _prepare(self, dataset: datasets.Dataset, out: Path) -> None:
        """Write the shards, and say what is in them."""
        from zoo.datasets._write_shards import check_task, table, write_shards

        check_task(dataset)
        dataset.splits()  # shows its own progress
        with _progress(quiet=self.quiet) as progress:
            manifest = write_shards(dataset, out, shards=self.shards, progress=progress)
        rows = table(manifest)
        if self.json:
            display.record({"folder": str(out), "task": dataset.task, "splits": rows}, as_json=True)
            return
        display.rows(
            [{**row, "records": f"{row['records']:,}", "bytes": f"{row['bytes']:,}"} for row in rows],
            as_json=False,
            empty="The dataset has no split.",
        )
        print(f"Wrote {out}. Next: zoo train MODEL --data {out}")


def data_command(arguments: list[str]) -> type[Data]:
    """Return `Data` with the named dataset's own options.

    Args:
        arguments: The words after `zoo data`; the second that is not an option is the dataset.
    """
    if len(arguments) < 2 or any(word.startswith("-") for word in arguments[:2]):
        return Data
    if arguments[0] not in ("prepare", "check"):
        return Data
    given = [
        word.partition("=")[2] or after
        for word, after in zip(arguments, [*arguments[1:], ""], strict=True)
        if word.partition("=")[0] == "--task"
    ]
    task = _task(arguments[1], given[0] if given else None)
    options = datasets.load(arguments[1], task=task).options
    return dataclasses.make_dataclass(
        "Data",
        [("options", type(options), field(default_factory=lambda: options))],
        bases=(Data,),
        frozen=True,
        namespace={"__doc__": Data.__doc__},
    )


def _task(reference: str, given: str | None) -> str:
    """Return the task of a dataset: the given one, else the one its name says."""
    from zoo.tasks import task_names

    task = given or datasets.task_of(reference)
    if task is None and not reference.startswith("tfds:") and not Path(reference).exists():
        raise unknown_name("dataset or existing path", reference, datasets.dataset_names())
    if task is None:
        raise ConfigError(f"What '{reference}' is for is not known; say it with --task: {', '.join(task_names())}.")
    if task not in task_names():
        raise ConfigError(f"There is no task '{task}'; --task is one of {', '.join(task_names())}.")
    return task


@contextlib.contextmanager
def _progress(*, quiet: bool) -> Iterator[Callable[[str, int, int], None] | None]:
    """Yield what shows how far each split is: bars on a terminal, else one line a split, both on standard error."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True, highlight=False, markup=False)
    if quiet:
        yield None
    elif console.is_terminal:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console) as progress:
            bars: dict[str, Any] = {}

            def show(split: str, done: int, total: int) -> None:
                if split not in bars:
                    bars[split] = progress.add_task(split, total=total)
                if done == total or done % 50 == 0:
                    progress.update(bars[split], completed=done)

            yield show
    else:

        def say(split: str, done: int, total: int) -> None:
            if done == total:
                console.print(f"{split}: {total:,} records", soft_wrap=True)

        yield say
