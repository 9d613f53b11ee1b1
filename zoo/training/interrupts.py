"""What can end training from outside: signals, and other processes that are gone."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any


class Signals:
    """Remember SIGTERM and SIGINT instead of dying of them; a second one of a kind acts as it always did.

    Handlers are installed in the main thread only, and put back on exit.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Signals:
        """Install the handlers."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        """Put back what was there."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.received = number
        signal.signal(number, self._before[number])


class Watchdog:
    """End this process when nothing has moved for too long, as when it waits for a process that is gone.

    A collective operation that waits for a dead peer cannot be interrupted from Python, so the process ends.

    Args:
        seconds: Longest time between two calls of `moved`; 0 means for ever. The first may take ten times as long: a
            step is compiled then.
        message: What to say before ending.
        end: Called with the exit code; `os._exit`.
    """

    def __init__(self, seconds: float, message: str, end: Callable[[int], object] = os._exit) -> None:
        self.seconds, self.message, self._end = seconds, message, end
        self._limit = 10 * seconds
        self._last = time.monotonic()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="zoo-watchdog", daemon=True)

    def __enter__(self) -> Watchdog:
        """Begin to watch."""
        if self.seconds:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop watching."""
        self._done.set()

    def moved(self) -> None:
        """Say that something has moved."""
        self._last, self._limit = time.monotonic(), self.seconds

    def _watch(self) -> None:
        while not self._done.wait(min(self.seconds / 4, 5.0)):
            if time.monotonic() - self._last > self._limit:
                print(f"zoo: error: {self.message}", file=sys.stderr, flush=True)
                self._end(1)
                return
