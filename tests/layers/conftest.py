"""The one check that every layer passes, and helpers that the layers' tests share."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops


@dataclass(frozen=True)
class Masking:
    """How a layer is told which positions of one input count, and which outputs must not notice the others."""

    argument: str  # the call argument that takes the mask
    source: int  # index of the input whose axis 1 is masked
    outputs: tuple[int, ...]  # indices of the outputs that are looked at
    per_position: bool  # whether these outputs have the masked axis themselves, as axis 1


@dataclass(frozen=True)
class LayerCase:
    """A layer, its inputs and what must come out."""

    layer: type[keras.layers.Layer]
    config: dict[str, Any]
    inputs: tuple[np.ndarray, ...]
    output_shapes: tuple[tuple[int, ...], ...]
    call_arguments: dict[str, Any] = field(default_factory=dict)
    masking: Masking | None = None
    float32_outputs: tuple[int, ...] = ()  # stay float32 under mixed precision
    output_dtype: str = "float32"  # integers are the same under every dtype policy
    half_tolerance: float = 0.1  # largest difference between mixed_bfloat16 and float32


def run(layer: keras.layers.Layer, inputs: Sequence[Any], **arguments: Any) -> list[Any]:
    """The layer's outputs as a flat list."""
    return keras.tree.flatten(layer(*inputs, **arguments))


def as_arrays(tensors: Sequence[Any]) -> list[np.ndarray]:
    """Outputs as float32 numpy arrays."""
    return [ops.convert_to_numpy(ops.cast(tensor, "float32")) for tensor in tensors]


def assert_same(actual: Sequence[np.ndarray], expected: Sequence[np.ndarray], tolerance: float = 1e-5) -> None:
    assert len(actual) == len(expected)
    for one, other in zip(actual, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=tolerance, rtol=tolerance)


def as_model(case: LayerCase, layer: keras.layers.Layer) -> keras.Model:
    """The layer between `Input`s of open batch size."""
    inputs = [keras.Input(array.shape[1:], dtype=str(array.dtype)) for array in case.inputs]
    return keras.Model(inputs, run(layer, inputs, **case.call_arguments))


def check_shapes_and_dtypes(case: LayerCase) -> None:
    layer = case.layer(**case.config)
    outputs = run(layer, case.inputs, **case.call_arguments)
    assert [tuple(output.shape) for output in outputs] == list(case.output_shapes)
    assert {keras.backend.standardize_dtype(output.dtype) for output in outputs} == {case.output_dtype}
    symbolic = as_model(case, case.layer(**case.config)).outputs
    assert [tuple(output.shape) for output in symbolic] == [(None, *shape[1:]) for shape in case.output_shapes]


def check_config(case: LayerCase) -> None:
    layer = case.layer(**case.config)
    expected = as_arrays(run(layer, case.inputs, **case.call_arguments))
    config = layer.get_config()
    arguments = set(inspect.signature(case.layer.__init__).parameters) - {"self", "kwargs"}
    assert arguments <= set(config), f"get_config lacks {arguments - set(config)}"
    twin = case.layer.from_config(json.loads(json.dumps(config)))
    assert json.dumps(twin.get_config()) == json.dumps(config)
    run(twin, case.inputs, **case.call_arguments)
    twin.set_weights(layer.get_weights())
    assert_same(as_arrays(run(twin, case.inputs, **case.call_arguments)), expected)


def check_build_creates_everything(case: LayerCase) -> None:
    """All variables exist after `build`; none appears in `call`, where a while loop could not create it."""
    layer = case.layer(**case.config)
    layer.build(*(array.shape for array in case.inputs))
    before = [variable.path for variable in layer.variables]
    run(layer, case.inputs, **case.call_arguments)
    assert [variable.path for variable in layer.variables] == before


def check_saving(case: LayerCase, folder: Path) -> None:
    model = as_model(case, case.layer(**case.config))
    expected = as_arrays(keras.tree.flatten(model(list(case.inputs))))
    model.save(folder / "model.keras")
    loaded = keras.saving.load_model(folder / "model.keras", safe_mode=True)
    assert_same(as_arrays(keras.tree.flatten(loaded(list(case.inputs)))), expected)


