"""Int8: what is quantised, that it runs, and that a failure in the other process is one line here."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from zoo.errors import ExportError
from zoo.export import quantize
from zoo.export._flatbuffer import Model, name_of
from zoo.export._quantize_worker import Observer, complete
from zoo.export.bundle import SIGNATURE
from zoo.export.quantize import operators_by_type, quantize_int8
from zoo.export.runtime import Graph
from zoo.export.samples import calibration_samples
from zoo.export.saved_model import write_saved_model
from zoo.export.tflite import convert
from zoo.run import Run
from zoo.tasks import Serving, Signature

V, D, T = 40, 32, 6


@keras.saving.register_keras_serializable(package="test_quantize")
class Chain(keras.Model):
    """Embeds the last token, adds a state, and scores all tokens with the same table, T times over."""

    def __init__(self) -> None:
        super().__init__()
        self.table = self.add_weight(shape=(V, D), name="table", initializer="glorot_uniform")
        self.mix = keras.layers.Dense(D, name="mix")
        self.mix.build((None, D))
        self.built = True

    def advance(self, token: Any, state: Any) -> tuple[Any, Any]:
        from keras import ops

        x = ops.take(ops.convert_to_tensor(self.table), token, axis=0)
        state = ops.tanh(self.mix(x) + state)
        return ops.matmul(state, ops.transpose(ops.convert_to_tensor(self.table))), state

    def loop(self, start: Any) -> dict[str, Any]:
        from keras import ops

        def step(position: Any, token: Any, state: Any, kept: Any) -> tuple[Any, ...]:
            logits, state = self.advance(token, state)
            token = ops.cast(ops.squeeze(ops.top_k(logits, 1)[1], -1), "int32")
            here = ops.cast(ops.equal(ops.arange(T, dtype="int32"), position), "float32")
            return position + 1, token, state, kept + ops.reshape(here, (1, T, 1)) * ops.expand_dims(logits, 1)

        *_, kept = ops.while_loop(
            lambda position, *_: position < T,
            step,
            (ops.zeros((), "int32"), start, ops.zeros((1, D)), ops.zeros((1, T, V))),
        )
        return {"logits": kept, "length": ops.full((), T, "int32")}

    def one(self, token: Any, state: Any) -> dict[str, Any]:
        from keras import ops

        logits, state = self.advance(token, state)
        return {"logits": logits, "state": state, "next_token": ops.cast(ops.top_k(logits, 1)[1][:, 0], "int32")}


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A float32 model with a loop, a table used twice, and a second signature that feeds itself."""
    keras.utils.set_random_seed(3)
    model = Chain()
    serving = Serving(
        function=lambda start: model.loop(start),
        inputs={"start": ((1,), "int32")},
        outputs=("logits", "length"),
        model=model,
        signatures={
            "step": Signature(
                lambda token, state: model.one(token, state),
                {"token": ((1,), "int32"), "state": ((1, D), "float32")},
                ("logits", "state", "next_token"),
            )
        },
    )
    folder = tmp_path_factory.mktemp("chain") / "saved_model"
    write_saved_model(serving, folder)
    return convert(folder)


STARTS = {SIGNATURE: {"start": np.arange(V, dtype=np.int32)}}
STEPS = {"step": {"token": np.arange(V, dtype=np.int32), "state": np.zeros((V, D), np.float32)}}


@pytest.fixture(scope="module")
def chain_int8(chain: bytes) -> bytes:
    return quantize_int8(chain, {**STARTS, **STEPS})


def test_loop_and_signature_are_int8_and_agree(chain: bytes, chain_int8: bytes) -> None:
    kinds = operators_by_type(chain_int8)
    assert kinds["FULLY_CONNECTED"] == {"float32, int8 weights": 4}  # ranges are found when they run, `step` included
    assert "int8" not in kinds["ADD"]
    assert kinds["WHILE"] == {"int32": 1}
    assert kinds["EMBEDDING_LOOKUP"] == {"float32, int8 weights": 2}
    assert "GATHER" not in kinds
    before, after = Graph(chain), Graph(chain_int8)
    assert (after.inputs, after.outputs) == (before.inputs, before.outputs)
    for start in range(0, V, 7):
        request = {"start": np.array([start], np.int32)}
        exact, near = before.run(request)["logits"][0, 0], after.run(request)["logits"][0, 0]
        assert np.abs(exact - near).max() < 0.05 * np.ptp(exact)
        state = np.zeros((1, D), np.float32)
        one = after.run({"token": request["start"], "state": state}, "step")["logits"][0]
        np.testing.assert_allclose(one, near, atol=1e-5)


def test_a_tied_table_is_stored_once(chain: bytes, chain_int8: bytes) -> None:
    def tables(flatbuffer: bytes) -> int:
        model = Model(flatbuffer)
        size = V * D * (4 if flatbuffer is chain else 1)
        buffers = [bytes(b.data) for b in model.tree.buffers if b.data is not None and len(b.data) == size]
        return len(set(buffers))

    assert tables(chain) == tables(chain_int8) == 1


