"""Int8: weights and activations of convolutions, dense layers, tables and the additions between them.

The ranges of activations are those seen on samples; dense layers of loops find theirs when they run. What is not among
these (attention products, softmax, normalisations, loop variables, small layers) stays float32, and the inputs and
outputs of every signature keep their types. The work is done in another process, since the calibrator is native code.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from zoo.errors import ExportError
from zoo.export._flatbuffer import Model
from zoo.export._process import run_worker, write_arrays

WORKER = "zoo.export._quantize_worker"
Samples = Mapping[str, Mapping[str, np.ndarray]]
"""Signature -> input -> values, first axis = example."""

_WEIGHTS = {
    "CONV_2D": 1,
    "DEPTHWISE_CONV_2D": 1,
    "FULLY_CONNECTED": 1,
    "BATCH_MATMUL": 1,
    "GATHER": 0,
    "EMBEDDING_LOOKUP": 1,
}


def quantize_int8(flatbuffer: bytes, samples: Samples, *, timeout: float = 900.0) -> bytes:
    """Return the int8 variant of a float32 model.

    Args:
        flatbuffer: The model, as `zoo.export.tflite.convert` returns it.
        samples: Typical inputs; the ranges of the activations are those seen on them. Name `serving_default` at least.
        timeout: Seconds after which it is stopped.

    Raises:
        ExportError: If it fails, crashes or takes too long.
    """
    with tempfile.TemporaryDirectory(prefix="zoo-quantize-") as scratch:
        source, given, out = (Path(scratch) / name for name in ("float.tflite", "samples.npz", "int8.tflite"))
        source.write_bytes(flatbuffer)
        write_arrays(
            given, {f"{key}/{name}": values for key, inputs in samples.items() for name, values in inputs.items()}
        )
        run_worker(WORKER, [source, given, out], what="Quantising to int8", timeout=timeout)
        try:
            return out.read_bytes()
        except OSError as error:
            raise ExportError(f"Quantising to int8 left no file: {error.strerror or error}.") from error


def operators_by_type(flatbuffer: bytes) -> dict[str, dict[str, int]]:
    """Count the operators of all sub-graphs by the type they compute in.

    Args:
        flatbuffer: A TFLite model made here, or one whose SHA-256 has been checked.

    Returns:
        Operator -> type of its first output -> number of uses; "float32, int8 weights" where these differ.
    """
    model = Model(flatbuffer)
    counts: dict[str, Counter[str]] = {}
    for node in model.nodes:
        if node.outputs:
            kind = model.type_of(node.outputs[0])
            place = _WEIGHTS.get(node.kind)
            weights = node.inputs[place] if place is not None else None
            if model.is_constant(weights) and model.type_of(weights) != kind:
                kind = f"{kind}, {model.type_of(weights)} weights"
            counts.setdefault(node.kind, Counter())[kind] += 1
    return {name: dict(found.most_common()) for name, found in sorted(counts.items())}
