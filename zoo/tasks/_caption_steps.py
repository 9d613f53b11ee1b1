"""Captioning in two signatures, for a client that shows words as they come or does a search of its own.

`encode` runs once a picture, `step` once a token. What changes from step to step is in `cache_0`, `cache_1`, ...; what
stays is in `memory_0`, `memory_1`, ... (the keys and values of the picture). A cache that `encode` does not return
starts as zeros: as an output it would be a constant, which runtimes give for several outputs only once. Neither graph
holds a loop, so that a delegate may take them whole.
"""

from __future__ import annotations

import itertools
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
    _, rows, columns, dim = encoder.compute_output_shape(pixels)
    # One step with a made-up picture shows what the decoder's state is made of.
    state = tuple(decoder.start(keras.random.normal((batch_size, rows * columns, dim), seed=1), max_length))
    _, after, _ = decoder.step(ops.ones((batch_size,), "int32"), ops.zeros((), "int32"), state)
    counts = {"memory": itertools.count(), "cache": itertools.count()}
    kinds = ["memory" if now is before else "cache" for before, now in zip(state, after, strict=True)]
    names = [f"{kind}_{next(counts[kind])}" for kind in kinds]
    shapes = {name: (tuple(tensor.shape), "float32") for name, tensor in zip(names, state, strict=True)}
    changing = tuple(sorted(name for name in names if name.startswith("cache_")))
    empty = {name for name, tensor in zip(names, state, strict=True) if name in changing and not ops.any(tensor)}
    returned = tuple(sorted(set(names) - empty))

    def encode(image: Tensor) -> dict[str, Tensor]:
        cells = encoder(ops.reshape(ops.cast(image, "float32"), pixels), training=False)
        state = zip(names, decoder.start(_as_memory(cells), max_length), strict=True)
        return {name: tensor for name, tensor in state if name in returned}

    def step(token: Tensor, position: Tensor, **state: Tensor) -> dict[str, Tensor]:
        before = tuple(state[name] for name in names)
        log_probabilities, after, weights = step_log_probabilities(decoder, token, position, before)
        return {
            "log_probabilities": log_probabilities,
            "next_token": next_token(log_probabilities),
            "attention": ops.reshape(weights, (batch_size, rows, columns)),
            **{name: tensor for name, tensor in zip(names, after, strict=True) if name in changing},
        }

    return {
        "encode": Signature(encode, {"image": (pixels, "uint8")}, returned),
        "step": Signature(
            step,
            {"token": ((batch_size,), "int32"), "position": ((), "int32"), **shapes},
            ("log_probabilities", "next_token", "attention", *changing),
        ),
    }


def _as_memory(cells: Tensor) -> Tensor:
    batch, rows, columns, dim = cells.shape
    return ops.reshape(cells, (batch, rows * columns, dim))