def test_names_are_kept(chain: bytes, chain_int8: bytes) -> None:
    before, after = (
        {bytes(tensor.name) for graph in schema_tree(content).subgraphs for tensor in graph.tensors}
        for content in (chain, chain_int8)
    )
    assert len(before & after) > 0.8 * len(before)


def schema_tree(flatbuffer: bytes) -> Any:
    from ai_edge_litert.tools.flatbuffer_utils import read_model_from_bytearray

    return read_model_from_bytearray(bytearray(flatbuffer))


def test_a_signature_without_samples_is_fed_by_the_others(chain: bytes) -> None:
    """`step` starts from a state of zeros and runs on what it returns, as often as the loop did."""
    model = Model(chain)
    observer = Observer(model.pack())
    observer.observe(STARTS)
    step = next(item for item in model.tree.signatureDefs if item.signatureKey == b"step")
    graph = model.tree.subgraphs[step.subgraphIndex]
    tensors = {item.name.decode(): graph.tensors[item.tensorIndex] for item in (*step.inputs, *step.outputs)}
    low, high = observer.ranges[name_of(tensors["logits"])]
    assert low < 0 < high
    low, high = observer.ranges[name_of(tensors["token"])]
    assert low >= 0 and high > 1  # the start token first, then what it chose
    given = next(item for item in step.inputs if item.name == b"state")
    low, high = observer.ranges[name_of(graph.tensors[given.tensorIndex])]
    assert -1 <= low < 0 < high <= 1  # zeros first, then what it returned


def test_variables_of_a_loop_have_ranges(chain: bytes) -> None:
    model = Model(chain)
    observer = Observer(model.pack())
    observer.observe(STARTS)
    complete(model, observer.ranges)
    (loop,) = list(model.loops())
    body = loop[2]
    floats = [body.tensors[i] for i in body.inputs if model.is_float(body.tensors[i])]
    assert floats and all(name_of(tensor) in observer.ranges for tensor in floats)
    state = next(tensor for tensor in floats if list(tensor.shape) == [1, D])
    low, high = observer.ranges[name_of(state)]
    assert -1 <= low < 0 < high <= 1  # zeros before the loop, tanh in it


def test_small_layers_stay_float_and_outputs_keep_their_type(tmp_path: Path) -> None:
    keras.utils.set_random_seed(1)
    inputs = keras.Input((8, 8, 3), name="x")
    kept = keras.layers.Activation("tanh")(keras.layers.Conv2D(40, 3, name="large")(inputs))
    y = keras.layers.Conv2D(2, 1, name="small")(keras.layers.Conv2D(30, 1, name="reads_an_output")(kept))
    model = keras.Model(inputs, [kept, y])
    serving = Serving(
        function=lambda x: dict(zip(("kept", "y"), model(x), strict=True)),
        inputs={"x": ((1, 8, 8, 3), "float32")},
        outputs=("kept", "y"),
        model=model,
    )
    write_saved_model(serving, tmp_path / "saved")
    samples = {SIGNATURE: {"x": np.random.default_rng(0).normal(size=(8, 8, 8, 3)).astype(np.float32)}}
    exact = convert(tmp_path / "saved")
    content = quantize_int8(exact, samples)
    assert operators_by_type(content)["CONV_2D"] == {"int8": 2, "float32": 1}
    before, after = Graph(exact), Graph(content)
    assert after.outputs == before.outputs
    request = {"x": samples[SIGNATURE]["x"][:1]}
    for name, value in before.run(request).items():
        assert np.abs(after.run(request)[name] - value).max() < 0.05 * np.ptp(value)


def test_errors_are_one_line(chain: bytes) -> None:
    with pytest.raises(ExportError, match="no signature 'other'") as caught:
        quantize_int8(chain, {"other": STARTS[SIGNATURE]})
    assert "\n" not in str(caught.value)
    with pytest.raises(ExportError, match=r"Quantising to int8 took over 0\.05 s"):
        quantize_int8(chain, STARTS, timeout=0.05)
    with pytest.raises(ExportError, match="Quantising to int8 failed") as caught:
        quantize_int8(chain[: len(chain) // 2], STARTS)
    assert "\n" not in str(caught.value)


def test_a_crash_is_one_line(chain: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker of another module that dies as native code does: by a signal."""
    (tmp_path / "dies_by_segfault.py").write_text(
        f"import os\nos.kill(os.getpid(), {int(signal.SIGSEGV)})\n", encoding="utf-8"
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setattr(quantize, "WORKER", "dies_by_segfault")
    with pytest.raises(ExportError, match=r"Quantising to int8 failed: it crashed \(SIGSEGV\)") as caught:
        quantize_int8(chain, STARTS)
    assert "\n" not in str(caught.value)


def test_samples_of_an_untrained_model_are_random_and_repeatable() -> None:
    run = Run.untrained("text_attn")
    serving = run.serving()
    first, again = (calibration_samples(run, serving, count=5).inputs["tokens"] for _ in range(2))
    np.testing.assert_array_equal(first, again)
    other = calibration_samples(run, serving, count=5, seed=1).inputs["tokens"]
    assert first.shape == other.shape and not np.array_equal(first, other)
