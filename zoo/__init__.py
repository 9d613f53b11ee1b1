"""attention-zoo: attention models for Keras 3 that end up as one `.tflite` file that does the whole task.

    import zoo

    model = zoo.build("caption_attn")               # a keras.Model
    run = zoo.train("caption_attn", data="emoji")   # trained by its recipe
    run.evaluate(split="test")
    run.export("caption.tflite")
    zoo.load("caption_attn/emoji-en").predict("picture.png")   # weights that come with the package

Importing this package imports neither Keras nor TensorFlow nor JAX.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zoo.api import build as build
    from zoo.api import compile as compile
    from zoo.api import load as load
    from zoo.api import resume as resume
    from zoo.api import show as show
    from zoo.api import train as train
    from zoo.errors import ZooError as ZooError
    from zoo.registry import list_models as list_models

__version__ = "0.1.0"

_HOMES = {
    "build": "zoo.api",
    "compile": "zoo.api",
    "load": "zoo.api",
    "resume": "zoo.api",
    "show": "zoo.api",
    "train": "zoo.api",
    "list_models": "zoo.registry",
    "ZooError": "zoo.errors",
}
__all__ = ["ZooError", "build", "compile", "list_models", "load", "resume", "show", "train"]


def __getattr__(name: str) -> Any:
    """Import public names on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module 'zoo' has no attribute '{name}'")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, imported or not."""
    return sorted([*globals(), *_HOMES])
