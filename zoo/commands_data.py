"""The command `zoo data`: datasets on their way to training."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional, arg

from zoo import display
from zoo.errors import ConfigError, unknown_name


@dataclass(frozen=True)
class Data:
    """Write a dataset as shards, which training reads without holding them; 'zoo data prepare DATASET -o DIR'."""

    action: Positional[Literal["prepare"]]
    """What to do."""
    dataset: Positional[str]
    """Name of a dataset, tfds:NAME, or a path."""
    out: Annotated[Path, arg(aliases=["-o"])]
    """Folder for the shards, new or empty."""
    shards: int = 16
    """Most files a split. A few hundred megabytes a file are a good size."""
    task: Literal["captioning", "text_classification", "forecasting"] | None = None
    """What the dataset is for; a registered name says it by itself."""
    quiet: bool = False
    """Show no progress."""
    json: bool = False
    """Print JSON."""

    def run(self) -> None:
        """Write the shards, and say what is in them."""
        from zoo import datasets
        from zoo.datasets._write_shards import table, write_shards

        task = _task(self.dataset, self.task)
        options = getattr(self, "options", None)
        dataset = datasets.load(self.dataset, task=task, **({} if options is None else options.to_dict()))
        with _progress(quiet=self.quiet) as progress:
            manifest = write_shards(dataset, self.out, shards=self.shards, progress=progress)
        rows = table(manifest)
        if self.json:
            display.record({"folder": str(self.out), "task": task, "splits": rows}, as_json=True)
            return
        display.rows(
            [{**row, "records": f"{row['records']:,}", "bytes": f"{row['bytes']:,}"} for row in rows],
            as_json=False,
            empty="The dataset has no split.",
        )
        print(f"Wrote {self.out}. Next: zoo train MODEL --data {self.out}")


def data_command(arguments: list[str]) -> type[Data]:
    """Return `Data` with the named dataset's own options.

    Args:
        arguments: The words after `zoo data`; the second that is not an option is the dataset.
    """
    if len(arguments) < 2 or any(word.startswith("-") for word in arguments[:2]) or arguments[0] != "prepare":
        return Data
    from zoo import datasets

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
    from zoo import datasets
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
