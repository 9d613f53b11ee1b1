"""What tests of several processes need."""

from __future__ import annotations

import contextlib
import socket

import pytest


@pytest.fixture
def free_ports() -> list[int]:
    """Six ports of this machine that nobody listens on."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(6)]
        for found in sockets:
            found.bind(("127.0.0.1", 0))
        return [int(found.getsockname()[1]) for found in sockets]
