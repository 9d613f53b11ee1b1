"""The state of a training run in one file: everything that decides how it goes on.

A file holds the values of all variables (weights, batch statistics, random states, optimizer with its step count and
moving averages), the sums of the epoch's metrics, and as JSON the position in the data, the early stopping and the
history. It is written beside and renamed, with a digest of its content, and the last two are kept: whatever happens
while one is written, there is another.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from zoo.errors import ModelFileError, ZooError, require
from zoo.files import strict_json, to_json, write_beside

FORMAT_VERSION = 1
_KEPT = 2
_PATTERN = "state-*.safetensors"
_MAX_BYTES = 64 << 30


class StateFiles:
    """The checkpoints of one run.

    Args:
        folder: Where they lie.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def paths(self) -> list[Path]:
        """Return the files, the newest first."""
        return sorted(self.folder.glob(_PATTERN), reverse=True)

    def write(self, step: int, arrays: Mapping[str, np.ndarray], info: Mapping[str, Any]) -> Path:
        """Write the state after `step` steps, and remove all but the last two.

        Raises:
            ZooError: If it cannot be written; the earlier ones are as they were.
        """
        safetensors = require("safetensors.numpy", extra="tf", purpose="Checkpoints")
        text = to_json({"format_version": FORMAT_VERSION, "step": step, **info}, indent=None)  # NaN becomes null
        metadata = {"info": text, "digest": _digest(arrays, text)}
        path = self.folder / f"state-{step:010d}.safetensors"
        with write_beside(path) as beside:
            beside.write_bytes(
                safetensors.save({key: np.asarray(value, order="C") for key, value in arrays.items()}, metadata)
            )
        for old in self.paths()[_KEPT:]:
            old.unlink(missing_ok=True)
        return path

    def read_newest(self, say: Callable[[str], None]) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
        """Return arrays and information of the newest file that is whole; None if there is no file.

        Args:
            say: Told of every file that is passed over.

        Raises:
            ModelFileError: If there are files and none can be used.
        """
        paths = self.paths()
        for number, path in enumerate(paths):
            try:
                return read_state_file(path)
            except ModelFileError as error:
                rest = f"; trying the one before, '{paths[number + 1].name}'" if number + 1 < len(paths) else ""
                say(f"{error}{rest}")
        if paths:
            raise ModelFileError(f"No checkpoint in '{self.folder}' can be read; train again.")
        return None


def read_state_file(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return the arrays and the information of one checkpoint.

    Raises:
        ModelFileError: If it is damaged, or of a newer version.
    """
    safetensors = require("safetensors", extra="tf", purpose="Checkpoints")
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ModelFileError(f"The checkpoint '{path.name}' has {path.stat().st_size} bytes, which is too large.")
        with safetensors.safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        text = metadata.get("info", "")
        if metadata.get("digest") != _digest(arrays, text):
            raise ModelFileError(f"The checkpoint '{path.name}' is damaged: its digest does not fit its content")
        info = strict_json(text.encode())
        version = info["format_version"]
    except ZooError:
        raise
    except Exception as error:  # the library raises its own untyped errors for every kind of damage
        raise ModelFileError(f"The checkpoint '{path.name}' is damaged ({error})") from error
    if version != FORMAT_VERSION:
        raise ModelFileError(f"The checkpoint '{path.name}' has format version {version}, not {FORMAT_VERSION}")
    return arrays, info


def history_of(info: Mapping[str, Any]) -> dict[str, list[float]]:
    """Return the values of the epochs before a checkpoint by name; JSON holds null for what is not a number."""
    return {
        name: [math.nan if value is None else float(value) for value in values]
        for name, values in info["history"].items()
    }


def _digest(arrays: Mapping[str, np.ndarray], text: str) -> str:
    digest = hashlib.sha256(text.encode())
    for key in sorted(arrays):
        value = np.asarray(arrays[key], order="C")
        digest.update(f"{key} {value.dtype} {value.shape}".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()
