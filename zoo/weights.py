"""Weights as safetensors: numbers and names only, nothing that could run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from zoo.backend import import_keras
from zoo.errors import ModelFileError, require
from zoo.files import write_bytes

if TYPE_CHECKING:
    import keras


def save_weights(model: keras.Model, path: Path) -> None:
    """Write a model's weights (batch-norm statistics included), atomically.

    Keys are the weight's place in `model.weights` and its name, so they do not depend on automatic layer names.
    """
    safetensors = require("safetensors.numpy", extra="tf", purpose="Saving weights")
    keras = import_keras("Saving weights")
    arrays = {key: keras.ops.convert_to_numpy(weight) for key, weight in _keyed(model).items()}
    write_bytes(path, safetensors.save(arrays))


def load_weights(model: keras.Model, path: Path) -> None:
    """Read weights written by `save_weights` into a model of the same configuration.

    Raises:
        ModelFileError: If the file is missing, damaged, or of another model.
    """
    safetensors = require("safetensors.numpy", extra="tf", purpose="Loading weights")
    try:
        arrays = safetensors.load(path.read_bytes())
    except OSError as error:
        raise ModelFileError(f"Cannot read the weights '{path}': {error.strerror or error}.") from error
    except Exception as error:  # the library raises its own untyped errors for every kind of damage
        raise ModelFileError(f"The weights '{path}' are damaged ({error}); restore the file or train again.") from error
    keyed = _keyed(model)
    if arrays.keys() != keyed.keys() or any(arrays[key].shape != tuple(keyed[key].shape) for key in keyed):
        raise ModelFileError(f"The weights '{path}' are of another model or configuration than {model.name}.")
    for key, weight in keyed.items():
        weight.assign(arrays[key])


def _keyed(model: keras.Model) -> dict[str, keras.Variable]:
    return {f"{index:04d}/{weight.name}": weight for index, weight in enumerate(model.weights)}
