"""Bundles made to harm, with digests that fit: refused in one line before LiteRT sees the model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flatbuffers
import pytest
from ai_edge_litert import schema_py_generated as schema
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.errors import ModelFileError, ZooError, one_line
from zoo.export.bundle import MANIFEST, append_archive, pack_bundle, read_bundle, unpack_bundle
from zoo.export.golden import read_golden
from zoo.export.inspection import inspect_file
from zoo.export.runtime import Edge
from zoo.export.structure import check_bundle, read_structure
from zoo.preprocess import load

ROOT = Path(__file__).resolve().parent.parent.parent
STORED = ROOT / "tests" / "fixtures" / "bundle_v2"
NAMES = ("caption_attn", "price_attn", "text_attn")


def about(name: str) -> dict[str, Any]:
    """Return what `pack_bundle` wants to know of a stored bundle."""
    manifest = read_bundle(STORED / f"{name}.tflite").manifest
    return {key: manifest[key] for key in ("name", "task", "quantize", "signatures")}


def refused(work: Callable[[], Any]) -> str:
    with pytest.raises(ModelFileError) as caught:
        work()
    message = str(caught.value)
    assert message.isprintable()
    assert 10 < len(message) < 1500
    return message


def rebuilt(change: Callable[[Any], None], name: str = "caption_attn") -> bytes:
    """Return a stored flatbuffer with its object tree changed."""
    tree = schema.ModelT.InitFromPackedBuf(bytearray(read_bundle(STORED / f"{name}.tflite").flatbuffer), 0)
    change(tree)
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(tree.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def operator(model: Any, name: str, graph: int | None = None) -> Any:
    codes = {value: key for key, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
    for item in model.subgraphs if graph is None else [model.subgraphs[graph]]:
        for one in item.operators:
            code = model.operatorCodes[one.opcodeIndex]
            if codes[max(code.builtinCode, code.deprecatedBuiltinCode)] == name:
                return one
    raise AssertionError(f"no {name}")


def constant(model: Any) -> Any:
    return next(
        tensor
        for tensor in model.subgraphs[0].tensors
        if model.buffers[tensor.buffer].data is not None and len(tensor.shape) > 1
    )


def scaled(tensor: Any, scales: int, axis: int) -> None:
    tensor.quantization = schema.QuantizationParametersT()
    tensor.quantization.scale, tensor.quantization.zeroPoint = [1.0] * scales, [0] * scales
    tensor.quantization.quantizedDimension = axis


def put(target: Any, field: str, value: Any) -> None:
    setattr(target, field, value)


CHANGES: dict[str, tuple[Callable[[Any], None], str]] = {
    "version": (lambda m: put(m, "version", 4), "schema version"),
    "input missing": (lambda m: put(operator(m, "ADD"), "inputs", [-1, 0]), "does not exist"),
    "input beyond": (lambda m: put(operator(m, "ADD"), "inputs", [0, 10**6]), "does not exist"),
    "output beyond": (lambda m: put(operator(m, "ADD"), "outputs", [10**6]), "does not exist"),
    "output missing": (lambda m: put(operator(m, "ADD"), "outputs", [-1]), "does not exist"),
    "two writers": (
        lambda m: put(m.subgraphs[0].operators[5], "outputs", m.subgraphs[0].operators[4].outputs),
        "already",
    ),
    "input written": (lambda m: put(m.subgraphs[0].operators[0], "outputs", m.subgraphs[0].inputs), "already"),
    "splits": (lambda m: put(operator(m, "SPLIT").builtinOptions, "numSplits", 255), "options say"),
    "code": (lambda m: put(operator(m, "ADD"), "opcodeIndex", 5000), "no code"),
    "graph input": (lambda m: put(m.subgraphs[0], "inputs", [10**6]), "input or output"),
    "buffer": (lambda m: put(constant(m), "buffer", 10**6), "content does not exist"),
    "type": (lambda m: put(constant(m), "type", 99), "unknown type"),
    "text": (lambda m: put(constant(m), "type", schema.TensorType.STRING), "of type string"),
    "resource": (lambda m: put(constant(m), "type", schema.TensorType.RESOURCE), "of type resource"),
    "constant too small": (lambda m: put(constant(m), "shape", [1000, 1000]), "has"),
    "huge": (lambda m: put(m.subgraphs[0].tensors[0], "shape", [2**16, 2**16, 2**16]), "would take"),
    "negative": (lambda m: put(constant(m), "shape", [-3, -4]), "shape"),
    "rank": (lambda m: put(constant(m), "shape", [1] * 50), "50 items"),
    "scales": (lambda m: scaled(constant(m), 7, 0), "scales"),
    "axis": (lambda m: scaled(constant(m), 2, -1), "scales"),
    "itself": (lambda m: put(operator(m, "WHILE").builtinOptions, "bodySubgraphIndex", 0), "runs itself"),
    "no body": (lambda m: put(operator(m, "WHILE").builtinOptions, "condSubgraphIndex", 77), "graph that does not"),
    "negative body": (lambda m: put(operator(m, "WHILE").builtinOptions, "bodySubgraphIndex", -1), "graph that"),
    "no options": (lambda m: put(operator(m, "WHILE"), "builtinOptions", None), "what it runs"),
    "outside": (lambda m: (put(m.buffers[5], "offset", 4096), put(m.buffers[5], "size", 99)), "outside"),
    "options outside": (lambda m: put(operator(m, "ADD"), "largeCustomOptionsOffset", 4096), "outside"),
    "first buffer": (lambda m: put(m.buffers[0], "data", b"12345678"), "first buffer"),
    "signature graph": (lambda m: put(m.signatureDefs[0], "subgraphIndex", 99), "no graph"),
    "signature tensor": (lambda m: put(m.signatureDefs[0].inputs[0], "tensorIndex", 10**6), "does not exist"),
    "signature twice": (lambda m: m.signatureDefs.append(m.signatureDefs[0]), "two signatures"),
    "name twice": (lambda m: m.signatureDefs[0].inputs.append(m.signatureDefs[0].inputs[0]), "twice"),
    "long name": (lambda m: put(m.signatureDefs[0], "signatureKey", b"x" * 10_000), "10000 bytes"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_models_that_name_what_does_not_exist(name: str) -> None:
    change, says = CHANGES[name]
    assert says in refused(lambda: read_structure(rebuilt(change), "model.tflite"))


def test_the_unchanged_model_is_read() -> None:
    for name in NAMES:
        good = read_bundle(STORED / f"{name}.tflite").flatbuffer
        again = read_structure(rebuilt(lambda model: None, name), "model.tflite")
        assert again.interface() == read_structure(good, "model.tflite").interface()


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_any_change_of_a_model_is_read_or_refused(data: st.DataObject) -> None:
    good = read_bundle(STORED / "text_attn.tflite").flatbuffer
    changed = bytearray(good)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(good) - 4))
        changed[at : at + 4] = data.draw(st.binary(min_size=4, max_size=4))
    try:
        read_structure(bytes(changed), "model.tflite")
    except ModelFileError as error:
        assert str(error).isprintable()


@pytest.mark.parametrize("ours", NAMES)
@pytest.mark.parametrize("theirs", NAMES)
def test_parts_of_different_bundles(ours: str, theirs: str) -> None:
    one, other = (read_bundle(STORED / f"{name}.tflite") for name in (ours, theirs))
    preprocessor = load(other.folder("preprocessor"))
    if ours == theirs:
        check_bundle(one, preprocessor, "model.tflite")
    else:
        refused(lambda: check_bundle(one, preprocessor, "model.tflite"))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("caption_attn", {"image": {"height": 25, "width": 24}}),
        ("text_attn", {"max_length": 99, "head": 9}),
        ("text_attn", {"classes": ["a", "b", "c", "d", "e", "f"]}),
        ("price_attn", {"window": 13}),
        ("price_attn", {"horizon": 99}),
        ("price_attn", {"levels": [0.5]}),
        ("price_attn", {"columns": ["close", "volume"], "price_columns": [0], "log_columns": [1]}),
    ],
)
def test_a_preprocessor_that_does_not_fit_the_model(name: str, change: dict[str, Any], tmp_path: Path) -> None:
    bundle, path = read_bundle(STORED / f"{name}.tflite"), tmp_path / "model.tflite"
    file = "preprocessor/preprocessor.json"
    content = json.dumps(bundle.json(file) | change).encode()
    path.write_bytes(pack_bundle(bundle.flatbuffer, {**bundle.entries, file: content}, **about(name)))
    assert "export it again" in refused(lambda: Edge(path))
    refused(lambda: inspect_file(path))


def test_a_manifest_that_describes_another_model(tmp_path: Path) -> None:
    bundle, path = read_bundle(STORED / "text_attn.tflite"), tmp_path / "model.tflite"
    described = about("text_attn") | {"signatures": about("price_attn")["signatures"]}
    path.write_bytes(pack_bundle(bundle.flatbuffer, bundle.entries, **described))
    assert "other signatures" in refused(lambda: Edge(path))


@pytest.mark.parametrize("key", ["name", "task", "quantize"])
@pytest.mark.parametrize("value", ["", "a b", "../x", "\x1b[2J", "x" * 200, "日本", "a\nb"])
def test_names_that_are_none(key: str, value: str) -> None:
    bundle = read_bundle(STORED / "text_attn.tflite")
    manifest = json.dumps({**bundle.manifest, key: value}).encode()
    data = append_archive(bundle.flatbuffer, {MANIFEST: manifest, **bundle.entries})
    assert "not a name" in refused(lambda: unpack_bundle(data, "model.tflite"))


@pytest.mark.parametrize(
    "change",
    [
        lambda cases: 5000 * cases[:1],
        lambda cases: [*cases, {**cases[0], "inputs": cases[1]["inputs"]}],
        lambda cases: [{**cases[0], "inputs": {}}, *cases[1:]],
        lambda cases: [{**cases[0], "request": {"kind": "program", "file": "golden/0/request.txt"}}],
        lambda cases: [{**cases[0], "request": {"kind": "image_rgb", "file": "golden/0/request.txt"}}],
        lambda cases: [
            {**cases[0], "request": {"kind": "image_rgb", "file": "golden/0/request.txt", "height": -1, "width": 1}}
        ],
        lambda cases: [{**cases[0], "request": {"kind": "text", "file": "../../etc/passwd"}}],
        lambda cases: [{**cases[0], "answer": 5}],
        lambda cases: [{**cases[0], "id": {}, "outputs": []}],
    ],
    ids=range(9),
)
def test_golden_examples_that_ask_for_too_much(change: Callable[[Any], Any], tmp_path: Path) -> None:
    bundle, path = read_bundle(STORED / "text_attn.tflite"), tmp_path / "model.tflite"
    file = "golden/golden.json"
    content = json.dumps({**bundle.json(file), "cases": change(bundle.json(file)["cases"])}).encode()
    path.write_bytes(pack_bundle(bundle.flatbuffer, {**bundle.entries, file: content}, **about("text_attn")))
    assert "golden" in refused(lambda: read_golden(read_bundle(path)))


def test_paths_that_are_none(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.tflite")
    for path in (
        "a\0b.tflite",
        "\ud800.tflite",
        "line\nbreak.tflite",
        tmp_path / "pipe.tflite",
        "/dev/zero",
        "x" * 5000,
    ):
        refused(lambda path=path: read_bundle(path))  # type: ignore[misc]


def test_messages_are_one_printable_line() -> None:
    assert one_line("a\r\n  b\x1b[2Jc\u2028d\ud800 很好") == "a b\\x1b[2Jc d\\ud800 很好"
    assert str(ZooError("x\ny")) == "x y"
    assert len(str(ZooError("x" * 10**6))) < 1500


@pytest.mark.parametrize("cases", [120, pytest.param(3000, marks=pytest.mark.full)])
def test_the_fuzzer_finds_nothing(cases: int, tmp_path: Path) -> None:
    command = [sys.executable, "-P", str(ROOT / "tools" / "fuzz_bundle.py"), "--seed", "4", "--cases", str(cases)]
    done = subprocess.run([*command, "--keep", str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{cases} cases (seed 4): 0 findings" in done.stdout
    assert "answered" in done.stdout
    assert not list(tmp_path.iterdir())
