"""Which examples an export is calibrated on and checked with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from zoo.datasets import Record, Source
from zoo.errors import DataError
from zoo.tasks import Requests, Serving

if TYPE_CHECKING:
    from zoo.run import Run

CALIBRATION = 64
_POOL = 4
_SEED = 20


def calibration_samples(run: Run, serving: Serving, *, count: int = CALIBRATION, seed: int = _SEED) -> Requests:
    """Return serving inputs of training examples drawn by seed; random ones for a run that has no data.

    Args:
        run: The run.
        serving: Its serving function.
        count: At most so many.
        seed: Random seed.

    Raises:
        DataError: If the training split is empty.
    """
    if run.data is None:
        return random_requests(serving, count, tokens=getattr(run.config, "vocab_size", 2), seed=seed)
    rng = np.random.default_rng(seed)
    source = _Shuffled(run.dataset().split("train"), rng)
    # Forecasting takes every series and spreads windows over them: draw from more than are needed.
    pool = run.task.requests(source, run.preprocessor, limit=_POOL * count)
    if len(pool) == 0:
        raise DataError("The split 'train' has no examples to calibrate int8 with; give more data.")
    drawn = np.sort(rng.permutation(len(pool))[:count])
    return Requests({name: array[drawn] for name, array in pool.inputs.items()}, None, [pool.ids[i] for i in drawn])


def checking_requests(run: Run, serving: Serving, count: int | None, *, split: str = "valid") -> Requests:
    """Return examples to judge a file with; random ones for a run that has no data.

    The default is the validation split: the gate decides, and decisions are not made on the test split.

    Args:
        run: The run.
        serving: Its serving function.
        count: At most so many, spread evenly; all when None.
        split: Name of the split.

    Raises:
        DataError: If the split is empty.
    """
    if run.data is None:
        return random_requests(serving, count or 64, tokens=getattr(run.config, "vocab_size", 2))
    requests = run.task.requests(run.dataset().split(split), run.preprocessor, limit=count)
    if len(requests) == 0:
        raise DataError(f"The split '{split}' has no examples to check the export with; give more data.")
    return requests


class _Shuffled:
    """A source in another order."""

    def __init__(self, source: Source, rng: np.random.Generator) -> None:
        self._source, self._order = source, rng.permutation(len(source))

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, index: int) -> Record:
        return self._source[int(self._order[index])]


def random_requests(serving: Serving, count: int, *, tokens: int, seed: int = _SEED) -> Requests:
    """Return made-up inputs for a model that has no data.

    Pixels are uniform; windows are random walks around 100, as prices are; token rows have a random length and are
    filled up with zeros.

    Args:
        serving: Says names, shapes and dtypes.
        count: Number of examples.
        tokens: Number of token ids.
        seed: Random seed.
    """
    rng = np.random.default_rng(seed)
    inputs: dict[str, np.ndarray] = {}
    for name, (shape, dtype) in serving.inputs.items():
        size = (count, *shape[1:])
        if dtype == "uint8":
            inputs[name] = rng.integers(0, 256, size, dtype=np.uint8)
        elif dtype == "int32":
            ids = rng.integers(1, max(2, tokens), size, dtype=np.int32)
            lengths = rng.integers(1, size[-1] + 1, (count, *[1] * (len(size) - 1)))
            inputs[name] = np.where(np.arange(size[-1]) < lengths, ids, 0).astype(np.int32)
        else:
            inputs[name] = (100 * np.exp(np.cumsum(rng.normal(0, 0.01, size), axis=1))).astype(np.float32)
    return Requests(inputs, None, [f"random {i}" for i in range(count)])
