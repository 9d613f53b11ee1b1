"""Run a serving function in Keras, on whichever backend is active."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np

from zoo.tasks import Serving


class ServingModel(keras.Model):
    """A serving function as a Keras model, so that `predict_on_batch` compiles it on every backend.

    Args:
        serving: The function, its inputs and the model whose variables it uses.
    """

    def __init__(self, serving: Serving) -> None:
        super().__init__(name="serving", dtype="float32")  # inputs are what they say under every policy
        self.network = serving.model
        self._function = serving.function
        self.built = True

    def call(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Answer one batch."""
        return self._function(**inputs)


def first_rows(array: Any, count: int) -> np.ndarray:
    """Return the first `count` rows of what `predict_on_batch` gave, with an axis of rows also for a batch of one.

    Replicas answer the whole batch each, one after the other: these are then the first replica's.
    """
    return np.reshape(array, (-1, *np.shape(array)[1:]))[:count]


def compile_serving(serving: Serving) -> Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]:
    """Return a function from arrays of any number of examples to the serving outputs of all of them.

    Examples run in batches of `serving.batch_size`; the last is filled up with copies. Outputs keep one row an example.
    """
    model = ServingModel(serving)
    # XLA helps nothing on a CPU under TensorFlow and cannot compile every decode loop; JAX has nothing else.
    model.compile(jit_compile=keras.backend.backend() == "jax")
    size = serving.batch_size

    def run(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        count = len(next(iter(inputs.values())))
        parts: list[dict[str, np.ndarray]] = []
        for start in range(0, count, size):
            rows = np.arange(start, start + size).clip(max=count - 1)
            batch = model.predict_on_batch({name: array[rows] for name, array in inputs.items()})
            keep = min(size, count - start)
            parts.append({name: first_rows(array, keep) for name, array in batch.items()})
        return {name: np.concatenate([part[name] for part in parts]) for name in serving.outputs}

    return run
