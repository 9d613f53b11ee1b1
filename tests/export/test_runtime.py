"""Answers from stored bundles, in processes that have no TensorFlow."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.compiled_model import CompiledModel

from zoo.errors import DataError, ModelFileError
from zoo.export.bundle import pack_bundle, read_bundle, write_bundle
from zoo.export.golden import read_golden
from zoo.export.runtime import Edge, Graph
from zoo.results import Result

STORED = Path(__file__).resolve().parent.parent / "fixtures" / "bundle_v1"
STORED_2 = STORED.with_name("bundle_v2")
NAMES = sorted(path.stem for path in STORED.glob("*.tflite"))
NAMES_2 = sorted(path.stem for path in STORED_2.glob("*.tflite"))


def stored(name: str) -> tuple[Path, Any, dict[str, Any]]:
    """Return path, input and expected result of a stored bundle."""
    expected = json.loads((STORED / f"{name}.expected.json").read_text())
    value = expected["input"]
    return STORED / f"{name}.tflite", np.array(value) if isinstance(value, list) else value, expected["result"]


def assert_same(result: Result, expected: dict[str, Any]) -> None:
    """Compare a result with one read from JSON: numbers within 1e-4, all else exactly."""

    def compare(left: Any, right: Any) -> None:
        if isinstance(right, dict):
            assert set(left) == set(right)
            for key in right:
                compare(left[key], right[key])
        elif isinstance(right, list):
            assert len(left) == len(right)
            for one, other in zip(left, right, strict=True):
                compare(one, other)
        elif isinstance(right, float):
            assert float(left) == pytest.approx(right, rel=1e-4, abs=1e-5)
        else:
            assert left == right

    compare(result.to_dict(), expected)


def test_there_are_stored_bundles() -> None:
    assert NAMES
    assert set(NAMES_2) == {"caption_attn", "price_attn", "text_attn"}


@pytest.mark.parametrize("name", NAMES)
def test_format_version_1_is_still_read(name: str) -> None:
    path, value, expected = stored(name)
    edge = Edge(path)
    assert edge.bundle.manifest["format_version"] == 1
    assert path.stat().st_size < 100_000
    assert edge.name == name
    assert edge.report["agreement"] == {"same": 64, "of": 64}
    assert_same(edge.predict(value), expected)


@pytest.mark.parametrize("name", NAMES_2)
def test_format_version_2_is_read(name: str) -> None:
    edge = Edge(STORED_2 / f"{name}.tflite")
    assert edge.bundle.manifest["format_version"] == 2
    described = edge.bundle.signatures["serving_default"]
    for side, found in (("inputs", edge.inputs), ("outputs", edge.outputs)):
        assert described[side] == {k: {"shape": list(shape), "dtype": str(t)} for k, (shape, t) in found.items()}


@pytest.mark.parametrize("name", NAMES_2)
def test_what_a_person_gives_becomes_the_golden_answer(name: str) -> None:
    edge = Edge(STORED_2 / f"{name}.tflite")
    for case in read_golden(edge.bundle):
        assert case.request is not None
        assert case.answer is not None
        request = edge.preprocessor.request(case.request.value())
        assert request.keys() == case.inputs.keys()
        for key, array in request.items():
            np.testing.assert_array_equal(array, case.inputs[key])
        answer = edge.predict(case.request.value())
        others = {key: value for key, value in answer.to_dict().items() if key not in case.answer}
        assert set(others) <= {"attention", "step_weights"}
        assert_same(answer, case.answer | {key: array.tolist() for key, array in others.items()})


@pytest.mark.parametrize("path", [*STORED.glob("*.tflite"), *STORED_2.glob("*.tflite")], ids=str)
def test_golden_answers_are_reproduced(path: Path) -> None:
    bundle = read_bundle(path)
    graph = Graph(bundle.flatbuffer)
    cases = read_golden(bundle)
    assert len(cases) >= 3
    for case in cases:
        for key, array in graph.run(case.inputs).items():
            assert array.dtype == case.outputs[key].dtype
            np.testing.assert_allclose(array, case.outputs[key], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_stays_a_tflite_file_for_any_other_runtime(name: str) -> None:
    data = (STORED / f"{name}.tflite").read_bytes()
    whole, alone = Graph(data), Graph(read_bundle(STORED / f"{name}.tflite").flatbuffer)
    inputs = read_golden(read_bundle(STORED / f"{name}.tflite"))[0].inputs
    for key, array in whole.run(inputs).items():
        np.testing.assert_array_equal(array, alone.run(inputs)[key])


def test_the_newer_runtime_reads_the_whole_file_too() -> None:
    """`CompiledModel` is what libLiteRt gives to C, Kotlin and Swift."""
    path = STORED / "text_attn.tflite"
    case = read_golden(read_bundle(path))[0]
    model = CompiledModel.from_file(str(path))
    given, answers = model.create_input_buffers(0), model.create_output_buffers(0)
    given[0].write(case.inputs["tokens"].ravel())
    model.run_by_index(0, given, answers)
    for name, buffer in zip(model.get_signature_list()["serving_default"]["outputs"], answers, strict=True):
        expected = case.outputs[name].ravel()
        np.testing.assert_allclose(buffer.read(expected.size, np.float32), expected, atol=1e-5)


def test_answers_where_frameworks_cannot_be_imported(tmp_path: Path) -> None:
    shutil.copytree(STORED, tmp_path / "stored")
    code = """
