"""Import Keras: with the backend that is installed, and without its start-up chatter on the command line."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from types import ModuleType

from zoo.errors import ConfigError, MissingExtraError, is_installed, not_installed, require
from zoo.training.devices import are_several, preferred_backend

BACKENDS = {"tensorflow": "tf", "jax": "jax"}
"""Keras backends, and the extra that brings each."""


def import_keras(purpose: str, backend: str | None = None) -> ModuleType:
    """Import Keras, on the backend asked for, else on `KERAS_BACKEND`, else on the one that fits this machine.

    Args:
        purpose: What it is needed for, as the subject of the message ("Training").
        backend: "tensorflow" or "jax".

    Raises:
        MissingExtraError: If Keras or its backend is not installed.
        ConfigError: If the backend is unknown, or Keras runs on another one already.
    """
    if backend is not None and backend not in BACKENDS:
        raise ConfigError(f"backend is '{backend}'; it must be one of {', '.join(BACKENDS)}.")
    if "keras" not in sys.modules:
        if backend is not None:
            os.environ["KERAS_BACKEND"] = backend
        elif "KERAS_BACKEND" not in os.environ:
            os.environ["KERAS_BACKEND"] = default_backend()[0]
    chosen = os.environ.get("KERAS_BACKEND", "tensorflow")
    if chosen in BACKENDS and not is_installed(chosen):
        raise not_installed(chosen, extra=BACKENDS[chosen], purpose=purpose)
    keras = require("keras", extra="tf", purpose=purpose)
    running = keras.backend.backend()
    if backend is not None and running != backend:
        raise ConfigError(
            f"Keras runs on {running} in this process, not on {backend}; start anew with KERAS_BACKEND={backend}."
        )
    return keras


def default_backend() -> tuple[str, str]:
    """Return the backend for this machine where nobody has chosen one, and why."""
    return preferred_backend(os.environ, tensorflow=is_installed("tensorflow"), jax=is_installed("jax"))


def can_run_keras() -> bool:
    """Tell whether Keras, a backend and the reader of weights are installed, without importing them."""
    return all(map(is_installed, ("keras", "safetensors"))) and any(map(is_installed, BACKENDS))


@contextlib.contextmanager
def hush_stderr() -> Iterator[None]:
    """Hold back what C++ code writes to file descriptor 2; show it after all if the body raises."""
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as heard:
        os.dup2(heard.fileno(), 2)
        try:
            yield
        except MissingExtraError:
            raise
        except BaseException:
            os.dup2(saved, 2)
            heard.seek(0)
            os.write(2, heard.read()[-2000:])
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)


def start_backend(backend: str | None = None) -> None:
    """Import Keras and touch its device, silently: TensorFlow logs a page at import and at its first operation.

    Where several processes train together the device stays untouched: they must find each other first.

    Args:
        backend: As in `import_keras`.

    Raises:
        MissingExtraError: If Keras or its backend is not installed.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    purpose = "Training, evaluating and exporting"
    logging.getLogger("absl").setLevel(logging.ERROR)  # grain tells of a profiler that nobody asked for
    if "keras" in sys.modules:
        import_keras(purpose, backend)
        return
    with hush_stderr():
        keras = import_keras(purpose, backend)
        if not are_several(os.environ):
            keras.ops.zeros(())
