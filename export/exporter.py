"""The one pipeline: serving function, SavedModel, TFLite, bundle, gate, file."""

from __future__ import annotations

import contextlib
import math
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.errors import ConfigError, DataError, ExportError, ZooError
from zoo.export._process import run_worker
from zoo.export.benchmark import measure
from zoo.export.bundle import SIGNATURE, pack_bundle, unpack_bundle, write_bundle
from zoo.export.golden import golden_cases, golden_entries
from zoo.export.quantize import operators_by_type, quantize_int8
from zoo.export.samples import calibration_samples, random_requests
from zoo.export.saved_model import check_saved_model_target, write_saved_model
from zoo.export.tflite import TENSORFLOW_ON_CPU, WORKER, check_installed, check_quantize, convert
from zoo.export.verify import by_example, check_interface, check_operators, judge, run_without_tensorflow
from zoo.files import to_json, write_json
from zoo.tasks import Requests, Serving
from zoo.weights import save_weights

if TYPE_CHECKING:
    from zoo.run import Run

_SPLIT = "valid"  # the gate decides, and decisions are not made on the test split


def export_run(
    run: Run,
    path: str | os.PathLike[str],
    *,
    quantize: str = "float32",
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
        quantize: "float32", "float16", "dynamic" (see `zoo.export.tflite.convert`) or "int8" (see
            `zoo.export.quantize`).
        budget: Largest relative drop of the task's main metric a quantised file of a trained model may show.
        examples: How many examples of the validation split to compare; 64 for float32, 512 otherwise.
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
    check_quantize(quantize)
    if not (isinstance(budget, (int, float)) and math.isfinite(budget) and budget >= 0):
        raise ConfigError(f"The export's budget is {budget!r}; it must be a number from 0 on, 0.01 for one percent.")
    if examples is not None and examples < 1:
        raise ConfigError(f"The export's number of examples is {examples}; it must be at least 1.")
    _check_target(target, bundled=bundled, quantize=quantize)
    check_installed()
    serving = run.serving(**serving_options)
    if not bundled:
        with _scratch(target) as scratch:
            _write_graph(run, serving, serving_options, target, scratch, timeout)
        return {"file": os.fspath(target), "format": "saved_model", "name": run.name, "task": run.task.name}
    if requests is None:
        requests = _requests(run, serving, examples or (64 if quantize == "float32" else 512))
    expected = run.serving_outputs(requests.inputs, **serving_options)
    with _scratch(target) as scratch:
        folder, draft = scratch / "saved_model", scratch / "model.tflite"
        _write_graph(run, serving, serving_options, folder, scratch, timeout)
        if quantize == "int8":
            samples = calibration_samples(run, serving).inputs
            flatbuffer = quantize_int8(convert(folder, timeout=timeout), {SIGNATURE: samples}, timeout=timeout)
        else:
            flatbuffer = convert(folder, quantize, timeout=timeout)
        signatures = check_interface(flatbuffer)
        report: dict[str, Any] = {
            "name": run.name,
            "task": run.task.name,
            "quantize": quantize,
            "trained": run.trained,
            "flatbuffer_bytes": len(flatbuffer),
            "operators": check_operators(flatbuffer),
            "operators_by_type": operators_by_type(flatbuffer),
            "interface": signatures[SIGNATURE],
            "serving_options": {"batch_size": serving.batch_size, **serving.options},
        }
        about: dict[str, Any] = {"name": run.name, "task": run.task.name, "quantize": quantize}
        about["signatures"] = signatures
        entries = {
            **{f"preprocessor/{name}": content for name, content in run.preprocessor.files().items()},
            "config.json": to_json(_description(run)).encode(),
            "licences.json": to_json(_licences(run)).encode(),
        }
        write_bundle(draft, flatbuffer, entries, **about)
        answers = run_without_tensorflow(draft, requests.inputs, timeout=timeout)
        report |= judge(
            task=run.task,
            preprocessor=run.preprocessor,
            requests=requests,
            expected=expected,
            actual=by_example(answers, len(requests)),
            quantize=quantize,
            trained=run.trained and requests.truth is not None,
            budget=budget,
        )
        report["latency"] = measure(draft, requests.take(1), timeout=timeout)
        cases = golden_cases(
            requests,
            run.preprocessor,
            lambda inputs: run_without_tensorflow(draft, inputs, timeout=timeout),
            serving.batch_size,
        )
    entries |= {"report.json": to_json(report).encode(), **golden_entries(cases)}
    unpack_bundle(pack_bundle(flatbuffer, entries, **about), os.fspath(target))
    write_bundle(target, flatbuffer, entries, **about)
    report = {"file": os.fspath(target), "bytes": target.stat().st_size, **report}
    write_json(target.with_name(f"{target.name}.report.json"), report)
    return report


def _check_target(target: Path, *, bundled: bool, quantize: str) -> None:
    """Refuse a destination that could not be written, before minutes of work."""
    if not bundled:
        if quantize != "float32":
            raise ExportError(f"A SavedModel is float32; to quantise, give a name ending in .tflite, not '{target}'.")
        check_saved_model_target(target)
    elif target.is_dir():
        raise ZooError(f"Cannot write '{target}': it is a folder; give a file name ending in .tflite.")
    parent = next(folder for folder in target.absolute().parents if folder.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise ZooError(f"Cannot write '{target}': '{parent}' is not a folder that can be written to.")


@contextlib.contextmanager
def _scratch(target: Path) -> Iterator[Path]:
    """Yield a temporary folder; a full disk while working in it is one line."""
    try:
        with tempfile.TemporaryDirectory(prefix="zoo-export-") as folder:
            yield Path(folder)
    except OSError as error:
        raise ExportError(f"The export to '{target}' failed: {error.strerror or error}.") from error


def _write_graph(
    run: Run, serving: Serving, options: Mapping[str, Any], folder: Path, scratch: Path, timeout: float
) -> None:
    """Write the SavedModel; under another backend than TensorFlow's, in a process that has it."""
    import keras

    if keras.backend.backend() == "tensorflow":
        write_saved_model(serving, folder)
        return
    description, weights = scratch / "model.json", scratch / "weights.safetensors"
    write_json(description, {"name": run.name, "config": run.config.to_dict(), "serving_options": options})
    save_weights(run.model, weights)
    run_worker(
        WORKER,
        ["saved_model", description, weights, folder.absolute()],
        what="Writing the SavedModel",
        timeout=timeout,
        environment=TENSORFLOW_ON_CPU,
    )


def _requests(run: Run, serving: Serving, count: int) -> Requests:
    if run.data is None:
        return random_requests(serving, count, tokens=getattr(run.config, "vocab_size", 2))
    requests = run.task.requests(run.dataset().split(_SPLIT), run.preprocessor, limit=count)
    if len(requests) == 0:
        raise DataError(f"The split '{_SPLIT}' has no examples to check the export with; give more data.")
    return requests


def _description(run: Run) -> dict[str, Any]:
    described = run.describe()
    return {key: described[key] for key in ("architecture", "task", "config", "data", "train", "trained", "versions")}


def _licences(run: Run) -> dict[str, Any]:
    """Return the terms of the code and of the data the weights were trained on."""
    return {"code": {"name": "Apache-2.0", "credit": "attention-zoo"}, "data": run.licence or None}
