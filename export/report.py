"""`zoo report`: every variant of a model's file measured side by side, as JSON and as one page a person can act on.

`report.json` has what the page shows, and nothing else is computed for the page; only the pictures are left out:

    format_version, made, machine, versions
    model       name, task, run, data, trained, serving_options
    split (null: given or made-up examples), examples, metric {name, higher_is_better, keras, se, budget} or null
    difference  what (how two answers are compared), steps (edges of the histogram's bins)
    timing      threads, runs, rounds, examples
    choice      size, latency: the variant to take, or null
    variants    name, error (null, or why there is no such file) and, where there is one, refused (null, or why the
                export gate does not let it pass), command (writes the file), bytes, flatbuffer_bytes, size_ratio,
                operators (by type of their output), latency, metric, drop, agreement, difference {mean, max,
                histogram}, worst

A single `.tflite` has neither the float model nor labelled examples to be judged by, so there is no such page for it:
`zoo bench` measures its speed, `zoo verify` its integrity.
"""

from __future__ import annotations

import base64
import datetime
import io
import os
import platform
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from zoo.doctor import versions
from zoo.errors import ExportError, ZooError
from zoo.export._report_page import render_page
from zoo.export.auto import PREFERENCES, choose
from zoo.export.variants import Comparison, Variant, compare_variants
from zoo.files import check_writable, write_json, write_text
from zoo.preprocess import Preprocessor
from zoo.tasks import Requests, Task

if TYPE_CHECKING:
    from zoo.run import Run

FORMAT_VERSION = 1
WORST = 10
"""Examples shown of every variant."""

_OWN_OPTIONS = ("names", "budget", "split", "examples", "requests", "runs", "rounds", "timeout")  # not of the file
_BUDGET = 0.01  # what a command has when it says nothing
_PACKAGES = ("attention-zoo", "ai-edge-litert", "keras", "tensorflow", "numpy")
_THUMBNAIL = 160  # pixels
_LONGEST_TEXT = 600  # characters
_LARGEST_PNG = 24_000  # bytes; a larger picture is stored as JPEG


