"""Int8: weights and activations of convolutions, dense layers, tables and the additions between them.

What is not among these (attention products, softmax, normalisations, loop variables) stays float32, and the inputs and
outputs of every signature keep their types. The work is done in another process, since the calibrator is native code.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from zoo.errors import ExportError
from zoo.export._process import run_worker, write_arrays

Samples = Mapping[str, Mapping[str, np.ndarray]]
"""Signature -> input -> values, first axis = example."""


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
        run_worker("zoo.export._quantize_worker", [source, given, out], what="Quantising to int8", timeout=timeout)
        try:
            return out.read_bytes()
        except OSError as error:
            raise ExportError(f"Quantising to int8 left no file: {error.strerror or error}.") from error
