"""Start the Keras backend without its start-up chatter on standard error."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator

from zoo.errors import MissingExtraError, require


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
    if "keras" in sys.modules:
        return
    with hush_stderr():
        require("keras", extra="tf", purpose="Training, evaluating and exporting").ops.zeros(())
