"""A profiler trace of a few training steps, by the backend's own profiler.

The trace is a folder `plugins/profile/<time>` below the logs: `*.xplane.pb`, which TensorBoard shows under PROFILE with
the package `xprof` installed; on JAX also `*.trace.json.gz`, which https://ui.perfetto.dev opens.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras

from zoo.errors import TrainingError


class Profiler(keras.callbacks.Callback):
    """Trace steps `steps[0]` to `steps[1] - 1`, counted over the whole training from 0.

    Choose steps after the first few: those hold the compilation. Tracing costs time and memory; a few dozen steps are
    enough to see where time goes.

    Args:
        folder: Log folder of the run.
        steps: The first step, and the one after the last.
        first_step: The step this process begins at: 0, or where it resumes.

    Raises:
        TrainingError: On starting, if another trace is under way in this process.
    """

    def __init__(self, folder: Path, steps: tuple[int, int], *, first_step: int = 0) -> None:
        super().__init__()
        self.folder, self.first_step = folder, first_step
        self.begin, self.end = steps
        self.tracing = False

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Start the trace, if the first step is in it."""
        self._before(self.first_step)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Stop after the last step; start before the first."""
        if self.tracing and batch + 1 >= self.end:
            self.close()
        self._before(batch + 1)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Stop, if training ends within the trace."""
        self.close()

    def close(self) -> None:
        """Write the trace; also called when training fails."""
        if self.tracing:
            self.tracing = False
            _stop()

    def _before(self, step: int) -> None:
        if not self.tracing and self.begin <= step < self.end:
            try:
                _start(str(self.folder))
            except Exception as error:  # both libraries raise errors of their own
                raise TrainingError(f"The profiler cannot start: {error} Train without profile_steps.") from error
            self.tracing = True


def _start(folder: str) -> None:
    if keras.config.backend() == "jax":
        import jax

        jax.profiler.start_trace(folder)
    else:
        import tensorflow as tf

        tf.profiler.experimental.start(folder)


def _stop() -> None:
    if keras.config.backend() == "jax":
        import jax

        for device in jax.local_devices():  # a device works in order: this comes after the steps it still has to do
            (jax.device_put(0, device) + 1).block_until_ready()
        jax.profiler.stop_trace()
    else:
        import tensorflow as tf

        tf.profiler.experimental.stop()
