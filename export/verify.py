"""The export gate: what a `.tflite` file must show before it is written, and `zoo verify` for a file that exists."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from zoo.errors import ExportError, ModelFileError, ZooError
from zoo.export._process import read_arrays, run_worker, write_arrays
from zoo.export.bundle import DTYPES, SIGNATURE, Signatures, read_bundle
from zoo.export.golden import GoldenCase, read_golden
from zoo.export.structure import check_bundle, read_structure
from zoo.preprocess import Preprocessor, load
from zoo.tasks import Requests, Task, get_task

EDGE_WORKER = "zoo.export._edge_worker"
_COMPARED = 64  # examples of which a float32 file may miss none
Arrays = dict[str, np.ndarray]


def check_operators(flatbuffer: bytes) -> dict[str, int]:
    """Count the operators of all sub-graphs, the bodies of loops included.

    Args:
        flatbuffer: A TFLite model made here, or one whose SHA-256 has been checked.

    Returns:
        Operator name -> number of uses, most used first.

    Raises:
        ExportError: If one is not a LiteRT built-in (custom, or TensorFlow's "Flex").
    """
    counts = read_structure(flatbuffer, "the file").operators()
    foreign = sorted(name.removeprefix("CUSTOM").strip() or "unnamed" for name in counts if name.startswith("CUSTOM"))
    if foreign:
        raise ExportError(f"The model uses operators LiteRT does not have ({', '.join(foreign)}); use other keras.ops.")
    return counts


def check_interface(flatbuffer: bytes) -> Signatures:
    """Check that any client can hold the inputs and outputs of every signature.

    Returns:
        Name of the signature -> `{"inputs": {name: {"shape", "dtype"}}, "outputs": ...}`.

    Raises:
        ExportError: If `serving_default` is missing, a shape is not static, or a dtype is not float32, int32 or uint8.
    """
    structure = read_structure(flatbuffer, "the file")
    for signature in structure.signatures.values():
        for name, tensor in (*signature.inputs.items(), *signature.outputs.items()):
            if tensor.dtype not in DTYPES:
                raise ExportError(f"'{name}' is {tensor.dtype}; clients hold {', '.join(DTYPES)} only.")
            if not tensor.static:
                raise ExportError(f"'{name}' has a dynamic shape; make the serving function static.")
    if SIGNATURE not in structure.signatures:
        raise ExportError(f"The model has no signature '{SIGNATURE}'; convert a SavedModel written by zoo.export.")
    return structure.interface()


def run_without_tensorflow(
    path: str | os.PathLike[str], inputs: Mapping[str, np.ndarray], *, timeout: float = 600.0
) -> Arrays:
    """Run a bundle in a process where importing TensorFlow, Keras or JAX raises.

    Args:
        path: The bundle.
        inputs: Serving inputs by name, first axis = example.
        timeout: Seconds after which it is stopped.

    Returns:
        Serving outputs by name, exactly as the model gives them, with an axis of runs in front. A model with a batch
        takes that many examples a run, the last run filled up with copies.

    Raises:
        ExportError: If the file does not load or run there.
    """
    with tempfile.TemporaryDirectory(prefix="zoo-verify-") as scratch:
        given, answers = Path(scratch) / "inputs.npz", Path(scratch) / "outputs.npz"
        write_arrays(given, inputs)
        run_worker(
            EDGE_WORKER,
            ["run", path, given, answers],
            what="Running the .tflite file without TensorFlow",
            timeout=timeout,
        )
        return read_arrays(answers)


def by_example(outputs: Mapping[str, np.ndarray], count: int | None = None) -> Arrays:
    """Put the runs of a model below each other: (R, B, ...) -> (R * B, ...); scalars, which B = 1 has, stay (R,).

    Args:
        outputs: What `run_without_tensorflow` returned.
        count: Number of examples to keep, without what filled the last run up; all when not given.
    """
    return {
        name: (array.reshape(-1, *array.shape[2:]) if array.ndim > 1 else array)[:count]
        for name, array in outputs.items()
    }


def judge(
    *,
    task: Task,
    preprocessor: Preprocessor,
    requests: Requests,
    expected: Mapping[str, np.ndarray],
    actual: Mapping[str, np.ndarray],
    quantize: str,
    trained: bool,
    budget: float,
) -> dict[str, Any]:
    """Compare the file's answers with the Keras model's, in task units, and say whether the file may be written.

    A float32 file must give the same answer to every example looked at, at most 64 spread evenly. A quantised one of a
    trained model may lose at most `budget` of the task's main metric, relative to the Keras model's. One of an
    untrained model must be finite.

    Args:
        task: The task.
        preprocessor: For the task's metric.
        requests: The examples.
        expected: The Keras model's outputs, first axis = example.
        actual: The file's outputs, likewise.
        quantize: How the file's weights are stored.
        trained: Whether the metric means anything.
        budget: Largest relative drop, 0.01 for one percent.

    Returns:
        `{"agreement": {"same", "of"}, "metric": {"name", "keras", "tflite", "drop", "budget"} or None, "refused"}`;
        `refused` is a sentence that says what is wrong and by how much, or None if the gate is passed.
    """
    count = len(requests)
    same = np.asarray(task.agreement(expected, actual), bool)
    agreement = {"same": int(same.sum()), "of": count}
    unusable = [name for name, array in actual.items() if array.dtype.kind == "f" and not np.isfinite(array).all()]
    refused: str | None = None
    if unusable:
        refused = f"The .tflite file gives '{unusable[0]}' values that are not numbers; it was not written."
        return {"agreement": agreement, "metric": None, "refused": refused}
    metric = None
    if trained:
        keras, tflite = (
            float(task.score(outputs, requests, preprocessor)[task.main_metric]) for outputs in (expected, actual)
        )
        loss = keras - tflite if task.higher_is_better else tflite - keras
        drop = loss / max(abs(keras), 1e-9)
        metric = {"name": task.main_metric, "keras": keras, "tflite": tflite, "drop": drop, "budget": budget}
        if not drop <= budget:
            refused = (
                f"Stored as {quantize}, the model's {task.main_metric} goes from {keras:.4g} to {tflite:.4g} on "
                f"{count} examples, {drop:.1%} worse, over the budget of {budget:.1%}; allow a larger budget or use "
                "float16 or float32."
            )
    looked_at = requests.spread(_COMPARED)
    other = looked_at[~same[looked_at]]
    if quantize == "float32" and len(other):
        first = ", ".join(requests.ids[int(i)] for i in other[:3])
        refused = (
            f"The .tflite file answers {len(other)} of {len(looked_at)} examples otherwise than the Keras model "
            f"(first: {first}); it was not written."
        )
    return {"agreement": agreement, "metric": metric, "refused": refused}


def verify_file(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Check a `.tflite` file: bundle, operators, interface, and its own golden answers without TensorFlow.

    Args:
        path: The file.

    Returns:
        A report: `passed`, `problems` (sentences), and what was found.

    Raises:
        ModelFileError: If the file cannot be read or trusted, so that nothing in it was looked at.
    """
    bundle = read_bundle(path)
    task, cases = get_task(bundle.task), read_golden(bundle)
    if not cases:
        raise ModelFileError(f"'{os.fspath(path)}' holds no golden examples; export it again.")
    problems: list[str] = []
    report: dict[str, Any] = {
        "file": os.fspath(path),
        "bytes": Path(path).stat().st_size,
        "name": bundle.name,
        "task": bundle.task,
        "quantize": bundle.quantize,
        "format_version": bundle.manifest["format_version"],
        "entries": len(bundle.entries),
    }
    try:
        report["operators"] = check_operators(bundle.flatbuffer)
        report["interface"] = check_interface(bundle.flatbuffer)[SIGNATURE]
        preprocessor = load(bundle.folder("preprocessor"))
        check_bundle(bundle, preprocessor, os.fspath(path))
        problems += [
            f"The request of the golden example '{case.id}' gives other inputs."
            for case in cases
            if not _same(case, preprocessor)
        ]
        inputs = {name: np.concatenate([case.inputs[name] for case in cases]) for name in cases[0].inputs}
        expected = {name: np.stack([case.outputs[name] for case in cases]) for name in cases[0].outputs}
        actual = run_without_tensorflow(path, inputs)
        if {name: array.shape for name, array in actual.items()} != {k: v.shape for k, v in expected.items()}:
            raise ExportError("The outputs do not have the names and shapes of the golden answers.")
        same = np.reshape(task.agreement(by_example(expected), by_example(actual)), (len(cases), -1)).all(-1)
        report["golden"] = {"same": int(same.sum()), "of": len(cases)}
        if not same.all():
            problems.append(f"{int((~same).sum())} of {len(cases)} golden answers are not reproduced.")
    except ZooError as error:
        problems.append(str(error))
    return {**report, "problems": problems, "passed": not problems}


def _same(case: GoldenCase, preprocessor: Preprocessor) -> bool:
    """Whether preprocessing a golden example's request gives its inputs; a batch holds copies."""
    if case.request is None:
        return True
    inputs = preprocessor.request(case.request.value())
    return inputs.keys() == case.inputs.keys() and all(
        bool((case.inputs[name] == array).all()) for name, array in inputs.items()
    )
