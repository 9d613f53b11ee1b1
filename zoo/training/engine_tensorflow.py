"""Training steps on TensorFlow: one device, or any `tf.distribute` strategy."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from zoo.training.config import TrainConfig
from zoo.training.devices import Devices
from zoo.training.engine import Batch, Engine, Sums, clip_by_global_norm, collect_sums, micro_batch


class TensorFlowEngine(Engine):
    """See `zoo.training.engine`.

    Replicas have equal dropout masks, as Keras's random state is mirrored.

    Args:
        devices: `one`, `mirrored`, `multiworker` or `tpu`.
        train: Hyper-parameters.
    """

    def __init__(self, devices: Devices, train: TrainConfig) -> None:
        super().__init__(devices, train)
        self.strategy = _strategy(devices)
        self._local = self.strategy.num_replicas_in_sync // devices.process_count

    @property
    def replicas(self) -> int:
        """See `Engine`."""
        return int(self.strategy.num_replicas_in_sync)

    def scope(self) -> contextlib.AbstractContextManager[Any]:
        """See `Engine`."""
        return self.strategy.scope() if self.devices.kind != "one" else contextlib.nullcontext()

    def setup(self, model: keras.Model, batch: Batch) -> None:
        """See `Engine`; batch normalisation takes its statistics over all replicas."""
        if self.replicas > 1:
            for layer in model._flatten_layers():
                if isinstance(layer, keras.layers.BatchNormalization):
                    layer.synchronized = True
        super().setup(model, batch)
        self._steps = tf.function(self._train, reduce_retracing=False)
        self._test = tf.function(self._evaluate, reduce_retracing=False)

    def step(self, batches: Sequence[Batch]) -> list[dict[str, Any]]:
        """See `Engine`; several batches are several steps in one call of a graph."""
        self.sums, results = self._steps(self.sums, [self._distribute(batch) for batch in batches])
        return list(results)

    def test(self, sums: Sums, batch: Batch) -> Sums:
        """See `Engine`."""
        return list(self._test(sums, self._distribute(batch)))

    def sync(self) -> None:
        """See `Engine`; steps work on the variables themselves."""

    def changed(self) -> None:
        """See `Engine`; steps work on the variables themselves."""

    def barrier(self) -> None:
        """See `Engine`."""
        if self.devices.process_count > 1:
            self.strategy.reduce(tf.distribute.ReduceOp.SUM, self.strategy.run(lambda: tf.ones(())), axis=None)

    def _distribute(self, batch: Batch) -> Any:
        """Give each local replica its rows."""
        if self.replicas == 1:
            return keras.tree.map_structure(tf.convert_to_tensor, batch)
        first = self.devices.process_index * self._local

        def rows(context: Any) -> Any:
            index = context.replica_id_in_sync_group - first

            def cut(array: Any) -> Any:
                size = len(array) // self._local
                return tf.convert_to_tensor(array[index * size : (index + 1) * size])

            return keras.tree.map_structure(cut, batch)

        return self.strategy.experimental_distribute_values_from_function(rows)

    def _train(self, sums: Sums, batches: list[Any]) -> tuple[Sums, list[dict[str, Any]]]:
        results = []
        for batch in batches:
            changes, result = self._on_replicas(self._replica_step, batch)
            sums = [total + change for total, change in zip(sums, changes, strict=True)]
            results.append(result)
        return sums, results

    def _evaluate(self, sums: Sums, batch: Any) -> Sums:
        changes = self._on_replicas(self._replica_test, batch)
        return [total + change for total, change in zip(sums, changes, strict=True)]

    def _on_replicas(self, function: Any, batch: Any) -> Any:
        """Run on every replica; the results are equal on all, so the first one's are taken."""
        results = self.strategy.run(function, args=(batch,))
        return keras.tree.map_structure(lambda value: self.strategy.experimental_local_results(value)[0], results)

    def _replica_step(self, batch: Any) -> tuple[Sums, dict[str, Any]]:
        model, optimizer, count = self.model, self.model.optimizer, self.train.micro_batches
        variables = model.trainable_variables
        total = self._reduce([tf.reduce_sum(batch[2])])[0]
        gradients: list[Any] = []
        sums: Sums = []
        for index in range(count):
            # One micro-batch after the other, or their activations would be alive together.
            with tf.control_dependencies(gradients):
                inputs, targets, weights = keras.tree.map_structure(tf.identity, micro_batch(batch, index, count))
            share = tf.math.divide_no_nan(tf.reduce_sum(weights), total)
            with tf.GradientTape() as tape:
                predicted = model(inputs, training=True)
                loss, changes = self._measure(inputs, targets, predicted, weights, training=True)
                scaled = optimizer.scale_loss(loss * tf.cast(share, loss.dtype))
            found = [tf.convert_to_tensor(gradient) for gradient in tape.gradient(scaled, variables)]
            gradients = [a + b for a, b in zip(gradients, found, strict=True)] if gradients else found
            sums = [a + b for a, b in zip(sums, changes, strict=True)] if sums else changes
        # Reduced before clipping: each replica's own norm is not the gradient's.
        gradients = self._reduce(gradients)
        sums = self._reduce(sums)
        rate = tf.convert_to_tensor(optimizer.learning_rate)
        gradients, norm = clip_by_global_norm(gradients, self.train.clip_norm, optimizer.scale_loss(tf.ones(())))
        # Keras's optimizer adds the replicas' gradients up again.
        optimizer.apply([gradient / self.replicas for gradient in gradients], variables)
        return sums, {"loss": sums[-2] / sums[-1], "gradient_norm": norm, "learning_rate": rate}

    def _replica_test(self, batch: Any) -> Sums:
        inputs, targets, weights = batch
        predicted = self.model(inputs, training=False)
        return self._reduce(self._measure(inputs, targets, predicted, weights, training=False)[1])

    def _measure(self, inputs: Any, targets: Any, predicted: Any, weights: Any, *, training: bool) -> tuple[Any, Sums]:
        """Return the mean loss of the rows given, and the sums to which they alone lead."""
        model = self.model
        mapping = [(variable, tf.zeros(variable.shape, variable.dtype)) for variable in model.metrics_variables]
        with keras.StatelessScope(state_mapping=mapping) as scope:
            loss = model.compute_loss(x=inputs, y=targets, y_pred=predicted, sample_weight=weights, training=training)
            model.compute_metrics(inputs, targets, predicted, sample_weight=weights)
        loss = loss * tf.cast(self.replicas, loss.dtype)  # Keras has divided it by the number of replicas
        return loss, collect_sums(model, scope, loss, tf.reduce_sum(weights))

    def _reduce(self, values: list[Any]) -> list[Any]:
        """Add up over the replicas."""
        if self.replicas == 1:
            return values
        context = tf.distribute.get_replica_context()
        return list(context.all_reduce(tf.distribute.ReduceOp.SUM, values))


def _strategy(devices: Devices) -> tf.distribute.Strategy:
    if devices.kind == "mirrored":
        names = [f"{devices.device_type}:{index}" for index in range(devices.count)]
        # On CPUs the default, collective operations, was seen once to mix up two of them; this adds in a fixed order.
        reduction = tf.distribute.ReductionToOneDevice() if devices.device_type == "CPU" else None
        return tf.distribute.MirroredStrategy(names, cross_device_ops=reduction)
    if devices.kind == "multiworker":
        return tf.distribute.MultiWorkerMirroredStrategy()
    if devices.kind == "tpu":
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver()
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
        return tf.distribute.TPUStrategy(resolver)
    return tf.distribute.get_strategy()
