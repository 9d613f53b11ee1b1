"""Training steps on JAX: one device, or data-parallel over all devices of one or several processes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import keras
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from zoo.training.config import TrainConfig
from zoo.training.devices import Devices
from zoo.training.engine import Batch, Engine, Sums, clip_by_global_norm, collect_sums, micro_batch

State = tuple[list[Any], list[Any], list[Any]]
"""Values of the trainable variables, of the others, and of the optimizer's."""


class JaxEngine(Engine):
    """See `zoo.training.engine`. One program sees the whole batch, so that replicas need no thought of their own.

    The state lives in this object between steps, and its buffers are given to every next step: `sync` before a Keras
    variable is read.

    Args:
        devices: `one`, `jax` or `tpu`.
        train: Hyper-parameters.
    """

    def __init__(self, devices: Devices, train: TrainConfig) -> None:
        super().__init__(devices, train)
        self.distribution = None if devices.kind == "one" else keras.distribution.DataParallel(auto_shard_dataset=False)
        self._state: State | None = None
        self._step: Callable[..., Any]
        self._test: Callable[..., Any]

    @property
    def replicas(self) -> int:
        """See `Engine`."""
        return 1 if self.distribution is None else int(np.prod(self.distribution.device_mesh.shape))

    @contextlib.contextmanager
    def scope(self) -> Iterator[None]:
        """See `Engine`; variables are copied to all devices."""
        before = keras.distribution.distribution()
        keras.distribution.set_distribution(self.distribution)
        try:
            yield
        finally:
            keras.distribution.set_distribution(before)

    def setup(self, model: keras.Model, batch: Batch) -> None:
        """See `Engine`."""
        super().setup(model, batch)
        step = train_step_function(model, clip_norm=self.train.clip_norm, micro_batches=self.train.micro_batches)
        # The layout of what comes out is that of what goes in, or the second call would compile anew.
        shardings = None if self.distribution is None else NamedSharding(self._mesh, PartitionSpec())
        self._step = jax.jit(step, donate_argnums=0, out_shardings=shardings)
        self._test = jax.jit(test_step_function(model), out_shardings=shardings)

    def step(self, batches: Sequence[Batch]) -> list[dict[str, Any]]:
        """See `Engine`; JAX runs ahead by itself, so several batches are as many calls."""
        results = []
        for batch in batches:
            self._state, self.sums, result = self._step(self._state, self.sums, self._distribute(batch))
            results.append(result)
        return results

    def test(self, sums: Sums, batch: Batch) -> Sums:
        """See `Engine`."""
        assert self._state is not None
        return list(self._test(self._state[:2], sums, self._distribute(batch)))

    def sync(self) -> None:
        """See `Engine`."""
        for variable, value in zip(_flat(_variables(self.model)), _flat(self._state), strict=True):
            variable.assign(value)

    def changed(self) -> None:
        """See `Engine`."""
        self._state = read_state(self.model)

    def place(self, sums: Sums) -> Sums:
        """See `Engine`; elsewhere the next step would be compiled anew."""
        replicated = None if self.distribution is None else NamedSharding(self._mesh, PartitionSpec())
        return [jax.device_put(value, replicated) for value in sums]

    def barrier(self) -> None:
        """See `Engine`."""
        if self.devices.process_count > 1:
            from jax.experimental import multihost_utils

            multihost_utils.sync_global_devices("zoo")

    @property
    def _mesh(self) -> jax.sharding.Mesh:
        assert self.distribution is not None
        return self.distribution.device_mesh.backend_mesh

    def _distribute(self, batch: Batch) -> Any:
        if self.distribution is None:
            return batch
        sharding = NamedSharding(self._mesh, PartitionSpec("batch"))
        return keras.tree.map_structure(lambda a: jax.make_array_from_process_local_data(sharding, a), batch)


def read_state(model: keras.Model) -> State:
    """Return the present values of a built, compiled model's variables."""
    trainable, others, optimizer = ([variable.value for variable in group] for group in _variables(model))
    return trainable, others, optimizer