def check_masking(case: LayerCase) -> None:
    masking = case.masking
    if masking is None:
        return
    layer = case.layer(**case.config)
    source = case.inputs[masking.source]
    mask = np.ones(source.shape[:2], bool)
    mask[0, 1:] = False
    mask[1, source.shape[1] // 2 :] = False
    changed = list(case.inputs)
    changed[masking.source] = np.where(mask[..., None], source, 7.0 + 3.0 * source).astype(source.dtype)
    arguments = {**case.call_arguments, masking.argument: mask}
    before = as_arrays(run(layer, case.inputs, **arguments))
    after = as_arrays(run(layer, changed, **arguments))
    unmasked = as_arrays(run(layer, changed, **case.call_arguments))
    for index in masking.outputs:
        kept = mask if masking.per_position else np.ones(before[index].shape[:1], bool)
        assert_same([after[index][kept]], [before[index][kept]], 1e-6)
        assert np.abs(unmasked[index][kept] - after[index][kept]).max() > 1e-4, "the mask has no effect at all"
    nothing = as_arrays(run(layer, case.inputs, **{**arguments, masking.argument: np.zeros_like(mask)}))
    assert all(np.isfinite(output).all() for output in nothing)


def check_training(case: LayerCase) -> None:
    """After two optimizer steps every trainable variable has moved."""
    layer = case.layer(**case.config)
    model = as_model(case, layer)
    if not layer.trainable_variables:
        return
    # Op by op is faster than tracing a graph for two steps; on JAX it is the other way round.
    model.compile(keras.optimizers.Adam(0.01), "mse", run_eagerly=keras.backend.backend() == "tensorflow")
    rng = np.random.default_rng(1)
    targets = [rng.normal(size=shape).astype("float32") for shape in case.output_shapes]
    before = {variable.path: ops.convert_to_numpy(variable) for variable in layer.trainable_variables}
    for _ in range(2):
        loss = model.train_on_batch(list(case.inputs), targets if len(targets) > 1 else targets[0])
        assert np.isfinite(loss).all()
    still = [
        variable.path
        for variable in layer.trainable_variables
        if np.array_equal(before[variable.path], ops.convert_to_numpy(variable))
    ]
    assert not still, f"no gradient reached {still}"


def check_half_precision(case: LayerCase) -> None:
    if case.output_dtype != "float32":
        return
    full = case.layer(**case.config)
    expected = as_arrays(run(full, case.inputs, **case.call_arguments))
    for policy in ("mixed_bfloat16", "mixed_float16"):
        half = case.layer(**case.config, dtype=policy)
        run(half, case.inputs, **case.call_arguments)
        half.set_weights(full.get_weights())
        arguments = dict(case.call_arguments)
        outputs = run(half, case.inputs, **arguments)
        for index, output in enumerate(outputs):
            wanted = "float32" if index in case.float32_outputs else policy.removeprefix("mixed_")
            assert keras.backend.standardize_dtype(output.dtype) == wanted
        assert_same(as_arrays(outputs), expected, case.half_tolerance)
        if case.masking is not None:
            shape = case.inputs[case.masking.source].shape[:2]
            arguments[case.masking.argument] = np.zeros(shape, bool)
            assert all(np.isfinite(output).all() for output in as_arrays(run(half, case.inputs, **arguments)))


@pytest.fixture
def layer_check(tmp_path: Path) -> Callable[[LayerCase], None]:
    """Runs every part of the shared layer check on one case."""

    def check(case: LayerCase) -> None:
        keras.utils.set_random_seed(0)
        check_shapes_and_dtypes(case)
        check_config(case)
        check_build_creates_everything(case)
        check_saving(case, tmp_path)
        check_masking(case)
        check_training(case)
        check_half_precision(case)

    return check


@pytest.fixture
def layer_case() -> type[LayerCase]:
    """The class of a layer check's case."""
    return LayerCase


@pytest.fixture
def masking_rule() -> type[Masking]:
    """The class of a layer check's masking rule."""
    return Masking
