"""Import Keras: with the backend that is installed, and without its start-up chatter on the command line."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from types import ModuleType

from zoo.errors import MissingExtraError, is_installed, require


def import_keras(purpose: str) -> ModuleType:
    """Import Keras. Where only JAX is installed and no backend was chosen, JAX is the backend.

    Args:
        purpose: What it is needed for, as the subject of the message ("Training").

    Raises:
        MissingExtraError: If Keras or its backend is not installed.
    """
    chosen = "keras" in sys.modules or "KERAS_BACKEND" in os.environ
    if not chosen and is_installed("jax") and not is_installed("tensorflow"):
        os.environ["KERAS_BACKEND"] = "jax"
    return require("keras", extra="tf", purpose=purpose)


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


def start_backend() -> None:
    """Import Keras and touch its device, silently: TensorFlow logs a page at import and at its first operation.

    Raises:
        MissingExtraError: If Keras or its backend is not installed.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.getLogger("absl").setLevel(logging.ERROR)  # grain tells of a profiler that nobody asked for
    if "keras" not in sys.modules:
        with hush_stderr():
            import_keras("Training, evaluating and exporting").ops.zeros(())