def train_step_function(
    model: keras.Model, *, clip_norm: float, micro_batches: int = 1
) -> Callable[[State, Sums, Any], tuple[State, Sums, dict[str, Any]]]:
    """Return the pure function of one optimizer step, not compiled.

    Args:
        model: Built and compiled, its optimizer and metrics built (see `Engine.setup`).
        clip_norm: Largest global norm of the gradient; 0 means no clipping.
        micro_batches: Parts of the batch whose gradients are computed one after the other.

    Returns:
        `step(state, sums, batch) -> state, sums, {"loss", "gradient_norm", "learning_rate"}`; see `read_state` and
        `Engine.zeros`.
    """
    groups = _variables(model)
    optimizer = model.optimizer

    def loss_of(trainable: list[Any], others: list[Any], tuning: list[Any], batch: Any, share: Any) -> Any:
        mapping = _pairs(groups, (trainable, others, tuning))
        loss, predicted_others, sums = _forward(model, mapping, groups[1], batch, training=True)
        with keras.StatelessScope(state_mapping=mapping):
            scaled = optimizer.scale_loss(loss * share)
        return scaled, (predicted_others, sums)

    def step(state: State, sums: Sums, batch: Any) -> tuple[State, Sums, dict[str, Any]]:
        trainable, others, tuning = state
        total = jax.numpy.sum(batch[2])
        gradient = jax.value_and_grad(loss_of, has_aux=True)

        def part(others: list[Any], data: Any) -> tuple[list[Any], tuple[list[Any], Sums]]:
            weight = jax.numpy.sum(data[2])
            share = jax.numpy.where(total > 0, weight / jax.numpy.maximum(total, 1e-30), 0.0)
            (_, (others, changes)), found = gradient(trainable, others, tuning, data, share)
            return others, (found, changes)

        if micro_batches == 1:
            others, (gradients, changes) = part(others, batch)
        else:
            parts = [micro_batch(batch, index, micro_batches) for index in range(micro_batches)]
            stacked = jax.tree.map(lambda *arrays: jax.numpy.stack(arrays), *parts)
            # A scan, not a loop in Python: the parts' activations are never alive together.
            others, found = jax.lax.scan(part, others, stacked)
            gradients, changes = jax.tree.map(lambda values: values.sum(axis=0), found)
        with keras.StatelessScope(state_mapping=_pairs(groups, (trainable, others, tuning))):
            rate = jax.numpy.asarray(optimizer.learning_rate)
            scale = optimizer.scale_loss(jax.numpy.ones(()))
        gradients, norm = clip_by_global_norm(gradients, clip_norm, scale)
        trainable, tuning = optimizer.stateless_apply(tuning, gradients, trainable)
        result = {"loss": changes[-2] / changes[-1], "gradient_norm": norm, "learning_rate": rate}
        return (trainable, others, tuning), [a + b for a, b in zip(sums, changes, strict=True)], result

    return step


def test_step_function(model: keras.Model) -> Callable[[Any, Sums, Any], Sums]:
    """Return the pure function that adds one batch, in inference mode, to sums."""
    groups = _variables(model)[:2]

    def step(state: Any, sums: Sums, batch: Any) -> Sums:
        _, _, changes = _forward(model, _pairs(groups, state), groups[1], batch, training=False)
        return [a + b for a, b in zip(sums, changes, strict=True)]

    return step


def _forward(
    model: keras.Model, mapping: list[tuple[Any, Any]], others: list[Any], batch: Any, *, training: bool
) -> tuple[Any, list[Any], Sums]:
    """Return the mean loss of the rows given, the new values of `others`, and the sums to which the rows alone lead."""
    inputs, targets, weights = batch
    metrics = model.metrics_variables
    zeros = [(variable, jax.numpy.zeros(variable.shape, variable.dtype)) for variable in metrics]
    with keras.StatelessScope(state_mapping=[*mapping, *zeros], collect_losses=True) as scope:
        predicted = model(inputs, training=training)
        loss = model.compute_loss(x=inputs, y=targets, y_pred=predicted, sample_weight=weights, training=training)
        model.compute_metrics(inputs, targets, predicted, sample_weight=weights)
    values = [scope.get_current_value(variable) for variable in others]
    return loss, values, collect_sums(model, scope, loss, jax.numpy.sum(weights))


def _variables(model: keras.Model) -> tuple[list[Any], list[Any], list[Any]]:
    return model.trainable_variables, model.non_trainable_variables, model.optimizer.variables


def _pairs(groups: Sequence[Any], state: Sequence[Any]) -> list[tuple[Any, Any]]:
    return list(zip(_flat(groups), _flat(state), strict=True))


def _flat(groups: Any) -> list[Any]:
    return [item for group in groups for item in group]
