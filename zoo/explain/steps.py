"""A given caption step by step (teacher forcing): how probable the model finds each of its pieces on any picture.

It takes the signatures `encode` and `step` (see `zoo.tasks._caption_steps`), which a run and a `.tflite` file both
have: the same code measures either, the latter without TensorFlow.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from zoo.errors import ConfigError
from zoo.export.runtime import Edge
from zoo.preprocess.captioning import PADDING, START, CaptionPreprocessor

if TYPE_CHECKING:
    from zoo.run import Run

Arrays = dict[str, np.ndarray]
_BATCH = 32  # pictures that a run encodes at once


class CaptionSteps:
    """A captioner that is told what to say.

    Attributes:
        preprocessor: The captioner's.
        batch_size: Pictures that run at once.
    """

    def __init__(self, predictor: Run | Edge) -> None:
        """Take the signatures of a run or a file.

        Raises:
            ConfigError: If it is no captioner, or a file without these signatures.
        """
        if not isinstance(predictor.preprocessor, CaptionPreprocessor):
            raise ConfigError(f"'{predictor.name}' does not caption pictures, so there are no words to look at.")
        self.preprocessor = predictor.preprocessor
        if isinstance(predictor, Edge):
            if not has_steps(predictor):
                raise ConfigError("This file is older than the signatures 'encode' and 'step'; export it again.")
            self.batch_size = predictor.batch_size
            self._takes = predictor.signatures["step"].inputs
            self._run: Callable[[Mapping[str, np.ndarray], str], Arrays] = predictor.run
        else:
            self.batch_size = _BATCH
            self._run, self._takes = _compiled(predictor, _BATCH)

    def log_probabilities(self, images: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        """Return how probable each token is after the picture and the tokens before it.

        Args:
            images: uint8 (N, H, W, 3), of the model's size.
            tokens: int32 (N, T), a caption a picture without start and end, filled up with padding.

        Returns:
            float32 (N, T), natural logarithms; 0 at padding.
        """
        found = np.zeros(tokens.shape, np.float32)
        for start in range(0, len(images), self.batch_size):
            rows = np.arange(start, start + self.batch_size).clip(max=len(images) - 1)
            own = self._one_batch(images[rows], np.asarray(tokens[rows], np.int32))
            kept = min(self.batch_size, len(images) - start)
            found[start : start + kept] = own[:kept]
        return np.where(tokens == PADDING, np.float32(0), found)

    def _one_batch(self, images: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        empty = {name: np.zeros(*tensor) for name, tensor in self._takes.items() if name.startswith("cache_")}
        state = {**empty, **self._run({"image": images}, "encode")}
        last, every = np.full(len(tokens), START, np.int32), np.arange(len(tokens))
        found = np.zeros(tokens.shape, np.float32)
        for position in range(int((tokens != PADDING).sum(-1).max())):
            outputs = self._run({"token": last, "position": np.array(position, np.int32), **state}, "step")
            last = np.ascontiguousarray(tokens[:, position])
            found[:, position] = outputs["log_probabilities"][every, last]
            state |= {name: array for name, array in outputs.items() if name in state}
        return found


def has_steps(predictor: Run | Edge) -> bool:
    """Tell whether a captioner can be told what to say: every run can, and files made since they have `step`."""
    return not isinstance(predictor, Edge) or {"encode", "step"} <= set(predictor.signatures)


def _compiled(run: Run, batch_size: int) -> tuple[Callable[[Mapping[str, np.ndarray], str], Arrays], Any]:
    """Return the two signatures of a run, compiled, and what `step` takes: name -> (shape, dtype)."""
    import keras

    from zoo.execution import ServingModel

    serving = run.serving(batch_size=batch_size)
    models = {}
    for name in ("encode", "step"):
        signature = serving.signatures[name]
        part = dataclasses.replace(
            serving, function=signature.function, inputs=signature.inputs, outputs=signature.outputs
        )
        models[name] = ServingModel(part)
        models[name].compile(jit_compile=keras.backend.backend() == "jax")

    def call(inputs: Mapping[str, np.ndarray], signature: str) -> Arrays:
        outputs = models[signature].predict_on_batch(dict(inputs))
        return {name: np.asarray(array) for name, array in outputs.items()}

    return call, serving.signatures["step"].inputs
