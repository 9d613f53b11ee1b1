"""What `zoo inspect` finds, against LiteRT's own reading of the same files."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from zoo import display
from zoo.errors import ModelFileError
from zoo.export._operators import OPERATORS
from zoo.export.bundle import read_bundle, write_bundle
from zoo.export.inspection import inspect_file
from zoo.export.structure import TYPES, read_structure

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures"
STORED = sorted(FIXTURES.glob("bundle_v?/*.tflite"))
CAPTION = FIXTURES / "bundle_v2" / "caption_attn.tflite"


def numbered(enumeration: type[Any]) -> list[str]:
    found = {value: name for name, value in vars(enumeration).items() if isinstance(value, int)}
    return [found[number] for number in sorted(found)]


def test_names_are_those_of_the_schema() -> None:
    assert list(OPERATORS) == numbered(schema.BuiltinOperator)[: len(OPERATORS)]
    assert [name.upper() for name in TYPES] == numbered(schema.TensorType)[: len(TYPES)]


@pytest.mark.parametrize("path", STORED, ids=str)
def test_finds_what_litert_finds(path: Path) -> None:
    report = inspect_file(path)
    bundle = read_bundle(path)
    interpreter = Interpreter(model_content=bundle.flatbuffer)
    assert sum(report["sizes"].values()) == report["bytes"] == path.stat().st_size
    assert report["sizes"]["flatbuffer"] == len(bundle.flatbuffer)
    for key, sides in report["signatures"].items():
        runner = interpreter.get_signature_runner(key)
        for side, details in (("inputs", runner.get_input_details()), ("outputs", runner.get_output_details())):
            assert {name: (item["shape"], item["dtype"]) for name, item in sides[side].items()} == {
                name: (item["shape"].tolist(), item["dtype"].__name__) for name, item in details.items()
            }
    assert all(item["unit"] for item in report["signatures"]["serving_default"]["outputs"].values())
    model = schema.Model.GetRootAs(bundle.flatbuffer)
    graphs = [model.Subgraphs(index) for index in range(model.SubgraphsLength())]
    assert sum(report["operators"].values()) == sum(graph.OperatorsLength() for graph in graphs)
    sizes = [model.Buffers(index).DataLength() for index in range(model.BuffersLength())]
    used = {graph.Tensors(index).Buffer() for graph in graphs for index in range(graph.TensorsLength())}
    assert sum(item["bytes"] for item in report["constants"].values()) == sum(sizes[index] for index in used)
    assert report["architecture"] == bundle.name
    assert report["golden"] >= 3
    assert report["licences"]["code"]["name"] == "Apache-2.0"
    json.dumps(report)


def test_counts_the_weights() -> None:
    from zoo.registry import architecture
    from zoo.run import Run
    from zoo.tasks import get_task

    config = architecture("price_attn").tiny()
    run = Run(name="price_attn", config=config, preprocessor=get_task("forecasting").default_preprocessor(config))
    found = inspect_file(FIXTURES / "bundle_v2" / "price_attn.tflite")["parameters"]
    # A few constants of the graph (features, levels) are float too; none of the weights is left out.
    assert run.model.count_params() <= found <= 1.2 * run.model.count_params()


def test_needs_no_litert_and_no_keras() -> None:
    code = f"""
import sys
from zoo.export._edge_worker import BLOCKED, Blocker
import zoo.export._edge_worker as worker
worker.BLOCKED = (*BLOCKED, "ai_edge_litert", "tokenizers")
sys.meta_path.insert(0, Blocker())
from zoo.cli import main
main(["inspect", {str(CAPTION)!r}])
"""
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "caption_attn (captioning), float32" in done.stdout
    for word in ("1 x 24 x 24 x 3", "8-bit RGB", "WHILE 1", "Apache-2.0", "flatbuffer"):
        assert word in done.stdout


def test_prints_json(capsys: pytest.CaptureFixture[str]) -> None:
    report = inspect_file(CAPTION)
    display.inspection(report, as_json=True)
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(report))


def test_entries_that_are_not_objects(tmp_path: Path) -> None:
    bundle, path = read_bundle(CAPTION), tmp_path / "model.tflite"
    about = {key: bundle.manifest[key] for key in ("name", "task", "quantize", "signatures")}
    write_bundle(path, bundle.flatbuffer, {**bundle.entries, "config.json": b"[]"}, **about)
    with pytest.raises(ModelFileError, match="'config.json'"):
        inspect_file(path)


def test_a_model_that_does_not_fit_its_tables() -> None:
    good = read_bundle(CAPTION).flatbuffer
    read_structure(good, "model.tflite")
    refused = 0
    for cut in range(8, len(good), len(good) // 200):
        try:
            read_structure(good[:cut], "model.tflite")
        except ModelFileError as error:
            refused += 1
            assert "model.tflite" in str(error)
    assert refused >= 199


def test_nothing_in_a_file_reaches_the_terminal_as_a_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle, path = read_bundle(CAPTION), tmp_path / "model.tflite"
    about = {key: bundle.manifest[key] for key in ("name", "task", "quantize", "signatures")}
    hostile = json.dumps({"code": {"name": "\x1b[2J\x9b31m", "credit\x1b]0;x\x07": "a\nb"}}).encode()
    write_bundle(path, bundle.flatbuffer, {**bundle.entries, "licences.json": hostile}, **about)
    display.inspection(inspect_file(path), as_json=False)
    printed = capsys.readouterr().out
    assert "\\x1b[2J" in printed
    assert all(line.isprintable() for line in printed.split("\n"))
