"""The export gate and the measurements, on stored bundles."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import ai_edge_litert.schema_py_generated as schema
import flatbuffers
import numpy as np
import pytest

from zoo.errors import ConfigError, ExportError, ModelFileError
from zoo.export._process import run_worker
from zoo.export.benchmark import bench_file
from zoo.export.bundle import SIGNATURE, Bundle, read_bundle, write_bundle
from zoo.export.golden import golden_entries, read_golden
from zoo.export.verify import (
    EDGE_WORKER,
    by_example,
    check_interface,
    check_operators,
    judge,
    run_without_tensorflow,
    verify_file,
)
from zoo.tasks import Requests, get_task

STORED = Path(__file__).resolve().parent.parent / "fixtures" / "bundle_v1"
PRICE = STORED / "price_attn.tflite"


def changed(change: Any) -> bytes:
    """Return the stored model after `change(model)`, with the schema's object interface."""
    model = schema.ModelT.InitFromPackedBuf(bytearray(read_bundle(PRICE).flatbuffer), 0)
    change(model)
    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def make_foreign(code: Any) -> Any:
    """Turn an operator code into that of an operator LiteRT does not have."""
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
    code.customCode = b"FlexErf"
    return code


def rewritten(path: Path, flatbuffer: bytes | None = None, **entries: bytes) -> Path:
    """Write the stored bundle with another model or other entries, and digests that fit."""
    bundle = read_bundle(PRICE)
    write_bundle(
        path,
        flatbuffer or bundle.flatbuffer,
        {**bundle.entries, **entries},
        name=bundle.name,
        task=bundle.task,
        quantize=bundle.quantize,
        signatures=check_interface(bundle.flatbuffer),
    )
    return path


def test_operators_of_all_graphs_are_counted() -> None:
    counts = check_operators(read_bundle(PRICE).flatbuffer)
    assert counts["WHILE"] == 1  # the LSTM's loop
    assert counts["TANH"] >= 2  # which is used inside the loop only
    assert list(counts.values()) == sorted(counts.values(), reverse=True)


@pytest.mark.parametrize("graph", [0, -1])
def test_an_operator_of_tensorflow_is_refused(graph: int) -> None:
    def change(model: Any) -> None:
        model.operatorCodes.append(make_foreign(schema.OperatorCodeT()))
        model.subgraphs[graph].operators[0].opcodeIndex = len(model.operatorCodes) - 1

    with pytest.raises(ExportError, match="FlexErf"):
        check_operators(changed(change))


def test_interface() -> None:
    found = check_interface(read_bundle(PRICE).flatbuffer)[SIGNATURE]
    assert found["inputs"] == {"window": {"shape": [1, 12, 5], "dtype": "float32"}}
    assert found["outputs"]["quantiles"] == {"shape": [1, 3, 5], "dtype": "float32"}
    assert set(found["outputs"]) == {"mean", "quantiles", "step_weights"}


def output_tensor(model: Any) -> Any:
    return model.subgraphs[0].tensors[model.signatureDefs[0].outputs[0].tensorIndex]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda model: setattr(output_tensor(model), "type", schema.TensorType.INT64), "is int64"),
        (lambda model: setattr(output_tensor(model), "type", schema.TensorType.BOOL), "is bool"),
        (lambda model: setattr(output_tensor(model), "shapeSignature", [-1, 3]), "dynamic shape"),
        (lambda model: setattr(model.signatureDefs[0], "signatureKey", b"other"), "no signature"),
    ],
)
def test_what_clients_cannot_hold_is_refused(change: Any, says: str) -> None:
    with pytest.raises(ExportError, match=says):
        check_interface(changed(change))


