"""`LayerNorm` against stock Keras: what it answers and how it learns."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from zoo.layers import LayerNorm

RNG = np.random.default_rng(0)
X = RNG.normal(2.0, 3.0, (4, 5, 8)).astype("float32")


def random_weights(layer: keras.layers.Layer) -> None:
    layer.set_weights([np.random.default_rng(7).normal(size=weight.shape) for weight in layer.weights])


@pytest.mark.parametrize("training", [False, True])
def test_equals_stock_keras(training: bool) -> None:
    ours, stock = LayerNorm(epsilon=1e-3), keras.layers.LayerNormalization(epsilon=1e-3)
    for layer in (ours, stock):
        layer.build(X.shape)
        random_weights(layer)
    actual = ops.convert_to_numpy(ours(X, training=training))
    np.testing.assert_allclose(actual, ops.convert_to_numpy(stock(X)), atol=1e-5)


@pytest.mark.parametrize("epsilon", [1e-6, 1.0])
def test_learns_as_stock_keras_does(epsilon: float) -> None:
    """One step of gradient descent: scale, shift and, through the gradient of `x`, the layer below."""
    after = []
    for kind in (LayerNorm, keras.layers.LayerNormalization):
        inputs = keras.Input((5, 8))
        x = keras.layers.Dense(6, activation="tanh", name="below")(inputs)
        model = keras.Model(inputs, keras.layers.Dense(3, name="above")(kind(epsilon=epsilon, name="norm")(x)))
        random_weights(model)
        before = [np.array(weight) for weight in model.get_weights()]
        model.compile(keras.optimizers.SGD(0.1), "mse")
        model.train_on_batch(X, np.ones((4, 5, 3), np.float32))
        after.append([new - old for new, old in zip(model.get_weights(), before, strict=True)])
    for ours, stock in zip(*after, strict=True):
        assert np.abs(stock).max() > 1e-3
        np.testing.assert_allclose(ours, stock, atol=2e-6)