def write_report(
    run: Run,
    folder: str | os.PathLike[str],
    *,
    threads: Sequence[int] = (1, 2),
    progress: Callable[[str], None] | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Make every variant of a run's file, measure them, and write `report.json` and `report.html`.

    It takes a minute or more: every variant is converted, checked on the same examples, and timed in fresh processes.

    Args:
        run: A run; of an untrained one there is no metric, and the examples are made up.
        folder: Where to write; made if it is missing, other files in it stay.
        threads: Numbers of threads to time with.
        progress: Called with a line on what is done next.
        **options: `names`, `budget`, `split`, `examples`, `runs`, `rounds`, `timeout`, and the task's serving options
            (see `zoo.export.variants.compare_variants`).

    Returns:
        What `report.json` holds.

    Raises:
        ExportError: If no variant could be made; nothing is written then.
        ZooError: If the folder cannot be written.
    """
    target = Path(folder)
    if target.exists() and not target.is_dir():
        raise ZooError(f"Cannot write the report to '{target}': it is a file; give a folder name.")
    check_writable(target, f"Cannot write the report to '{target}'")
    comparison = compare_variants(run, threads=threads, progress=progress, **options)
    if all(variant.error for variant in comparison.variants):
        first = comparison.variants[0]
        raise ExportError(f"No variant of {run.name} could be made; {first.name}: {first.error}")
    report = describe(run, comparison, {name: value for name, value in options.items() if name not in _OWN_OPTIONS})
    rows = {case["row"] for variant in report["variants"] for case in variant.get("worst", ())}
    shown = {row: run.task.example(comparison.requests, row, run.preprocessor)[0] for row in sorted(rows)}
    pictures = {row: picture_address(value) for row, value in shown.items() if _is_picture(value)}
    page = render_page(report, pictures)
    write_json(target / "report.json", report)
    write_text(target / "report.html", page)
    return report


def describe(run: Run, comparison: Comparison, options: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return what `report.json` holds (see the module).

    Args:
        run: The run.
        comparison: Its variants, measured.
        options: Options to repeat in the commands that write the variants.
    """
    task, metric = run.task, None
    if comparison.metric is not None:
        score = task.score(comparison.expected, comparison.requests, run.preprocessor)
        metric = {
            "name": comparison.metric,
            "higher_is_better": task.higher_is_better,
            "keras": comparison.keras,
            "se": score.get(f"{comparison.metric}_se"),
            "budget": comparison.budget,
        }
    made = [variant for variant in comparison.variants if variant.error is None]
    passed = metric is not None and any(variant.passed for variant in made)
    return {
        "format_version": FORMAT_VERSION,
        "made": datetime.datetime.now(datetime.UTC).isoformat(" ", "minutes").removesuffix("+00:00") + " UTC",
        "machine": {"system": platform.platform(), "processor": _processor(), "cores": os.cpu_count()},
        "versions": versions(_PACKAGES),
        "model": {
            "name": run.name,
            "task": task.name,
            "run": os.fspath(run.folder) if run.folder else None,
            "data": run.data["reference"] if run.data else None,
            "trained": run.trained,
            "serving_options": made[0].facts["serving_options"] if made else {},
        },
        "split": comparison.split,
        "examples": len(comparison.requests),
        "metric": metric,
        "difference": {"what": task.difference_help, "steps": list(task.difference_steps)},
        "timing": comparison.timing,
        "choice": {prefer: choose(comparison, prefer).name if passed else None for prefer in PREFERENCES},
        "variants": [_variant(run, comparison, variant, options or {}) for variant in comparison.variants],
    }


def _variant(run: Run, comparison: Comparison, variant: Variant, options: Mapping[str, Any]) -> dict[str, Any]:
    if variant.error is not None:
        return {"name": variant.name, "error": variant.error}
    float32 = next((len(item.bundle) for item in comparison.variants if item.name == "float32"), 0)
    task, requests, expected = run.task, comparison.requests, comparison.expected
    differences = task.difference(expected, variant.outputs)
    return {
        "name": variant.name,
        "error": None,
        "refused": variant.refused,
        "command": _command(run, variant.name, comparison.budget, options),
        "bytes": len(variant.bundle),
        "flatbuffer_bytes": len(variant.flatbuffer),
        "size_ratio": len(variant.bundle) / float32 if float32 else None,
        "operators": variant.facts["operators_by_type"],
        "latency": variant.latency,
        "metric": variant.metric,
        "drop": variant.drop,
        "agreement": {"same": int(variant.same.sum()), "of": len(variant.same)},
        "difference": {
            "mean": float(differences.mean()),
            "max": float(differences.max()),
            "histogram": histogram(differences, task.difference_steps),
        },
        "worst": worst_cases(task, run.preprocessor, requests, expected, variant.outputs, differences),
    }


def _command(run: Run, quantize: str, budget: float, options: Mapping[str, Any]) -> str:
    """Return the command that writes a variant's file."""
    words = ["zoo", "export", os.fspath(run.folder) if run.folder else run.name, "--quantize", quantize]
    if budget != _BUDGET:
        words += ["--budget", f"{budget:g}"]
    for name, value in options.items():
        words += [f"--{name.replace('_', '-')}", *map(str, value if isinstance(value, (tuple, list)) else [value])]
    return shlex.join(words)


def worst_cases(
    task: Task,
    preprocessor: Preprocessor,
    requests: Requests,
    expected: Mapping[str, np.ndarray],
    actual: Mapping[str, np.ndarray],
    differences: np.ndarray,
) -> list[dict[str, Any]]:
    """Return the examples with the largest differences, the largest first; a bounded part of each for show.

    Args:
        task: Says what an example and the same answer are.
        preprocessor: Turns outputs into answers.
        requests: The examples.
        expected: The Keras model's outputs, first axis = example.
        actual: The variant's outputs, likewise.
        differences: float (N,), see `Task.difference`.

    Returns:
        At most `WORST` times `row`, `id`, `difference`, `same`, `input` (a text, the values of a series, or null for a
        picture), `truth`, `expected` and `actual` (the answers' text and score; label and probabilities; mean and
        quantiles).
    """
    same = np.asarray(task.agreement(expected, actual), bool)
    cases = []
    for row in np.argsort(-differences, kind="stable")[:WORST].tolist():
        value, truth = task.example(requests, row, preprocessor)
        answers = {
            name: _answer(preprocessor, requests, outputs, row)
            for name, outputs in (("expected", expected), ("actual", actual))
        }
        cases.append(
            {
                "row": row,
                "id": _short(requests.ids[row]),
                "difference": float(differences[row]),
                "same": bool(same[row]),
                "input": None if _is_picture(value) else _plain(value),
                "truth": _plain(truth),
                **answers,
            }
        )
    return cases


def histogram(differences: np.ndarray, steps: Sequence[float]) -> list[int]:
    """Count differences below the first step, from each step to the next, and from the last one on."""
    return np.bincount(np.searchsorted(steps, differences, side="right"), minlength=len(steps) + 1).tolist()


def picture_address(image: np.ndarray) -> str:
    """Return a picture, uint8 (H, W, 3), as a `data:` address of bounded size."""
    picture = Image.fromarray(image)
    picture.thumbnail((_THUMBNAIL, _THUMBNAIL), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    kind = "png"
    if buffer.tell() > _LARGEST_PNG:
        buffer, kind = io.BytesIO(), "jpeg"
        picture.save(buffer, "JPEG", quality=85)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _answer(
    preprocessor: Preprocessor, requests: Requests, outputs: Mapping[str, np.ndarray], row: int
) -> dict[str, Any]:
    """Return a typed result's fields for show: what explains the answer (weights, attention) is left out."""
    request = {name: array[row : row + 1] for name, array in requests.inputs.items()}
    result = preprocessor.result(request, {name: array[row : row + 1] for name, array in outputs.items()}).to_dict()
    shown = ("text", "score", "label", "probabilities", "mean", "quantiles", "levels")
    return {name: _plain(result[name]) for name in shown if name in result}


def _processor() -> str:
    """Return the processor's name where the system says it, else its kind."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def _is_picture(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.ndim == 3


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return _short(value)
    return np.asarray(value, np.float64).tolist() if isinstance(value, np.ndarray) else value


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST_TEXT else text[: _LONGEST_TEXT - 1] + "…"


def quality_rows(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what a report says of size and answers as rows of equal keys; a variant that was not made has dashes."""
    metric, rows = report["metric"], []
    for variant in report["variants"]:
        made = variant["error"] is None
        row = {
            "variant": variant["name"],
            "gate": "passed" if made and not variant["refused"] else "refused" if made else "not made",
            "kB": round(variant["bytes"] / 1e3) if made else "-",
            "of float32": _percent(variant.get("size_ratio")),
        }
        if metric:
            row |= {metric["name"]: variant["metric"] if made else "-", "drop": _percent(variant.get("drop"))}
        row["same answers"] = "{same} of {of}".format_map(variant["agreement"]) if made else "-"
        row["largest difference"] = variant["difference"]["max"] if made else "-"
        rows.append(row)
    return rows


def speed_rows(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what a report says of speed and memory as rows of equal keys: milliseconds, and MiB of the process."""
    columns = {"threads": "threads", "load_ms": "load ms", "first_ms": "first ms", "p50_ms": "p50 ms"}
    columns |= {"p95_ms": "p95 ms", "peak_memory_mb": "peak MiB", "model_memory_mb": "model MiB"}
    return [
        {"variant": variant["name"], **{shown: record[key] for key, shown in columns.items()}}
        for variant in report["variants"]
        if not variant["error"]
        for record in variant["latency"]
    ]


def problems(report: Mapping[str, Any]) -> list[str]:
    """Return a sentence for every variant that was not made or does not pass the export gate."""
    reasons = {variant["name"]: variant["error"] or variant["refused"] for variant in report["variants"]}
    return [f"{name}: {reason}" for name, reason in reasons.items() if reason]


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{round(value, 4) + 0.0:.2%}"
