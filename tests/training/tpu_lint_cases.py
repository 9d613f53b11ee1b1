"""Small bad models, one a rule, and what the linter says of them: run by test_tpu_lint.py, on JAX, as a process."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import keras
import numpy as np
from keras import ops

import zoo
from zoo.registry import architecture
from zoo.training.config import TrainConfig
from zoo.training.tpu_compile import examine, trace_step
from zoo.training.tpu_lint import Finding, lint_model

BATCH = 8


@keras.saving.register_keras_serializable(package="cases")
class Layer(keras.layers.Layer):
    """A layer that does what a function does and keeps its input's shape."""

    def __init__(self, function: Callable[[Any], Any], **options: Any) -> None:
        super().__init__(**options)
        self.function = function

    def call(self, x: Any) -> Any:
        return self.function(x)

    def compute_output_spec(self, x: Any) -> Any:
        return keras.KerasTensor(x.shape, dtype=self.compute_dtype)


class Nest(keras.layers.Layer):
    """A layer with another inside."""

    def __init__(self, inner: keras.layers.Layer, **options: Any) -> None:
        super().__init__(**options)
        self.inner = inner

    def call(self, x: Any) -> Any:
        return self.inner(x)

    def compute_output_spec(self, x: Any) -> Any:
        return keras.KerasTensor(x.shape, dtype=self.compute_dtype)


def around(*middle: keras.layers.Layer, shape: tuple[int | None, ...] = (4,)) -> keras.Model:
    """A model with layers between two sound ones."""
    inputs = keras.Input(shape, name="x")
    x = keras.layers.Dense(4, name="before")(inputs)
    for layer in middle:
        x = layer(x)
    return keras.Model({"x": inputs}, keras.layers.Dense(1, name="after")(x), name="case")


def traced(model: keras.Model, loss: Any = "mse") -> list[Finding]:
    """Findings in the real train step of a model."""
    model.compile(keras.optimizers.SGD(0.1), loss)
    batch = {"x": np.ones((BATCH, 4), np.float32)}, np.ones((BATCH, 1), np.float32), np.ones(BATCH, np.float32)
    return trace_step(model, batch, TrainConfig(batch_size=BATCH))[1]


def described(model: keras.Model, batch_size: int | None = BATCH, **options: Any) -> list[Finding]:
    return lint_model(model, batch_size=batch_size, **{"devices": 4, **options})


def host(x: Any) -> Any:
    return jax.pure_callback(lambda value: value, jax.ShapeDtypeStruct(x.shape, x.dtype), jax.lax.stop_gradient(x))


def ordered(x: Any) -> Any:
    shape = jax.ShapeDtypeStruct(x.shape, x.dtype)
    return jax.experimental.io_callback(lambda value: value, shape, jax.lax.stop_gradient(x))


def printed(x: Any) -> Any:
    jax.debug.print("{}", x.sum())
    return x


def looped(x: Any) -> Any:
    """A print inside a loop inside a function of its own."""
    return jax.lax.fori_loop(0, 3, lambda _, value: 0.5 * printed(value), x)


def strings() -> list[Finding]:
    words = keras.Input((), dtype="string", name="words")
    x = keras.layers.StringLookup(vocabulary=["a", "b"], name="lookup")(words)
    return described(keras.Model({"words": words}, keras.layers.Embedding(4, 3, name="table")(x), name="case"))


class Unfold(keras.layers.Layer):
    """A layer that does not say how long its output is."""

    def call(self, x: Any) -> Any:
        return x

    def compute_output_spec(self, x: Any) -> Any:
        return keras.KerasTensor((x.shape[0], None, x.shape[-1]), dtype=x.dtype)


def opened_inside() -> list[Finding]:
    inputs = keras.Input((5, 4), name="part")
    return described(around(keras.Model(inputs, Unfold(name="unfold")(inputs), name="inside"), shape=(5, 4)))


def wide_weight() -> list[Finding]:
    class Weight(keras.layers.Layer):
        def build(self, shape: Any) -> None:
            self.scale = self.add_weight(shape=(), dtype="float64", name="scale")

        def call(self, x: Any) -> Any:
            return x

    return described(around(Weight(name="weight")))


def wide_loss() -> list[Finding]:
    """A constant of the loss: no layer is to blame."""
    with jax.enable_x64(True):
        return traced(around(), loss=lambda true, predicted: ops.mean((true - predicted) * np.array([1.5])))


def wide_numbers() -> list[Finding]:
    with jax.enable_x64(True):
        return traced(around(Layer(lambda x: x * np.array([1.5]), name="scale")))


def wide_batch() -> list[Finding]:
    batch = {"x": np.ones((1, 4))}, np.ones((1, 1), np.float32), np.ones(1, np.float32)
    return described(around(), batch=batch)


CASES: dict[str, Callable[[], list[Finding]]] = {
    "sound": lambda: [*described(around()), *traced(around())],
    "input of open shape": lambda: described(around(shape=(None, 4))),
    "layer of open shape": lambda: described(
        around(Unfold(name="unfold"), keras.layers.Dense(3, name="later"), shape=(5, 4))
    ),
    "layer of open shape in a model inside": opened_inside,
    "shape from values": lambda: traced(around(Layer(lambda x: ops.sum(x[x > 0]) + x, name="select"))),
    "size from values": lambda: traced(around(Layer(lambda x: ops.zeros(int(x[0, 0])).sum() + x, name="size"))),
    "strings": strings,
    "strings in the batch": lambda: described(around(), batch=({"x": np.array([["a"]])}, np.ones((1, 1), np.int32))),
    "batch not divisible": lambda: described(around(), 30),
    "micro-batches not divisible": lambda: described(around(), 24, micro_batches=4),
    "batch of unknown size": lambda: described(around(), None),
    "float64 layer": lambda: described(around(keras.layers.Dense(3, dtype="float64", name="wide"))),
    "float64 variable": wide_weight,
    "float64 constant": wide_numbers,
    "float64 constant in the loss": wide_loss,
    "float64 in the batch": wide_batch,
    "pure callback": lambda: traced(around(Layer(host, name="host"))),
    "ordered callback": lambda: traced(around(Nest(Layer(ordered, name="inner"), name="outer"))),
    "debug print": lambda: traced(around(Layer(printed, name="print"))),
    "debug print in a loop": lambda: traced(around(Layer(looped, name="loop"))),
    "numpy": lambda: traced(around(Layer(lambda x: np.asarray(x), name="numpy"))),
    "error": lambda: traced(around(Layer(lambda x: x.no_such_thing, name="broken"))),
}


def main() -> None:
    """Write the findings of every case, and of every registered architecture."""
    found = {name: [item.to_dict() for item in case()] for name, case in CASES.items()}
    for name in zoo.list_models():
        found[name] = examine(name, None, architecture(name).tiny(), TrainConfig(batch_size=BATCH))["findings"]
    Path(sys.argv[1]).write_text(json.dumps(found), encoding="utf-8")  # some of the layers print


if __name__ == "__main__":
    main()
