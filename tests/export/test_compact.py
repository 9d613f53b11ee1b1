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
    """A captioner by quantisation, and with `serving_default` alone ("alone")."""
    folder = tmp_path_factory.mktemp("compact")
    run = Run.untrained("caption_attn", **architecture("caption_attn").tiny().to_dict())
    serving = run.serving()
    write_saved_model(serving, folder / "all")
    made = {quantize: convert(folder / "all", quantize) for quantize in ("float32", "dynamic")}
    serving.signatures = {}
    write_saved_model(serving, folder / "alone")
    return {**made, "alone": convert(folder / "alone")}


def parsed(flatbuffer: bytes) -> Any:
    return schema.Model.GetRootAs(flatbuffer)


def constants(flatbuffer: bytes) -> list[Any]:
    model = parsed(flatbuffer)
    buffers = [model.Buffers(i) for i in range(model.BuffersLength())]
    return [buffer for buffer in buffers if buffer.DataLength()]


def test_the_main_signature_comes_first(flatbuffers: dict[str, bytes]) -> None:
    for quantize in ("float32", "dynamic"):
        model = parsed(flatbuffers[quantize])
        order = [model.SignatureDefs(i) for i in range(model.SignatureDefsLength())]
        assert [(item.SignatureKey(), item.SubgraphIndex()) for item in order] == [
            (b"serving_default", 0),
            (b"encode", 1),
            (b"step", 2),
        ]
        # A runtime that knows no signatures runs sub-graph 0.
        interpreter = Interpreter(model_content=flatbuffers[quantize])
        assert {item["name"] for item in interpreter.get_output_details()} == {
            item["name"] for item in interpreter.get_signature_runner("serving_default").get_output_details().values()
        }


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
        for key in ("float32", "alone")
    }
    assert 0 <= size["float32"] - size["alone"] < 0.02 * size["alone"]


def test_writing_it_again_changes_nothing(flatbuffers: dict[str, bytes]) -> None:
    for flatbuffer in flatbuffers.values():
        assert compact(flatbuffer) == flatbuffer
