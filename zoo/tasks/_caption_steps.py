"""Captioning in two signatures, for a client that shows words as they come or does a search of its own.

`encode` runs once a picture, `step` once a token. What changes from step to step is in `cache_0`, `cache_1`, ...; what
stays is in `memory_0`, `memory_1`, ... (the keys and values of the picture). Neither graph holds a loop, so that a
delegate may take them whole.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from zoo.tasks._base import Signature
from zoo.tasks._search import next_token, step_log_probabilities

Tensor = Any


def step_signatures(
    encoder: Any, decoder: Any, *, image: tuple[int, int], batch_size: int, max_length: int
) -> dict[str, Signature]:
    """Return the signatures `encode` and `step`.

    Args:
        encoder: Layer from (B, H, W, 3) to (B, h, w, D).
        decoder: The decoder, built (see `zoo.tasks.captioning`).
        image: (H, W).
        batch_size: B.
        max_length: T, most tokens; `position` is below it.
    """
    pixels = (batch_size, *image, 3)
    probe = _Probe(encoder, decoder, max_length)
    cells, *state = probe.compute_output_spec(
        keras.KerasTensor(pixels, "float32"),
        keras.KerasTensor((batch_size,), "int32"),
        keras.KerasTensor((), "int32"),
    )
    _, rows, columns, _ = cells.shape
    names, counts = [], {"memory": 0, "cache": 0}
    for fixed in probe.fixed:
        kind = "memory" if fixed else "cache"
        names.append(f"{kind}_{counts[kind]}")
        counts[kind] += 1
    changing = tuple(name for name in names if name.startswith("cache_"))

    def encode(image: Tensor) -> dict[str, Tensor]:
        cells = encoder(ops.reshape(ops.cast(image, "float32"), pixels), training=False)
        return dict(zip(names, decoder.start(_as_memory(cells), max_length), strict=True))

    def step(token: Tensor, position: Tensor, **state: Tensor) -> dict[str, Tensor]:
        before = tuple(state[name] for name in names)
        log_probabilities, after, weights = step_log_probabilities(decoder, token, position, before)
        return {
            "log_probabilities": log_probabilities,
            "next_token": next_token(log_probabilities),
            "attention": ops.reshape(weights, (batch_size, rows, columns)),
            **{name: tensor for name, tensor in zip(names, after, strict=True) if name in changing},
        }

    kept = {name: (tuple(tensor.shape), "float32") for name, tensor in zip(names, state, strict=True)}
    return {
        "encode": Signature(encode, {"image": (pixels, "uint8")}, tuple(names)),
        "step": Signature(
            step,
            {"token": ((batch_size,), "int32"), "position": ((), "int32"), **kept},
            ("log_probabilities", "next_token", "attention", *changing),
        ),
    }


class _Probe(keras.Operation):
    """Finds the shapes of a decoder's state, and which parts of it no step changes (`fixed`), without running it."""

    def __init__(self, encoder: Any, decoder: Any, max_length: int) -> None:
        super().__init__()
        self.encoder, self.decoder, self.max_length = encoder, decoder, max_length
        self.fixed: list[bool] = []

    def call(self, image: Tensor, token: Tensor, position: Tensor) -> tuple[Tensor, ...]:
        """Do one step; returns the encoder's cells and the state before."""
        cells = self.encoder(image, training=False)
        state = tuple(self.decoder.start(_as_memory(cells), self.max_length))
        _, after, _ = self.decoder.step(token, position, state)
        self.fixed = [before is now for before, now in zip(state, after, strict=True)]
        return (cells, *state)


def _as_memory(cells: Tensor) -> Tensor:
    batch, rows, columns, dim = cells.shape
    return ops.reshape(cells, (batch, rows * columns, dim))
