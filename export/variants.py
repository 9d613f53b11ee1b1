"""The variants of one model's file side by side: size, metric, answers and latency, measured on the same examples."""

from __future__ import annotations

import math
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from zoo.errors import ConfigError, ExportError
from zoo.export._drafts import Drafts
from zoo.export.benchmark import check_timing, measure
from zoo.export.bundle import QUANTIZATIONS
from zoo.export.samples import checking_requests
from zoo.export.tflite import check_installed, check_quantize
from zoo.tasks import Requests

if TYPE_CHECKING:
    from zoo.run import Run

Arrays = dict[str, np.ndarray]

_TIMED = 8  # examples; answers differ in length


def check_limits(budget: float, examples: int | None) -> None:
    """Refuse a budget or a number of examples that makes no sense, before minutes of work.

    Raises:
        ConfigError: If the budget is not a number from 0 on, or the number of examples is below 1.
    """
    if not (isinstance(budget, (int, float)) and math.isfinite(budget) and budget >= 0):
        raise ConfigError(f"The export's budget is {budget!r}; it must be a number from 0 on, 0.01 for one percent.")
    if examples is not None and examples < 1:
        raise ConfigError(f"The export's number of examples is {examples}; it must be at least 1.")


def _silent(line: str) -> None:
    """Show no progress."""


def _nothing(report: Mapping[str, Any], where: str) -> bytes:
    raise ExportError(f"There is no file to write to '{where}'.")


@dataclass
class Variant:
    """One way to store a model.

    Attributes:
        name: float32, float16, dynamic or int8.
        error: Why there is no such file, or None.
        refused: Why the export gate does not let the file pass, or None.
        flatbuffer: The model; empty if there is none.
        bundle: The finished bundle, with golden examples; empty if there is none.
        metric: Value of the task's main metric; None without a file, or if the model is not trained.
        drop: Loss of the metric relative to the Keras model's; negative if it is better.
        outputs: Serving outputs by name, first axis = example.
        same: bool (N,): whether each answer is the Keras model's, in task units.
        latency: A record for every number of threads: `threads`, and the medians over fresh processes of `load_ms`,
            `first_ms`, `p50_ms`, `p95_ms`, `peak_memory_mb`, ... (see `zoo.export.benchmark`).
        facts: Operators, operators by type, interface, serving options, agreement and metric, as in an export's report.
        finish: Returns the bundle with another report, given that and the file's name for messages.
    """

    name: str
    error: str | None = None
    refused: str | None = None
    flatbuffer: bytes = field(default=b"", repr=False)
    bundle: bytes = field(default=b"", repr=False)
    metric: float | None = None
    drop: float | None = None
    outputs: Arrays = field(default_factory=dict, repr=False)
    same: np.ndarray = field(default_factory=lambda: np.zeros(0, bool), repr=False)
    latency: list[dict[str, Any]] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict, repr=False)
    finish: Callable[[Mapping[str, Any], str], bytes] = field(default=_nothing, repr=False)

    @property
    def passed(self) -> bool:
        """Whether an export would write it."""
        return self.error is None and self.refused is None

    def record(self) -> dict[str, Any]:
        """Return the numbers of a table's row; the same keys for every variant."""
        first = self.latency[0] if self.latency else {}
        return {
            "quantize": self.name,
            "bytes": len(self.bundle) or None,
            "flatbuffer_bytes": len(self.flatbuffer) or None,
            "metric": self.metric,
            "drop": self.drop,
            "same": int(self.same.sum()) if len(self.same) else None,
            "p50_ms": first.get("p50_ms"),
            "p95_ms": first.get("p95_ms"),
            "refused": self.error or self.refused,
        }


@dataclass
class Comparison:
    """What `compare_variants` returns.

    Attributes:
        variants: One for every name asked for, in that order.
        requests: The examples.
        expected: The Keras model's outputs, first axis = example.
        split: Where the examples are from; None if they were given or made up.
        metric: Name of the task's main metric; None if the model is not trained or the examples have no truth.
        keras: The Keras model's value of it.
        budget: Largest relative drop the gate allows.
        timing: `threads`, `runs`, `rounds` and `examples` of the latency.
    """

    variants: list[Variant]
    requests: Requests = field(repr=False)
    expected: Arrays = field(repr=False)
    split: str | None
    metric: str | None
    keras: float | None
    budget: float
    timing: dict[str, Any]


