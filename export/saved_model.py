"""A serving function as a TensorFlow SavedModel, readable by a process that does not have this package."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from zoo.errors import ExportError, ZooError, require
from zoo.export.bundle import SIGNATURE
from zoo.files import replace_folder
from zoo.tasks import Serving, Signature

_DTYPES = ("float32", "int32", "uint8")


def write_saved_model(serving: Serving, folder: str | os.PathLike[str]) -> None:
    """Write the whole task as a SavedModel with the signature `serving_default` and the task's others, atomically.

    Inputs and outputs keep their names; every shape is static. The variables are tracked through
    `keras.export.ExportArchive`, which is what lets the TFLite converter freeze those inside a decode loop.

    Args:
        serving: The serving function, made under Keras's TensorFlow backend.
        folder: Destination; an existing SavedModel there is replaced.

    Raises:
        ExportError: If an input's dtype is not float32, int32 or uint8, the backend is another one, the graph cannot
            be traced, or the folder holds something else than a SavedModel.
        ZooError: If the folder cannot be written.
    """
    target = Path(folder)
    check_saved_model_target(target)
    signatures: dict[str, Signature] = {SIGNATURE: serving, **serving.signatures}
    for name, dtype in ((name, dtype) for one in signatures.values() for name, (_, dtype) in one.inputs.items()):
        if dtype not in _DTYPES:
            raise ExportError(f"Input '{name}' is {dtype}; clients hold {', '.join(_DTYPES)} only: change the task.")
    tensorflow = require("tensorflow", extra="tf", purpose="Export")
    keras = require("keras", extra="tf", purpose="Export")
    if keras.backend.backend() != "tensorflow":
        raise ExportError(
            f"A SavedModel needs Keras's TensorFlow backend, not {keras.backend.backend()}; "
            "set KERAS_BACKEND=tensorflow, or export through zoo.export.exporter."
        )

    def endpoint(signature: Signature) -> Callable[..., dict[str, Any]]:
        def call(*values: Any) -> dict[str, Any]:
            outputs = signature.function(**dict(zip(signature.inputs, values, strict=True)))
            return {name: tensorflow.identity(outputs[name], name=name) for name in signature.outputs}

        return call

    def fill(beside: Path) -> None:
        archive = keras.export.ExportArchive()
        archive.track(serving.model)
        for key, signature in signatures.items():
            specs = [
                tensorflow.TensorSpec(shape, dtype, name=name) for name, (shape, dtype) in signature.inputs.items()
            ]
            archive.add_endpoint(key, endpoint(signature), input_signature=specs)
        archive.write_out(str(beside), verbose=False)

    try:
        replace_folder(target, fill)
    except tensorflow.errors.OpError as error:
        raise ZooError(f"Cannot write the folder '{target}': {_first_line(error)}.") from error
    except (TypeError, ValueError, KeyError, NotImplementedError) as error:
        raise ExportError(f"The serving function cannot be traced: {_first_line(error)}.") from error


def check_saved_model_target(folder: Path) -> None:
    """Refuse a destination that holds anything but a SavedModel.

    Raises:
        ZooError: If it is a file, or a folder with other content.
    """
    if folder.is_file():
        raise ZooError(f"Cannot write the SavedModel '{folder}': it is a file; give a folder name.")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / "saved_model.pb").exists():
        raise ZooError(f"Cannot write the SavedModel '{folder}': the folder holds other files; give a new name.")


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # TensorFlow says where in the graph before it says what: the end of a message is what matters.
    return re.sub(r"^{{.*?}}\s*", "", lines[0] if lines else type(error).__name__).rstrip(".")
