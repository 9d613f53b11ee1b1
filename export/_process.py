"""Workers in processes of their own: a crash, a leak or a hang there does not take this process down.

Arrays travel to and from them in `.npz` files without pickled objects.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from zoo.errors import ExportError, ZooError


def run_worker(
    module: str,
    arguments: Sequence[str | os.PathLike[str]],
    *,
    what: str,
    timeout: float,
    environment: Mapping[str, str] | None = None,
) -> None:
    """Run `python -P -m MODULE ARGUMENTS...` to its end.

    Args:
        module: The worker's module.
        arguments: Its command line.
        what: What it does, as the subject of the messages ("The conversion to TFLite").
        timeout: Seconds after which it is killed.
        environment: Variables to set on top of this process's.

    Raises:
        ExportError: If it fails, crashes or takes too long; the message has the last line it printed.
    """
    command = [sys.executable, "-P", "-m", module, *(os.fspath(argument) for argument in arguments)]
    try:
        done = subprocess.run(
            command,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "TQDM_DISABLE": "1", **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ExportError(f"{what} took over {timeout:g} s and was stopped; allow more time or use less.") from error
    except OSError as error:
        raise ExportError(f"{what} could not be started: {error.strerror or error}.") from error
    if done.returncode:
        lines = [" ".join(line.split()) for line in done.stderr.decode(errors="replace").splitlines() if line.strip()]
        said = lines[-1][:400].rstrip(".") if lines else "it printed nothing"
        if done.returncode < 0:
            said = f"it crashed ({_signal_name(-done.returncode)}); last line: {said}"
        raise ExportError(f"{what} failed: {said}.")


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays by name."""
    np.savez(path, **arrays)  # type: ignore[arg-type]


def read_arrays(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Read what `write_arrays` wrote."""
    with np.load(path, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def run_command(commands: Mapping[str, Callable[..., None]], arguments: Sequence[str]) -> None:
    """Run one command of a worker; an error is one line on stderr and exit code 1."""
    command, *rest = arguments
    try:
        commands[command](*rest)
    except ZooError as error:
        sys.exit(str(error))
    except OSError as error:
        sys.exit(f"{error.strerror or error}: {error.filename}")
