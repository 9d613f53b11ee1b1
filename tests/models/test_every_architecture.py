"""The shared check: every registered architecture, with its `tiny()` configuration, on the active backend.

A file added to `zoo/models/` is tested by being there. `KERAS_BACKEND=jax pytest tests/models` runs the same on JAX.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import zoo
from zoo import datasets
from zoo.api import build_from_config
from zoo.execution import compile_serving
from zoo.preprocess import load, load_folder, save_folder
from zoo.registry import architecture
from zoo.run import Run
from zoo.tasks import Examples, Requests, get_task
from zoo.weights import load_weights, save_weights

INPUTS = {
    "captioning": {"image", "tokens"},
    "image_classification": {"image"},
    "text_classification": {"tokens"},
    "forecasting": {"window"},
}
OUTPUTS = {
    "captioning": {"logits"},
    "image_classification": {"logits"},
    "text_classification": {"logits"},
    "forecasting": {"mean", "quantiles"},
}
SERVED = {
    "captioning": ({"image"}, {"tokens", "length", "score", "attention"}),
    "image_classification": ({"image"}, {"probabilities", "attention"}),
    "text_classification": ({"tokens"}, {"probabilities", "token_weights"}),
    "forecasting": ({"window"}, {"mean", "quantiles", "step_weights"}),
}


class Tiny:
    """A tiny model of an architecture with real examples for it."""

    def __init__(self, name: str, path_of: Callable[[str], Path]) -> None:
        cls = architecture(name)
        self.name, self.task = name, get_task(cls.task)
        self.data = datasets.load(path_of(cls.task), task=cls.task, **self.task.data_options(cls.tiny()))
        self.preprocessor = self.task.preprocessor(cls.tiny(), self.data)
        self.config = self.task.configure(cls.tiny(), self.preprocessor)
        self.examples: Examples = self.task.examples(self.data.split("train"), self.preprocessor, self.config)
        self.requests: Requests = self.task.requests(self.data.split("valid"), self.preprocessor, limit=3)

    def build(self, seed: int = 0) -> keras.Model:
        keras.utils.set_random_seed(seed)
        return build_from_config(self.name, self.config)

    def batch(self, count: int = 4) -> tuple[Any, ...]:
        batch = self.examples.batch(np.arange(count), None)
        return batch if batch[2] is not None else batch[:2]

    def outputs(self, model: keras.Model) -> dict[str, np.ndarray]:
        return {key: np.asarray(value) for key, value in model.predict_on_batch(self.batch()[0]).items()}


@pytest.fixture(scope="module", params=zoo.list_models())
def tiny(request: pytest.FixtureRequest, tiny_data: Callable[[str], Path]) -> Tiny:
    """A tiny model's parts, for every registered architecture."""
    return Tiny(request.param, tiny_data)


def test_interface(tiny: Tiny) -> None:
    model = tiny.build()
    assert {tensor.name for tensor in model.inputs} == INPUTS[tiny.task.name]
    outputs = tiny.outputs(model)
    assert set(outputs) == OUTPUTS[tiny.task.name]
    assert all(array.dtype == np.float32 and len(array) == 4 for array in outputs.values())
    assert not any(isinstance(layer, keras.layers.Lambda) for layer in model._flatten_layers())


def test_default_configuration_builds() -> None:
    limits = {"captioning": 1.5e6, "image_classification": 5e6, "text_classification": 1.2e6, "forecasting": 0.3e6}
    for name in zoo.list_models():
        assert zoo.build(name).count_params() <= limits[architecture(name).task], name


def test_equal_seeds_give_equal_weights(tiny: Tiny) -> None:
    first, again, other = (tiny.build(seed).get_weights() for seed in (0, 0, 1))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_every_trainable_variable_moves(tiny: Tiny) -> None:
    model = zoo.compile(tiny.build(), optimizer=keras.optimizers.Adam(1e-2))
    before = [keras.ops.convert_to_numpy(variable) for variable in model.trainable_variables]
    for _ in range(2):
        loss = model.train_on_batch(*tiny.batch(16))
    assert np.isfinite(np.asarray(loss)).all()
    still = [
        variable.path
        for old, variable in zip(before, model.trainable_variables, strict=True)
        if np.array_equal(old, keras.ops.convert_to_numpy(variable))
    ]
    assert not still, f"did not move in two steps: {still}"


def test_keras_file_round_trip(tiny: Tiny, tmp_path: Path) -> None:
    model = tiny.build()
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    for key, value in tiny.outputs(model).items():
        np.testing.assert_allclose(tiny.outputs(again)[key], value, rtol=1e-5, atol=1e-5)
    zoo.compile(again)