def compare_variants(
    run: Run,
    names: Sequence[str] = QUANTIZATIONS,
    *,
    budget: float = 0.01,
    split: str = "valid",
    examples: int | None = 2048,
    requests: Requests | None = None,
    threads: Sequence[int] = (1,),
    runs: int = 40,
    rounds: int = 3,
    timeout: float = 900.0,
    progress: Callable[[str], None] | None = None,
    **serving_options: Any,
) -> Comparison:
    """Make the variants of a run's file and measure each on the same examples, with the real runtime.

    A variant that cannot be made or does not pass the gate is reported, not raised. Latency is measured in fresh
    processes without TensorFlow, the variants taking turns in every round, so that what else the machine does meets
    all of them; what counts is the median of the rounds.

    Args:
        run: A run; an untrained one has no metric.
        names: Variants to make.
        budget: Largest relative drop of the task's main metric.
        split: Where the examples come from.
        examples: At most so many, spread evenly; all when None.
        requests: Examples to use instead.
        threads: Numbers of threads to time with.
        runs: Timed answers in a process, over 8 examples in turn.
        rounds: Processes for every variant and number of threads.
        timeout: Seconds that a conversion, and every check, may take.
        progress: Called with a line on what is done next.
        **serving_options: The task's own (captioning: `beam_width`, ...).

    Raises:
        ConfigError: If an option is out of range.
        UnknownNameError: If there is no such variant.
        MissingExtraError: If TensorFlow or LiteRT is not installed.
    """
    for name in names:
        check_quantize(name)
    check_limits(budget, examples)
    check_timing(threads, runs)
    if rounds < 1:
        raise ConfigError(f"The comparison's number of rounds is {rounds}; it must be at least 1.")
    check_installed()
    given = requests is not None
    with tempfile.TemporaryDirectory(prefix="zoo-variants-") as folder:
        drafts = Drafts(run, Path(folder), serving_options, timeout)
        if requests is None:
            requests = checking_requests(run, drafts.serving, examples, split=split)
        say = progress or _silent
        say(f"Answer {len(requests)} examples in Keras")
        expected = run.serving_outputs(requests.inputs, **serving_options)
        trained = run.trained and requests.truth is not None
        variants = []
        for name in names:
            say(f"Convert {name} and answer without TensorFlow")
            variants.append(_variant(drafts, name, requests, expected, budget=budget))
        paths = {variant.name: drafts.path(variant.name) for variant in variants if variant.error is None}
        timed = time_in_turn(paths, requests.take(_TIMED), threads, runs, rounds, timeout=timeout, progress=progress)
        for name, records in timed.items():
            next(variant for variant in variants if variant.name == name).latency = records
    metric = run.task.main_metric if trained else None
    return Comparison(
        variants=variants,
        requests=requests,
        expected=expected,
        split=None if given or run.data is None else split,
        metric=metric,
        keras=None if metric is None else float(run.task.score(expected, requests, run.preprocessor)[metric]),
        budget=budget,
        timing={"threads": list(threads), "runs": runs, "rounds": rounds, "examples": min(_TIMED, len(requests))},
    )


def _variant(
    drafts: Drafts, name: str, requests: Requests, expected: Mapping[str, np.ndarray], *, budget: float
) -> Variant:
    try:
        draft = drafts.make(name)
        outputs, verdict = drafts.judge(draft, requests, expected, budget=budget)
        cases = drafts.golden(draft, requests)
        bundle = draft.finish(draft.facts | verdict, cases, name)
    except ExportError as error:
        return Variant(name, error=str(error))
    refused = verdict.pop("refused")
    found = verdict["metric"] or {}
    return Variant(
        name,
        refused=refused,
        flatbuffer=draft.flatbuffer,
        bundle=bundle,
        metric=found.get("tflite"),
        drop=found.get("drop"),
        outputs=outputs,
        same=np.asarray(drafts.run.task.agreement(expected, outputs), bool),
        facts=draft.facts | verdict,
        finish=lambda report, where: draft.finish(report, cases, where),
    )


def time_in_turn(
    paths: Mapping[str, Path],
    inputs: Arrays,
    threads: Sequence[int] = (1,),
    runs: int = 40,
    rounds: int = 3,
    *,
    timeout: float = 900.0,
    progress: Callable[[str], None] | None = None,
) -> dict[str, list[dict[str, Any]]]:
    """Time bundles against each other: in every round each has a fresh process, one after the other.

    Args:
        paths: Bundles by name.
        inputs: Serving inputs, first axis = example; they are answered in turn.
        threads: Numbers of threads.
        runs: Timed answers in a process.
        rounds: Processes for every bundle and number of threads.
        timeout: Seconds a process may take.
        progress: Called with a line on what is done next.

    Returns:
        Name -> a record for every number of threads, each number the median over the rounds.
    """
    turns = []
    for number in range(rounds):
        (progress or _silent)(f"Time {len(paths)} files, round {number + 1} of {rounds}")
        turns.append({name: measure(path, inputs, threads, runs, timeout=timeout) for name, path in paths.items()})
    return {name: [_median([turn[name][i] for turn in turns]) for i in range(len(threads))] for name in paths}


def _median(records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return a record of the medians of all fractional numbers."""
    return {
        key: statistics.median(record[key] for record in records) if isinstance(value, float) else value
        for key, value in records[0].items()
    }
