"""From examples to batches, with `grain`: seeded shuffling and augmentation, the same for every backend."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from zoo.errors import DataError, require

if TYPE_CHECKING:
    import grain

    from zoo.tasks import Examples


def training_batches(examples: Examples, *, batch_size: int, epochs: int, seed: int) -> grain.IterDataset:
    """Return batches for training: every epoch another order, whole batches only.

    Args:
        examples: The examples of the training split.
        batch_size: Examples a batch, at most `len(examples)`.
        epochs: How many passes.
        seed: Decides order and augmentation; equal seeds give equal batches.

    Returns:
        A dataset of (inputs, targets) or (inputs, targets, sample weights).
    """
    grain = require("grain", extra="tf", purpose="Training")

    def gather(indices: np.ndarray, rng: np.random.Generator) -> tuple[Any, ...]:
        return _drop_none(examples.batch(np.asarray(indices), rng))

    return (
        grain.MapDataset.range(len(examples))
        .seed(seed)
        .shuffle()
        .batch(batch_size, drop_remainder=True)
        .repeat(epochs)
        .random_map(gather)
        .to_iter_dataset(grain.ReadOptions(num_threads=1, prefetch_buffer_size=8))
    )


def evaluation_batches(examples: Examples, *, batch_size: int) -> grain.MapDataset:
    """Return the examples once, in order and without augmentation; the last batch may be smaller.

    Raises:
        DataError: If there are no examples.
    """
    grain = require("grain", extra="tf", purpose="Training")
    if len(examples) == 0:
        raise DataError("The validation split has no examples; give more data.")
    return (
        grain.MapDataset.range(len(examples))
        .batch(batch_size)
        .map(lambda indices: _drop_none(examples.batch(np.asarray(indices), None)))
    )


def _drop_none(batch: tuple[Any, Any, np.ndarray | None]) -> tuple[Any, ...]:
    return batch if batch[2] is not None else batch[:2]
