"""The processes with TensorFlow: `convert` a SavedModel to TFLite; write the `saved_model` of a model's weights.

Usage:
    python -P -m zoo.export._convert_worker convert SAVED_MODEL OUT.tflite float32|float16|dynamic
    python -P -m zoo.export._convert_worker saved_model MODEL.json WEIGHTS.safetensors SAVED_MODEL
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from zoo.errors import ExportError
from zoo.export._process import run_command
from zoo.files import read_json

_FOREIGN = re.compile(r"'tf\.(\w+)' op is neither a custom op nor a flex op")


def convert(saved_model: str, out: str, quantize: str) -> None:
    """Convert every signature with LiteRT's built-in operators only."""
    import tensorflow as tf

    from zoo.export._compact import compact

    converter = tf.lite.TFLiteConverter.from_saved_model(saved_model)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    if quantize != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if quantize == "float16":
        converter.target_spec.supported_types = [tf.float16]
    try:
        flatbuffer = converter.convert()
    except Exception as error:  # the converter's errors have no common base
        foreign = sorted(set(_FOREIGN.findall(str(error))))
        if foreign:
            raise ExportError(f"LiteRT has no operator for {', '.join(foreign)}; use other keras.ops") from error
        raise
    Path(out).write_bytes(compact(flatbuffer))


def saved_model(description: str, weights: str, folder: str) -> None:
    """Rebuild a model under the TensorFlow backend and write its serving function."""
    from zoo.api import build_from_config
    from zoo.export.saved_model import write_saved_model
    from zoo.registry import architecture
    from zoo.tasks import get_task
    from zoo.weights import load_weights

    model_of = read_json(description)
    cls = architecture(model_of["name"])
    model = build_from_config(cls.name, cls.Config.from_dict(model_of["config"]))
    load_weights(model, Path(weights))
    write_saved_model(get_task(cls.task).serving(model, **model_of["serving_options"]), folder)


def main(arguments: list[str]) -> None:
    """Run one command; an error is one line on stderr and exit code 1."""
    run_command({"convert": convert, "saved_model": saved_model}, arguments)


if __name__ == "__main__":
    main(sys.argv[1:])