def test_weights_round_trip(tiny: Tiny, tmp_path: Path) -> None:
    model, other = tiny.build(0), tiny.build(1)
    save_weights(model, tmp_path / "model.safetensors")
    load_weights(other, tmp_path / "model.safetensors")
    for key, value in tiny.outputs(model).items():
        np.testing.assert_array_equal(tiny.outputs(other)[key], value)


def test_mixed_bfloat16_is_finite(tiny: Tiny) -> None:
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = zoo.compile(tiny.build())
        assert np.isfinite(np.asarray(model.train_on_batch(*tiny.batch()))).all()
        assert all(np.isfinite(array).all() and array.dtype == np.float32 for array in tiny.outputs(model).values())
    finally:
        keras.config.set_dtype_policy("float32")


def test_padding_changes_nothing(tiny: Tiny) -> None:
    """Token 0 is padding: what stands in its row of an embedding must not matter to what comes before it."""
    inputs = dict(tiny.batch()[0])
    if "tokens" not in inputs:
        assert tiny.task.name in ("forecasting", "image_classification")
        return
    inputs["tokens"] = inputs["tokens"].copy()
    inputs["tokens"][:, inputs["tokens"].shape[1] // 2 :] = 0
    kept = inputs["tokens"] != 0
    model = tiny.build()
    before = keras.ops.convert_to_numpy(model(inputs)["logits"])
    rows = tiny.config.vocab_size  # type: ignore[attr-defined]
    tables = [weight for weight in model.weights if weight.shape[0] == rows and "embedding" in weight.path]
    assert tables, [weight.path for weight in model.weights]
    for table in tables:
        values = keras.ops.convert_to_numpy(table).copy()
        values[0] += 1.0
        table.assign(values)
    after = keras.ops.convert_to_numpy(model(inputs)["logits"])
    if tiny.task.name == "captioning":  # the logit of token 0 itself may be tied to its embedding
        before, after = before[kept][:, 1:], after[kept][:, 1:]
    np.testing.assert_allclose(after, before, atol=1e-5)


def test_serving_interface(tiny: Tiny) -> None:
    model = tiny.build()
    one, three = (tiny.task.serving(model, batch_size=size) for size in (1, 3))
    inputs, outputs = SERVED[tiny.task.name]
    assert set(one.inputs) == inputs and set(one.outputs) == outputs
    assert all(shape[0] == 1 and dtype in ("float32", "int32", "uint8") for shape, dtype in one.inputs.values())
    alone, together = (compile_serving(serving)(tiny.requests.inputs) for serving in (one, three))
    for key in outputs:
        np.testing.assert_allclose(alone[key], together[key], rtol=1e-4, atol=1e-4)
    for key in {"attention", "token_weights", "step_weights"} & outputs:
        weights = alone[key].sum((-2, -1) if key == "attention" else -1)
        assert np.isclose(weights, 1.0, atol=1e-3).sum() >= 3, key


def test_task_judges_its_own_answers(tiny: Tiny, tmp_path: Path) -> None:
    outputs = compile_serving(tiny.task.serving(tiny.build(), batch_size=3))(tiny.requests.inputs)
    assert tiny.task.agreement(outputs, outputs).all()
    metrics = tiny.task.score(outputs, tiny.requests, tiny.preprocessor)
    assert np.isfinite(metrics[tiny.task.main_metric])
    assert tiny.task.baselines(tiny.data, "valid", tiny.preprocessor, tiny.requests)
    assert all(path.is_file() for path in tiny.task.pictures(tmp_path, outputs, tiny.requests, tiny.preprocessor))
    text, pictures = tiny.task.samples(outputs, tiny.requests, tiny.preprocessor)
    assert text and all(picture.dtype == np.uint8 and picture.shape[-1] == 3 for picture in pictures)


def test_preprocessor_round_trip(tiny: Tiny, tmp_path: Path) -> None:
    save_folder(tiny.preprocessor, tmp_path)
    for again in (load(tiny.preprocessor.files()), load_folder(tmp_path)):
        assert again.files() == tiny.preprocessor.files()


def test_untrained_model_answers(tiny: Tiny) -> None:
    run = Run.untrained(tiny.name, **architecture(tiny.name).tiny().to_dict())
    inputs = {key: np.zeros(shape, dtype) for key, (shape, dtype) in run.serving().inputs.items()}
    inputs = {key: array + 1 if key == "window" else array for key, array in inputs.items()}
    outputs = run.serving_outputs(inputs, batch_size=1)
    assert str(run.preprocessor.result(inputs, outputs))