import sys
from zoo.export._edge_worker import Blocker
sys.meta_path.insert(0, Blocker())
for name in ("tensorflow", "keras", "jax"):
    try:
        __import__(name)
    except ImportError:
        continue
    sys.exit(name + " was imported")
import json
import numpy as np
from zoo.export.runtime import Edge
for path in sys.argv[1:]:
    value = json.load(open(path.replace(".tflite", ".expected.json")))["input"]
    print(Edge(path).predict(np.array(value) if isinstance(value, list) else value))
"""
    paths = [str(tmp_path / "stored" / f"{name}.tflite") for name in NAMES]
    done = subprocess.run([sys.executable, "-P", "-c", code, *paths], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == len(NAMES)


def test_importing_the_runtime_imports_no_framework() -> None:
    code = "import sys, zoo.export.runtime; print([n for n in ('keras', 'tensorflow', 'jax') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("module", "allowed"),
    [
        ("runtime", {"zoo", "zoo.preprocess", "zoo.errors", "zoo.results", "zoo.export", "numpy"}),
        ("structure", {"zoo.preprocess", "zoo.errors", "zoo.export"}),
        ("bundle", {"zoo", "zoo.errors", "zoo.files"}),
    ],
)
def test_what_it_imports(repository: Path, module: str, allowed: set[str]) -> None:
    tree = ast.parse((repository / "export" / f"{module}.py").read_text())
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    # The reader's own modules import no more than these do.
    own = {"zoo.export.bundle", "zoo.export.structure", "zoo.export._tables", "zoo.export._operators"}
    names = {"zoo.export" if name in own else name for name in names}
    names = {"zoo.preprocess" if name.startswith("zoo.preprocess.") else name for name in names}
    assert {name for name in names if name.partition(".")[0] not in sys.stdlib_module_names} <= allowed


def test_the_folder_cannot_be_imported_by_another_name(repository: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(repository)!r}); import export"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "ImportError: This folder is the package 'zoo.export'" in done.stderr


def test_wrong_arrays_are_refused() -> None:
    graph = Graph(read_bundle(STORED / "price_attn.tflite").flatbuffer, where="price.tflite")
    window = np.ones((1, 12, 5), np.float32)
    for bad, says in (
        ({}, "takes the inputs window"),
        ({"window": window, "image": window}, "takes the inputs window"),
        ({"window": window[:, 1:]}, r"float32 \(1, 11, 5\)"),
        ({"window": window.astype(np.float64)}, "float64"),
        ({"window": window.tolist()}, "is list"),
    ):
        with pytest.raises(DataError, match=says):
            graph.run(bad)
    assert graph.run({"window": window})["mean"].shape == (1, 3)


def test_outputs_belong_to_the_caller() -> None:
    inputs = read_golden(read_bundle(STORED / "price_attn.tflite"))[0].inputs
    graph = Graph(read_bundle(STORED / "price_attn.tflite").flatbuffer)
    first = graph.run(inputs)
    kept = {name: array.copy() for name, array in first.items()}
    graph.run({"window": inputs["window"] * 2})
    for name, array in first.items():
        np.testing.assert_array_equal(array, kept[name])
        array[...] = 0


def test_threads_take_turns() -> None:
    path, value, expected = stored("price_attn")
    edge, problems = Edge(path, num_threads=2), []

    def work() -> None:
        try:
            for _ in range(20):
                assert_same(edge.predict(value), expected)
        except Exception as error:  # handed to the main thread
            problems.append(error)

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not problems


def test_a_model_that_litert_cannot_load(tmp_path: Path) -> None:
    good = read_bundle(STORED / "price_attn.tflite")
    path = tmp_path / "model.tflite"
    sides: dict[str, Any] = {"inputs": {}, "outputs": {}}
    about: dict[str, Any] = {"name": "price_attn", "task": "forecasting", "quantize": "float32"}
    about["signatures"] = {"serving_default": sides}
    nothing = b"\x1c\x00\x00\x00TFL3" + bytes(64)
    write_bundle(path, nothing, good.entries, **about)
    with pytest.raises(ModelFileError, match="damaged") as caught:
        Edge(path)
    assert "\n" not in str(caught.value)
    with pytest.raises(ModelFileError, match="LiteRT cannot load") as caught:
        Graph(nothing)
    assert "\n" not in str(caught.value)
    path.write_bytes(pack_bundle(good.flatbuffer, {}, **about))
    with pytest.raises(ModelFileError, match="preprocessor is missing"):
        Edge(path)
