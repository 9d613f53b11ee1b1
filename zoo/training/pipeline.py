"""From examples to batches, with `grain`: seeded shuffling and augmentation, the same for every backend.

Every process walks the same stream of indices and gathers its own rows of each global batch only, so that a process
reads its share of the records, and the position in the stream is one state for all of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from zoo.errors import DataError, require

if TYPE_CHECKING:
    import grain

    from zoo.tasks import Examples


PREFETCHED = 8
"""Batches that are made ahead of the step that takes them."""


def training_batches(
    examples: Examples, *, batch_size: int, seed: int, process_index: int = 0, process_count: int = 1
) -> grain.IterDataset:
    """Return batches for training without end: every epoch another order, whole batches only.

    Args:
        examples: The examples of the training split.
        batch_size: Examples a global batch, at most `len(examples)`; a multiple of `process_count`.
        seed: Decides order and augmentation; equal seeds give equal batches.
        process_index: Which part of each batch to gather.
        process_count: In how many parts a batch is gathered.

    Returns:
        A dataset of (inputs, targets, weights). Its iterators have `get_state` and `set_state`, exact to the batch.
    """
    grain = require("grain", extra="tf", purpose="Training")
    rows = _rows(batch_size, process_index, process_count)

    def gather(indices: np.ndarray, rng: np.random.Generator) -> tuple[Any, Any, np.ndarray]:
        if process_count > 1:
            rng = np.random.default_rng([int(rng.integers(2**63)), process_index])
        return _with_weights(examples.batch(np.asarray(indices)[rows], rng))

    return (
        grain.MapDataset.range(len(examples))
        .seed(seed)
        .shuffle()
        .batch(batch_size, drop_remainder=True)
        .repeat()
        .random_map(gather)
        .to_iter_dataset(grain.ReadOptions(num_threads=1, prefetch_buffer_size=PREFETCHED))
    )


def evaluation_batches(
    examples: Examples, *, batch_size: int, process_index: int = 0, process_count: int = 1
) -> grain.MapDataset:
    """Return the examples once, in order and without augmentation.

    Every batch has `batch_size` rows (this process's part of them): the last is filled up with copies of weight 0, so
    that shapes are static and batches can be cut evenly.

    Raises:
        DataError: If there are no examples.
    """
    grain = require("grain", extra="tf", purpose="Training")
    total = len(examples)
    if total == 0:
        raise DataError("The validation split has no examples; give more data.")
    rows = _rows(batch_size, process_index, process_count)

    def gather(number: int) -> tuple[Any, Any, np.ndarray]:
        places = (number * batch_size + np.arange(batch_size))[rows]
        inputs, targets, weights = _with_weights(examples.batch(places.clip(max=total - 1), None))
        real = (places < total).reshape(-1, *[1] * (weights.ndim - 1))
        return inputs, targets, weights * real.astype(np.float32)

    return grain.MapDataset.range(-(-total // batch_size)).map(gather)


def _rows(batch_size: int, process_index: int, process_count: int) -> slice:
    share = batch_size // process_count
    return slice(process_index * share, (process_index + 1) * share)


def _with_weights(batch: tuple[Any, Any, np.ndarray | None]) -> tuple[Any, Any, np.ndarray]:
    inputs, targets, weights = batch
    if weights is None:
        weights = np.ones(len(next(iter(inputs.values()))), np.float32)
    return inputs, targets, weights
