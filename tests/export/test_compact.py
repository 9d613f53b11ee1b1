"""The flatbuffer written anew: same answers, the main signature first, constants once and in place."""

from __future__ import annotations

from typing import Any

import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from zoo.export._compact import compact
from zoo.export.saved_model import write_saved_model
from zoo.export.tflite import convert
from zoo.registry import architecture
from zoo.run import Run


@pytest.fixture(scope="module")
def flatbuffers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A captioner, and one with `serving_default` alone."""
    folder = tmp_path_factory.mktemp("compact")
    run = Run.untrained("caption_attn", **architecture("caption_attn").tiny().to_dict())
    serving = run.serving()
    write_saved_model(serving, folder / "all")
    serving.signatures = {}
    write_saved_model(serving, folder / "alone")
    return {name: convert(folder / name) for name in ("all", "alone")}


def parsed(flatbuffer: bytes) -> Any:
    return schema.Model.GetRootAs(flatbuffer)


def constants(flatbuffer: bytes) -> list[Any]:
    model = parsed(flatbuffer)
    buffers = [model.Buffers(i) for i in range(model.BuffersLength())]
    return [buffer for buffer in buffers if buffer.DataLength()]


def test_the_main_signature_comes_first(flatbuffers: dict[str, bytes]) -> None:
    model = parsed(flatbuffers["all"])
    order = [model.SignatureDefs(i) for i in range(model.SignatureDefsLength())]
    assert [(item.SignatureKey(), item.SubgraphIndex()) for item in order] == [
        (b"serving_default", 0),
        (b"encode", 1),
        (b"step", 2),
    ]
    # A runtime that knows no signatures runs sub-graph 0.
    interpreter = Interpreter(model_content=flatbuffers["all"])
    runner = interpreter.get_signature_runner("serving_default")
    assert {item["name"] for item in interpreter.get_output_details()} == {
        item["name"] for item in runner.get_output_details().values()
    }


def test_every_output_is_a_tensor_of_its_own(flatbuffers: dict[str, bytes]) -> None:
    """`CompiledModel` names outputs by their tensors; two names for one would be one."""
    model = parsed(flatbuffers["all"])
    for signature in map(model.SignatureDefs, range(model.SignatureDefsLength())):
        tensors = [signature.Outputs(i).TensorIndex() for i in range(signature.OutputsLength())]
        assert len(set(tensors)) == len(tensors)
        graph = model.Subgraphs(signature.SubgraphIndex())
        assert not any(model.Buffers(graph.Tensors(i).Buffer()).DataLength() for i in tensors)


def test_constants_are_in_the_file_once(flatbuffers: dict[str, bytes]) -> None:
    for flatbuffer in flatbuffers.values():
        found: dict[bytes, set[int]] = {}
        for buffer in constants(flatbuffer):
            found.setdefault(buffer.DataAsNumpy().tobytes(), set()).add(buffer._tab.Vector(buffer._tab.Offset(4)))
        assert all(len(places) == 1 for places in found.values())
        assert all(place % 16 == 0 for places in found.values() for place in places)


def test_further_signatures_store_no_weights_of_their_own(flatbuffers: dict[str, bytes]) -> None:
    size = {
        key: sum(
            {buffer.DataAsNumpy().tobytes(): buffer.DataLength() for buffer in constants(flatbuffers[key])}.values()
        )
        for key in ("all", "alone")
    }
    assert 0 <= size["all"] - size["alone"] < 0.02 * size["alone"]


def test_writing_it_again_changes_nothing(flatbuffers: dict[str, bytes]) -> None:
    for flatbuffer in flatbuffers.values():
        assert compact(flatbuffer) == flatbuffer
