"""What tests of several processes need."""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path

import pytest


@pytest.fixture
def jax_environment(tmp_path: Path) -> dict[str, str]:
    """Return the environment for processes on JAX that run the same programs: each is compiled once for all of them."""
    cache = {"DIR": str(tmp_path / "compiled"), "MIN_COMPILE_TIME_SECS": "0", "MIN_ENTRY_SIZE_BYTES": "-1"}
    names = {"DIR": "JAX_COMPILATION_CACHE_DIR"}
    return {
        **os.environ,
        "KERAS_BACKEND": "jax",
        **{names.get(key, f"JAX_PERSISTENT_CACHE_{key}"): value for key, value in cache.items()},
    }


@pytest.fixture
def free_ports() -> list[int]:
    """Six ports of this machine that nobody listens on."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(6)]
        for found in sockets:
            found.bind(("127.0.0.1", 0))
        return [int(found.getsockname()[1]) for found in sockets]
