"""The commands of `zoo` that make files which do a whole task, and look at them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional, arg

from zoo import display
from zoo.backend import start_backend
from zoo.references import tflite_path
from zoo.tasks._search_options import SearchOptions

Search = Annotated[SearchOptions, arg(name="")]
"""Options of the search as options of a command, without a prefix."""


@dataclass(frozen=True)
class Export:
    """Write one .tflite file that does the whole task, through the export gate."""

    model: Positional[str]
    """Run folder, weights by name (caption_attn/emoji-en), or the name of a model (untrained)."""
    out: Annotated[Path, arg(aliases=["-o"])] = Path("model.tflite")
    """Destination; any ending but .tflite gives a SavedModel folder."""
    quantize: Literal["float32", "float16", "dynamic", "int8", "auto"] = "float32"
    """Weights in the file: float32, float16, 8 bits with float activations (dynamic), 8 bits with both (int8); or auto:
    make all, print how they compare, and write the best that stays within the budget."""
    prefer: Literal["size", "latency"] = "size"
    """What auto looks for: the smallest or the fastest file."""
    budget: float = 0.01
    """Largest relative drop of the task's metric that a quantised file may show."""
    search: Search = field(default_factory=SearchOptions)
    batch_size: int | None = None
    """Inputs the file answers in one run; 1 when not given."""
    json: bool = False
    """Print JSON."""

    def run(self) -> None:
        """Export, and print the report."""
        from zoo.api import load

        options = _file_options(self.search, self.batch_size)
        start_backend()
        report = load(self.model).export(
            self.out, quantize=self.quantize, prefer=self.prefer, budget=self.budget, **options
        )
        if "choice" in report and not self.json:
            display.variants(report)
            report = {key: value for key, value in report.items() if key != "choice"}
        display.record(report, as_json=self.json, note=f"Wrote {self.out}")


@dataclass(frozen=True)
class Verify:
    """Check a .tflite file: integrity, operators, and its own stored answers, without TensorFlow."""

    file: Positional[Path]
    """The .tflite file, or weights by name (caption_attn/emoji-en)."""
    json: bool = False
    """Print JSON."""

    def run(self) -> int:
        """Print the report; exit code 1 if a check failed."""
        from zoo.export.verify import verify_file

        report = verify_file(tflite_path(self.file))
        display.record(report, as_json=self.json)
        return 0 if report["passed"] else 1


@dataclass(frozen=True)
class Bench:
    """Measure size, load time, latency and memory of a .tflite file, without TensorFlow."""

    file: Positional[Path]
    """The .tflite file, or weights by name (caption_attn/emoji-en)."""
    threads: tuple[int, ...] = (1, 2)
    """Numbers of threads to measure with."""
    runs: int = 50
    """Counted runs for each."""
    json: bool = False
    """Print JSON."""

    def run(self) -> None:
        """Print the report and save it beside the file."""
        from zoo.export.benchmark import bench_file
        from zoo.files import write_json

        file = tflite_path(self.file)
        report = bench_file(file, threads=self.threads, runs=self.runs)
        # Nothing is written beside a file of this package.
        path = Path(f"{'-'.join(self.file.parts) if file != self.file else self.file}.bench.json")
        write_json(path, report)
        display.record(report, as_json=self.json, note=f"Saved {path}")


@dataclass(frozen=True)
class Report:
    """Compare every variant of a run's file on one page: size, speed, memory, metric, and the worst answers."""

    run_folder: Positional[Path]
    """Run folder, or weights by name (caption_attn/emoji-en)."""
    out: Annotated[Path, arg(aliases=["-o"])] = Path("report")
    """Folder for report.html, which opens offline, and report.json."""
    budget: float = 0.01
    """Largest relative drop of the task's metric that a quantised file may show."""
    examples: int = 512
    """At most so many examples of the validation split to compare."""
    threads: tuple[int, ...] = (1, 2)
    """Numbers of threads to measure with."""
    search: Search = field(default_factory=SearchOptions)
    batch_size: int | None = None
    """Inputs the file answers in one run; 1 when not given."""
    quiet: bool = False
    """Show no progress."""
    json: bool = False
    """Print JSON."""

    def run(self) -> None:
        """Measure, write both files, and print the table."""
        from zoo.api import load
        from zoo.export.report import problems, quality_rows, speed_rows

        options = _file_options(self.search, self.batch_size)
        start_backend()
        with display.progress(quiet=self.quiet) as progress:
            report = load(self.run_folder).report(
                self.out,
                budget=self.budget,
                examples=self.examples,
                threads=self.threads,
                progress=progress,
                **options,
            )
        if self.json:
            display.record(report, as_json=True)
            return
        for rows in (quality_rows(report), speed_rows(report)):
            display.rows(rows, as_json=False, empty="")
        for line in [*problems(report), f"Wrote {self.out / 'report.html'} and {self.out / 'report.json'}"]:
            print(line)


@dataclass(frozen=True)
class Inspect:
    """Show what is inside a .tflite file: task, interface, weights, operators, training, licence, sizes."""

    file: Positional[Path]
    """The .tflite file, or weights by name (caption_attn/emoji-en)."""
    json: bool = False
    """Print JSON."""

    def run(self) -> None:
        """Print what was found."""
        from zoo.export.inspection import inspect_file

        display.inspection(inspect_file(tflite_path(self.file)), as_json=self.json)


@dataclass(frozen=True)
class Web:
    """Write a static page that answers with a .tflite file in the browser."""

    file: Positional[Path]
    """The .tflite file, or weights by name (caption_attn/emoji-en)."""
    out: Annotated[Path, arg(aliases=["-o"])] = Path("site")
    """Folder to write: new, empty, or a page written before."""
    litert_dir: Path | None = None
    """Folder in which npm has installed @litertjs/core; the user's cache, filled once, when not given."""
    json: bool = False
    """Print JSON."""

    def run(self) -> None:
        """Write the folder, and say how to look at it."""
        from zoo.export.web import write_site

        report = write_site(tflite_path(self.file), self.out, litert_dir=self.litert_dir)
        note = f"Look at it: python -m http.server --directory {self.out}, then http://localhost:8000"
        display.record(report, as_json=self.json, note=note)


@dataclass(frozen=True)
class Client:
    """Copy the source of a client in C that answers with a .tflite file, ready to build."""

    language: Positional[Literal["c"]]
    """Its language."""
    out: Annotated[Path, arg(aliases=["-o"])] = Path("client")
    """Folder to write to."""
    json: bool = False
    """Print JSON."""

    def run(self) -> None:
        """Copy the files, and say how to build them."""
        from zoo.export.client import write_client

        files = write_client(self.language, self.out)
        display.record(
            {"files": [str(file) for file in files]}, as_json=self.json, note=f"Build it: make -C {self.out}"
        )


def _file_options(search: SearchOptions, batch_size: int | None) -> dict[str, Any]:
    """Return the options of a file that were given."""
    return {**search.changed(), **({} if batch_size is None else {"batch_size": batch_size})}
