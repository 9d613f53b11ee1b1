"""From a SavedModel to a TFLite flatbuffer of LiteRT built-in operators.

`tf.lite` is slated to leave TensorFlow; this module and its worker are the only ones that name the converter.
"""

from __future__ import annotations

import importlib.util
import os
import tempfile
from pathlib import Path

from zoo.errors import ExportError, MissingExtraError, unknown_name
from zoo.export._process import run_worker
from zoo.export.bundle import QUANTIZATIONS

WORKER = "zoo.export._convert_worker"
TENSORFLOW_ON_CPU = {"KERAS_BACKEND": "tensorflow", "CUDA_VISIBLE_DEVICES": "-1"}
"""Conversion needs no accelerator, and the parent process may hold all of one's memory."""


def convert(saved_model: str | os.PathLike[str], quantize: str = "float32", *, timeout: float = 900.0) -> bytes:
    """Convert a SavedModel in a process of its own (the converter leaks, and it can crash).

    Args:
        saved_model: Folder with the signature `serving_default`.
        quantize: "float32"; "float16": weights as float16; "dynamic": weights of matrix products and convolutions as
            int8, activations float32 (quantised on the fly). Inputs and outputs are the same in all three.
        timeout: Seconds after which the conversion is stopped.

    Returns:
        The flatbuffer.

    Raises:
        ExportError: If the conversion fails, crashes or takes too long.
        UnknownNameError: If there is no such quantisation.
        MissingExtraError: If TensorFlow is not installed.
    """
    check_quantize(quantize)
    if quantize == "int8":
        raise ExportError("The converter does not make int8 files; give its float32 file to zoo.export.quantize.")
    check_installed()
    with tempfile.TemporaryDirectory(prefix="zoo-convert-") as scratch:
        out = Path(scratch) / "model.tflite"
        run_worker(
            WORKER,
            ["convert", saved_model, out, quantize],
            what="The conversion to TFLite",
            timeout=timeout,
            environment=TENSORFLOW_ON_CPU,
        )
        try:
            return out.read_bytes()
        except OSError as error:
            raise ExportError(f"The conversion to TFLite left no file: {error.strerror or error}.") from error


def check_quantize(quantize: str) -> None:
    """Refuse an unknown quantisation.

    Raises:
        UnknownNameError: If `quantize` is not one of `QUANTIZATIONS`.
    """
    if quantize not in QUANTIZATIONS:
        raise unknown_name("quantisation", quantize, QUANTIZATIONS)


def check_installed() -> None:
    """Refuse to start without TensorFlow or LiteRT, without importing either.

    Raises:
        MissingExtraError: If one is not installed.
    """
    for module in ("tensorflow", "ai_edge_litert"):
        if importlib.util.find_spec(module) is None:
            raise MissingExtraError(
                f"Export needs '{module}', which is not installed; run: pip install 'attention-zoo[tf]'."
            )
