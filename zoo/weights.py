"""Weights as safetensors: numbers and names only, nothing that could run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from zoo.backend import import_keras
from zoo.errors import ModelFileError, require
from zoo.files import write_bytes

if TYPE_CHECKING:
    import keras


HALF_ERROR = 2.0**-11
"""Largest error of a value in float16, relative to the largest value of its tensor: that of rounding, no more."""


def save_weights(model: keras.Model, path: Path, *, half: bool = False) -> None:
    """Write a model's weights (batch-norm statistics included), atomically; equal weights give equal bytes.

    Keys are the weight's place in `model.weights` and its name, so they do not depend on automatic layer names.

    Args:
        model: The model.
        path: Destination.
        half: Store tables and matrices in float16 (see `halved`).
    """
    safetensors = require("safetensors.numpy", extra="tf", purpose="Saving weights")
    keras = import_keras("Saving weights")
    arrays = {key: keras.ops.convert_to_numpy(weight) for key, weight in _keyed(model).items()}
    write_bytes(path, safetensors.save({key: halved(array) if half else array for key, array in arrays.items()}))


def halved(array: np.ndarray) -> np.ndarray:
    """Return a tensor in float16, or as it is where that is unsafe or saves nothing.

    Integers stay. So do vectors (biases, the statistics of normalisation): they take little room, and the smallest
    variance may be below what float16 can hold. So does a tensor with a value that overflows, and one so small as a
    whole that an error would be above `HALF_ERROR` of its largest value.
    """
    if array.dtype != np.float32 or array.ndim < 2:
        return array
    with np.errstate(over="ignore"):
        half = array.astype(np.float16)
    error = np.abs(half.astype(np.float32) - array).max(initial=0)
    return half if error <= HALF_ERROR * np.abs(array).max(initial=0) else array


def load_weights(model: keras.Model, path: Path) -> None:
    """Read weights written by `save_weights` into a model of the same configuration; float16 becomes float32.

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
    if arrays.keys() != keyed.keys() or not all(_fits(arrays[key], weight) for key, weight in keyed.items()):
        raise ModelFileError(f"The weights '{path}' are of another model or configuration than {model.name}.")
    for key, weight in keyed.items():
        weight.assign(arrays[key])


def _fits(array: np.ndarray, weight: keras.Variable) -> bool:
    if array.shape != tuple(weight.shape):
        return False
    stored = array.dtype.name
    return stored == weight.dtype or (stored == "float16" and weight.dtype == "float32")


def _keyed(model: keras.Model) -> dict[str, keras.Variable]:
    return {f"{index:04d}/{weight.name}": weight for index, weight in enumerate(model.weights)}
