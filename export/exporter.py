"""The one pipeline: serving function, SavedModel, TFLite, bundle, gate, file."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.errors import ConfigError, ExportError, ZooError
from zoo.export._drafts import Drafts, write_graph
from zoo.export.auto import check_prefer, choice, choose
from zoo.export.benchmark import measure
from zoo.export.samples import checking_requests
from zoo.export.saved_model import check_saved_model_target
from zoo.export.tflite import check_installed, check_quantize
from zoo.export.variants import check_limits, compare_variants
from zoo.files import check_writable, write_bytes, write_json
from zoo.tasks import Requests

if TYPE_CHECKING:
    from zoo.run import Run

AUTO = "auto"
_FLOAT, _QUANTISED = 64, 2048  # examples compared


def export_run(
    run: Run,
    path: str | os.PathLike[str],
    *,
    quantize: str = "float32",
    prefer: str = "size",
    budget: float = 0.01,
    examples: int | None = None,
    requests: Requests | None = None,
    timeout: float = 900.0,
    **serving_options: Any,
) -> dict[str, Any]:
    """Write a model as one `.tflite` file that does the whole task, if it passes the export gate.

    The gate (see `zoo.export.verify`): built-in operators only; static shapes of dtypes every client can hold; the file
    loads and runs in a process without TensorFlow; it answers as the Keras model does.

    Args:
        run: A run; `Run.untrained(name)` for a model that has not been trained.
        path: Destination. With the suffix `.tflite` a bundle, and beside it `<path>.report.json`; any other name gives
            a SavedModel folder.
        quantize: "float32", "float16", "dynamic" (see `zoo.export.tflite.convert`), "int8" (see `zoo.export.quantize`),
            or "auto": all are made and compared, and the best of those that pass the gate is written.
        prefer: What "auto" looks for: "size" or "latency".
        budget: Largest relative drop of the task's main metric a quantised file of a trained model may show.
        examples: How many examples of the validation split to compare; 64 for float32 and for
            untrained models, 2048 otherwise.
        requests: Examples to compare instead of the run's own (an untrained run has none and gets random ones).
        timeout: Seconds that the conversion, and every check, may take.
        **serving_options: The task's own (captioning: `beam_width`, `max_length`, ...).

    Returns:
        The report; the bundle holds it as `report.json`.

    Raises:
        ExportError: If the conversion fails or the gate is not passed.
        ZooError: If the destination cannot be written. Nothing half-written is left in any case.
        MissingExtraError: If TensorFlow or LiteRT is not installed.
    """
    target = Path(path)
    bundled = target.suffix == ".tflite"
    if quantize != AUTO:
        check_quantize(quantize)
    check_prefer(prefer)
    check_limits(budget, examples)
    _check_target(target, bundled=bundled, quantize=quantize)
    check_installed()
    if quantize == AUTO and not run.trained:
        raise ConfigError(
            f"quantize='{AUTO}' chooses by the task's metric, and this {run.name} is not trained; name a variant."
        )
    with _scratch(target) as scratch:
        if not bundled:
            write_graph(Drafts(run, scratch, serving_options, timeout), target)
            return {"file": os.fspath(target), "format": "saved_model", "name": run.name, "task": run.task.name}
        if quantize == AUTO:
            comparison = compare_variants(
                run,
                budget=budget,
                examples=examples or _QUANTISED,
                requests=requests,
                timeout=timeout,
                **serving_options,
            )
            chosen = choose(comparison, prefer)
            report = chosen.facts | {"latency": chosen.latency, "choice": choice(comparison, prefer)}
            content = chosen.finish(report, os.fspath(target))
        else:
            drafts = Drafts(run, scratch, serving_options, timeout)
            if requests is None:
                count = examples or (_QUANTISED if run.trained and quantize != "float32" else _FLOAT)
                requests = checking_requests(run, drafts.serving, count)
            report, content = _named(drafts, quantize, requests, budget, os.fspath(target))
    write_bytes(target, content)
    report = {"file": os.fspath(target), "bytes": len(content), **report}
    write_json(target.with_name(f"{target.name}.report.json"), report)
    return report


def _named(
    drafts: Drafts, quantize: str, requests: Requests, budget: float, where: str
) -> tuple[dict[str, Any], bytes]:
    """Return the report and the content of one variant that passed the gate."""
    draft = drafts.make(quantize)
    expected = drafts.run.serving_outputs(requests.inputs, **drafts.options)
    _, verdict = drafts.judge(draft, requests, expected, budget=budget)
    refused = verdict.pop("refused")
    if refused:
        raise ExportError(refused)
    report = draft.facts | verdict | {"latency": measure(draft.path, requests.take(1), timeout=drafts.timeout)}
    return report, draft.finish(report, drafts.golden(draft, requests), where)


def _check_target(target: Path, *, bundled: bool, quantize: str) -> None:
    """Refuse a destination that could not be written, before minutes of work."""
    if not bundled:
        if quantize != "float32":
            raise ExportError(f"A SavedModel is float32; to quantise, give a name ending in .tflite, not '{target}'.")
        check_saved_model_target(target)
    elif target.is_dir():
        raise ZooError(f"Cannot write '{target}': it is a folder; give a file name ending in .tflite.")
    check_writable(target.absolute().parent, f"Cannot write '{target}'")


@contextlib.contextmanager
def _scratch(target: Path) -> Iterator[Path]:
    """Yield a temporary folder; a full disk while working in it is one line."""
    try:
        with tempfile.TemporaryDirectory(prefix="zoo-export-") as folder:
            yield Path(folder)
    except OSError as error:
        raise ExportError(f"The export to '{target}' failed: {error.strerror or error}.") from error
