"""What runs training steps: the interface, and what the engines of both backends share.

Keras's `fit` is not used, because under `tf.distribute` it gives other results than one device does: each replica clips
its own gradient, takes the mean over its own share of the batch, and normalises by its own statistics
(`zoo.training.workarounds` lists these with their reports). An engine takes one *global* batch a step and computes what
one device would:

1. The batch is cut into shards, one a replica and micro-batch. Every row has a weight; with `W` their sum over the
   whole batch, a shard's share is `sum(weights) / W`.
2. The gradient is the sum over all shards of `share * gradient(loss of the shard)`, reduced before it is clipped.
3. The optimizer sees that one gradient. Loss and metrics are sums over all shards, kept outside the metric objects.

Micro-batches (gradient accumulation) are inside a step, so schedules, averages of weights and checkpoints count steps,
whatever the number of micro-batches. Batch normalisation uses the statistics of a micro-batch: the only thing that
accumulation changes.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from zoo.training.config import TrainConfig
from zoo.training.devices import Devices

Batch = tuple[Any, Any, np.ndarray]
"""(inputs by name, targets, weights): this process's rows of one global batch; every array has the same first axis."""
Sums = list[Any]
"""The variables of the model's metrics, summed from zero, then `sum(weights * loss)` and `sum(weights)`."""


class Engine(ABC):
    """Runs steps on the chosen devices.

    Use: build the model inside `scope()`, compile it, then `setup`, then any number of `step` and `evaluate`.

    Args:
        devices: What `zoo.training.devices.choose` decided.
        train: Hyper-parameters; `micro_batches`, `clip_norm` and `ema` matter here.
    """

    def __init__(self, devices: Devices, train: TrainConfig) -> None:
        self.devices, self.train = devices, train
        self.model: keras.Model
        self.sums: Sums = []

    @property
    @abstractmethod
    def replicas(self) -> int:
        """Shards of a global batch that are computed side by side, over all processes."""

    @abstractmethod
    def scope(self) -> contextlib.AbstractContextManager[Any]:
        """Return the context in which the model and its optimizer must be made."""

    @abstractmethod
    def step(self, batches: Sequence[Batch]) -> list[dict[str, Any]]:
        """Take one optimizer step a batch.

        Returns:
            For every step `loss`, `gradient_norm` (before clipping) and `learning_rate`, as scalars of the backend:
            reading one waits for the device.
        """

    @abstractmethod
    def test(self, sums: Sums, batch: Batch) -> Sums:
        """Return `sums` with one batch added, in inference mode."""

    @abstractmethod
    def barrier(self) -> None:
        """Wait until every process is here."""

    @abstractmethod
    def sync(self) -> None:
        """Make the Keras variables hold the present values; call it before reading or writing any of them."""

    @abstractmethod
    def changed(self) -> None:
        """Take over what was assigned to the Keras variables; call it after writing to any of them."""

    def setup(self, model: keras.Model, batch: Batch) -> None:
        """Make the variables of optimizer and metrics, with one row of a batch."""
        self.model = model
        inputs, targets, weights = keras.tree.map_structure(lambda array: array[:1], batch)
        predicted = model(inputs, training=False)
        model.compute_loss(x=inputs, y=targets, y_pred=predicted, sample_weight=weights, training=False)
        model.compute_metrics(inputs, targets, predicted, sample_weight=weights)
        model.reset_metrics()
        if not model.optimizer.built:
            model.optimizer.build(model.trainable_variables)
        self.sums = self.zeros()
        self.changed()

    def zeros(self) -> Sums:
        """Return sums of nothing."""
        shapes = [tuple(variable.shape) for variable in self.model.metrics_variables]
        return self.place([np.zeros(shape, np.float32) for shape in [*shapes, (), ()]])

    def place(self, sums: Sums) -> Sums:
        """Put sums where steps leave them."""
        return sums

    def evaluate(self, batches: Iterable[Batch]) -> dict[str, float]:
        """Return loss and metrics over all batches, each example counted by its weight."""
        sums = self.zeros()
        for batch in batches:
            sums = self.test(sums, batch)
        return self.results(sums)

    def results(self, sums: Sums) -> dict[str, float]:
        """Return loss and metrics from their sums."""
        values = [np.asarray(ops.convert_to_numpy(value)) for value in sums]
        mapping = list(zip(self.model.metrics_variables, values[:-2], strict=True))
        with keras.StatelessScope(state_mapping=mapping):
            logs = {name: float(ops.convert_to_numpy(value)) for name, value in self.model.get_metrics_result().items()}
        return {**logs, "loss": float(values[-2]) / max(float(values[-1]), 1e-12)}

    @contextlib.contextmanager
    def averaged(self) -> Iterator[None]:
        """Within it the model has the moving average of its weights, where there is one."""
        self.sync()
        if not self.train.ema:
            yield
            return
        self._swap_average()
        try:
            yield
        finally:
            self._swap_average()

    def _swap_average(self) -> None:
        optimizer = getattr(self.model.optimizer, "inner_optimizer", self.model.optimizer)
        # Keras's own callback swaps mirrored copies by subtraction, which rounds; through numpy it is exact.
        for variable, average in zip(
            self.model.trainable_variables, optimizer._model_variables_moving_average, strict=True
        ):
            value = ops.convert_to_numpy(variable)
            variable.assign(ops.convert_to_numpy(average))
            average.assign(value)
        self.changed()