def outputs_of(count: int, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    mean = 100 + rng.normal(size=(count, 3)).astype(np.float32)
    return {
        "mean": mean,
        "quantiles": mean[..., None] + np.float32([-2, -1, 0, 1, 2]),
        "step_weights": np.full((count, 12), 1 / 12, np.float32),
    }


def judged(actual: dict[str, np.ndarray], *, quantize: str, trained: bool = False) -> dict[str, Any]:
    count = len(actual["mean"])
    return judge(
        task=get_task("forecasting"),
        preprocessor=None,  # type: ignore[arg-type] - not looked at without a metric
        requests=Requests({}, None, [f"day {i}" for i in range(count)]),
        expected=outputs_of(count),
        actual=actual,
        quantize=quantize,
        trained=trained,
        budget=0.01,
    )


def test_float32_must_agree_on_every_example() -> None:
    assert judged(outputs_of(50), quantize="float32")["agreement"] == {"same": 50, "of": 50}
    other = outputs_of(50)
    other["mean"][17, 1] *= 1.001
    refused = judged(other, quantize="float32")["refused"]
    assert "1 of 50 examples" in refused and "day 17" in refused
    passed = {"agreement": {"same": 49, "of": 50}, "metric": None, "refused": None}
    assert judged(other, quantize="float16") == passed


def test_float32_is_compared_on_64_examples_spread_evenly() -> None:
    other = outputs_of(127)
    other["mean"][1::2, 1] *= 1.001
    assert judged(other, quantize="float32") == {"agreement": {"same": 64, "of": 127}, "metric": None, "refused": None}
    other["mean"][126, 1] *= 1.001
    assert "1 of 64 examples" in judged(other, quantize="float32")["refused"]


@pytest.mark.parametrize("quantize", ["float32", "float16", "dynamic", "int8"])
def test_values_that_are_not_numbers_are_refused(quantize: str) -> None:
    other = outputs_of(5)
    other["quantiles"][3, 0, 0] = np.nan
    assert "'quantiles' values that are not numbers" in judged(other, quantize=quantize)["refused"]


def test_a_quantised_file_may_lose_its_budget_only() -> None:
    task = get_task("text_classification")
    count = 400
    truth = np.arange(count) % 2
    right = np.eye(2, dtype=np.float32)[truth]
    few, many = right.copy(), right.copy()
    few[:2], many[:8] = 1 - right[:2], 1 - right[:8]
    weights = np.full((count, 4), 0.25, np.float32)
    from zoo.preprocess.text import TextPreprocessor

    preprocessor = TextPreprocessor.fit(["good", "bad"], ["no", "yes"], max_length=4)
    requests = Requests({}, (["text"] * count, truth), [str(i) for i in range(count)])

    def judged_text(probabilities: np.ndarray, budget: float) -> dict[str, Any]:
        return judge(
            task=task,
            preprocessor=preprocessor,
            requests=requests,
            expected={"probabilities": right, "token_weights": weights},
            actual={"probabilities": probabilities, "token_weights": weights},
            quantize="dynamic",
            trained=True,
            budget=budget,
        )

    metric = judged_text(few, 0.01)["metric"]
    assert metric["keras"] == 1.0
    assert metric["drop"] == pytest.approx(0.005, rel=0.05)
    assert judged_text(few, 0.01)["refused"] is None
    assert "over the budget of 1.0%" in judged_text(many, 0.01)["refused"]
    assert judged_text(many, 0.05)["refused"] is None
    assert judged_text(many, 0.05)["agreement"] == {"same": 392, "of": 400}


def test_outputs_of_examples() -> None:
    given = {"length": np.zeros(4), "score": np.zeros((4, 1)), "tokens": np.zeros((4, 1, 7))}
    assert {name: array.shape for name, array in by_example(given).items()} == {
        "length": (4,),
        "score": (4,),
        "tokens": (4, 7),
    }


@pytest.mark.parametrize("path", sorted(STORED.glob("*.tflite")), ids=lambda path: path.stem)
def test_verify_a_good_file(path: Path) -> None:
    report = verify_file(path)
    assert report["passed"], report["problems"]
    assert report["golden"] == {"same": 3, "of": 3}
    assert report["bytes"] == path.stat().st_size
    json.dumps(report)


def test_verify_says_what_is_wrong(tmp_path: Path) -> None:
    case = read_golden(read_bundle(PRICE))[0]

    def answering(outputs: dict[str, np.ndarray]) -> dict[str, bytes]:
        return golden_entries([dataclasses.replace(case, outputs=outputs)])

    other = {**case.outputs, "mean": case.outputs["mean"] * np.float32(1.01)}
    report = verify_file(rewritten(tmp_path / "answers.tflite", **answering(other)))
    assert not report["passed"]
    assert report["problems"] == ["1 of 1 golden answers are not reproduced."]

    foreign = changed(lambda model: make_foreign(model.operatorCodes[0]))
    report = verify_file(rewritten(tmp_path / "operators.tflite", foreign))
    assert not report["passed"]
    assert "FlexErf" in report["problems"][0]

    names = {**case.outputs, "extra": case.outputs["mean"]}
    report = verify_file(rewritten(tmp_path / "names.tflite", **answering(names)))
    assert "names and shapes" in report["problems"][0]

    with pytest.raises(ModelFileError, match="no golden examples"):
        verify_file(rewritten(tmp_path / "none.tflite", **golden_entries([])))


@pytest.mark.parametrize(
    "index",
    [
        b"[]",
        b'{"cases": 3}',
        b'{"cases": [{}]}',
        b'{"cases": [{"id": 1, "inputs": {"window": {"file": "x", "dtype": "float32", "shape": [1]}}, "outputs": {}}]}',
        b'{"cases": [{"id": 1, "outputs": {}, "inputs": '
        b'{"window": {"file": "config.json", "dtype": "float32", "shape": [1, 9999999999]}}}]}',
    ],
)
def test_damaged_golden_examples(index: bytes) -> None:
    bundle = read_bundle(PRICE)
    with pytest.raises(ModelFileError, match="golden"):
        read_golden(Bundle(b"", {}, {**bundle.entries, "golden/golden.json": index}))


def test_bench() -> None:
    report = bench_file(PRICE, threads=(1, 2), runs=5)
    assert report["bytes"] == PRICE.stat().st_size > report["flatbuffer_bytes"]
    assert [record["threads"] for record in report["latency"]] == [1, 2]
    for record in report["latency"]:
        assert 0 < record["p50_ms"] <= record["p95_ms"] < 1000
        assert record["load_ms"] > 0
        # The worker's own memory: not that of this process, which may hold TensorFlow.
        assert record["peak_memory_mb"] is None or 10 < record["peak_memory_mb"] < 300
    with pytest.raises(ConfigError, match="at least 1 run"):
        bench_file(PRICE, runs=0)


def test_run_without_tensorflow_reports_failures(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="takes float32") as caught:
        run_without_tensorflow(PRICE, {"window": np.zeros((2, 3, 5), np.float32)})
    assert "\n" not in str(caught.value)
    with pytest.raises(ExportError, match="No such file"):
        run_without_tensorflow(tmp_path / "missing.tflite", {"window": np.zeros((2, 3, 5), np.float32)})


def test_workers_that_crash_hang_or_fail() -> None:
    arguments = ["-n", "1", "-r", "1"]
    with pytest.raises(ExportError, match=r"It failed: it crashed \(SIGSEGV\)"):
        run_worker("timeit", [*arguments, "import os; os.kill(os.getpid(), 11)"], what="It", timeout=60)
    with pytest.raises(ExportError, match="took over 0.5 s"):
        run_worker("timeit", [*arguments, "import time; time.sleep(60)"], what="It", timeout=0.5)
    with pytest.raises(ExportError, match="It failed: ValueError: a last line$|It failed: ValueError: a last line.$"):
        run_worker("timeit", [*arguments, "raise ValueError('a last line')"], what="It", timeout=60)
    run_worker("timeit", [*arguments, "pass"], what="It", timeout=60)
    with pytest.raises(ExportError, match="Running"):
        run_worker(EDGE_WORKER, ["run", "a", "b", "c"], what="Running", timeout=60)


def test_a_request_that_gives_other_inputs(tmp_path: Path) -> None:
    bundle, path = read_bundle(STORED.with_name("bundle_v2") / "text_attn.tflite"), tmp_path / "text.tflite"
    about = {key: bundle.manifest[key] for key in ("name", "task", "quantize", "signatures")}
    write_bundle(path, bundle.flatbuffer, {**bundle.entries, "golden/1/request.txt": b"something else"}, **about)
    report = verify_file(path)
    assert report["golden"]["same"] == report["golden"]["of"] == 4
    assert report["problems"] == ["The request of the golden example 'made up 2' gives other inputs."]