def clip_by_global_norm(gradients: Sequence[Any], limit: float, scale: Any) -> tuple[list[Any], Any]:
    """Scale gradients so that their joint norm is at most `limit` (Pascanu et al. 2013, section 3.2).

    Args:
        gradients: Tensors, multiplied by `scale`.
        limit: Largest norm; 0 means no clipping.
        scale: Loss scale of float16 training, 1 otherwise.

    Returns:
        The gradients, still multiplied by `scale`, and the norm before clipping without it, float32 ().
    """
    squares = [ops.sum(ops.square(ops.cast(gradient, "float32"))) for gradient in gradients]
    norm = ops.sqrt(sum(squares[1:], squares[0])) / scale
    if not limit:
        return list(gradients), norm
    factor = limit / ops.maximum(norm, limit)
    return [gradient * ops.cast(factor, gradient.dtype) for gradient in gradients], norm


def collect_sums(model: keras.Model, scope: keras.StatelessScope, loss: Any, weight: Any) -> Sums:
    """Return the sums to which some rows alone lead.

    Args:
        model: Built and compiled.
        scope: In which loss and metrics of the rows were computed, the metrics' variables beginning at zero.
        loss: Mean loss of the rows, weighted.
        weight: Sum of the rows' weights.
    """
    variables = model.metrics_variables
    values = {id(variable): ops.cast(scope.get_current_value(variable), "float32") for variable in variables}
    for metric in model.metrics:
        if type(metric) is keras.metrics.Mean:  # Keras's trackers of the losses count rows, whatever they weigh
            total, count = metric.variables
            values[id(total)] = values[id(total)] * weight / ops.maximum(values[id(count)], 1.0)
            values[id(count)] = weight
    return [*values.values(), ops.cast(loss, "float32") * weight, weight]


def micro_batch(batch: Any, index: int, count: int) -> Any:
    """Return every `count`-th row from row `index` on: each replica then cuts its own rows, whatever the layout."""
    return keras.tree.map_structure(lambda array: array[index::count], batch) if count > 1 else batch


def make_engine(devices: Devices, train: TrainConfig) -> Engine:
    """Return the engine for the active backend."""
    if keras.backend.backend() == "jax":
        from zoo.training.engine_jax import JaxEngine

        return JaxEngine(devices, train)
    from zoo.training.engine_tensorflow import TensorFlowEngine

    return TensorFlowEngine(devices, train)
