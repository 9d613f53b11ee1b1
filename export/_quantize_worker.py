"""The process that quantises: observes a float flatbuffer on samples and writes its int8 variant.

Usage:
    python -P -m zoo.export._quantize_worker IN.tflite SAMPLES.npz OUT.tflite

A crash here (the calibrator is native code) does not take the parent down. Names in `SAMPLES.npz` are
`<signature>/<input>`; the first axis counts examples.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from zoo.errors import ExportError
from zoo.export._flatbuffer import Model, Node, name_of
from zoo.export._process import read_arrays, run_command

Range = tuple[float, float]
Ranges = dict[str, Range]

_TABLES = {"CONV_2D": 1, "DEPTHWISE_CONV_2D": 1, "FULLY_CONNECTED": 1, "GATHER": 0}
"""Operators with weights, and which input these are."""


def observe(flatbuffer: bytes, samples: Mapping[str, Mapping[str, np.ndarray]]) -> Ranges:
    """Run a float model on samples and return the range of every tensor that an operator wrote, loops included.

    Args:
        flatbuffer: The model; names of tensors are unique.
        samples: Signature -> input -> values, first axis = example.
    """
    from ai_edge_quantizer.calibrator import CalibrationMode, Calibrator
    from ai_edge_quantizer.recipe_manager import RecipeManager
    from ai_edge_quantizer.utils.qsv_utils import min_max_update

    # The only mode that sees into the body of a WHILE; it observes operators' outputs alone.
    calibrator = Calibrator(flatbuffer, 1, CalibrationMode.CALIBRATION_PROFILER_BASED, min_max_update)
    signatures = calibrator._tfl_interpreter._get_full_signature_list()
    missing = sorted(set(samples) - set(signatures))
    if missing:
        raise ExportError(f"the model has no signature '{missing[0]}'")
    for signature, arrays in samples.items():
        runner = calibrator._tfl_interpreter.get_signature_runner(signature)
        shapes = {name: tuple(detail["shape"]) for name, detail in runner.get_input_details().items()}
        count = len(next(iter(arrays.values())))
        requests = [{name: arrays[name][i].reshape(shape) for name, shape in shapes.items()} for i in range(count)]
        calibrator.calibrate({signature: requests}, RecipeManager())
    return {
        name: (float(np.min(found["min"])), float(np.max(found["max"])))
        for name, found in calibrator.get_model_qsvs().items()
    }


def complete(model: Model, ranges: Ranges, samples: Mapping[str, Mapping[str, np.ndarray]]) -> Ranges:
    """Add the ranges of what no operator writes: inputs of the signatures and the variables of loops."""
    ranges = dict(ranges)
    for signature in model.tree.signatureDefs:
        graph = model.tree.subgraphs[signature.subgraphIndex]
        given = samples.get(signature.signatureKey.decode(), {})
        for item in signature.inputs:
            tensor, values = graph.tensors[item.tensorIndex], given.get(item.name.decode())
            if values is not None and model.is_float(tensor):
                ranges[name_of(tensor)] = (float(values.min()), float(values.max()))
    for node, condition, body in model.loops():
        for place, before in enumerate(node.inputs):
            after = body.tensors[body.outputs[place]]
            found = [item for item in (_range_of(model, ranges, before), _range_of(model, ranges, after)) if item]
            if model.is_float(before) and len(found) == 2:
                for graph in (condition, body):
                    name = name_of(graph.tensors[graph.inputs[place]])
                    ranges[name] = (min(low for low, _ in found), max(high for _, high in found))
    return ranges


def _range_of(model: Model, ranges: Ranges, tensor: Any) -> Range | None:
    values = model.constant(tensor)
    if values is not None:
        return float(values.min()), float(values.max())
    return ranges.get(name_of(tensor))


def choose(model: Model, ranges: Ranges) -> list[Node]:
    """Return the operators to run in int8: those with weights, and additions between them outside loops."""
    chosen = [node for node in model.nodes if _has_weights(model, node) and _is_known(model, node, ranges)]
    written = {name_of(tensor) for node in chosen for tensor in node.outputs}
    looped = model.in_loops()
    for node in model.nodes:
        joins = node.kind == "ADD" and any(name_of(tensor) in written for tensor in node.inputs)
        if joins and node.graph not in looped and _is_known(model, node, ranges):
            chosen.append(node)
            written.add(name_of(node.outputs[0]))
    return chosen


def _has_weights(model: Model, node: Node) -> bool:
    if node.kind not in _TABLES or not all(map(model.is_float, node.outputs)):
        return False
    weights = model.constant(node.inputs[_TABLES[node.kind]])
    return weights is not None and bool(np.isfinite(weights).all())


def _is_known(model: Model, node: Node, ranges: Ranges) -> bool:
    """Return whether the ranges of all that the operator reads and writes are known and finite."""
    tensors = [tensor for tensor in (*node.inputs, *node.outputs) if model.is_float(tensor)]
    found = [_range_of(model, ranges, tensor) for tensor in tensors]
    return all(item is not None and np.isfinite(item).all() for item in found)


def rewrite(model: Model, chosen: list[Node], ranges: Ranges) -> bytes:
    """Return the flatbuffer with the chosen operators in int8, weights per channel."""
    from ai_edge_quantizer.qtyping import TFLOperationName
    from ai_edge_quantizer.quantizer import Quantizer

    quantizer = Quantizer(bytearray(model.pack()))
    for kind in sorted({node.kind for node in chosen}):
        scopes = "|".join(re.escape(";".join(map(name_of, n.outputs)) + ";") for n in chosen if n.kind == kind)
        quantizer.add_static_config(f"^({scopes})$", TFLOperationName[kind], 8, 8)
    known = {name: {"min": np.array([low]), "max": np.array([high])} for name, (low, high) in ranges.items()}
    done = quantizer.quantize(known, enable_progress_bar=False, enable_progress_report=False)
    return model.finish(bytes(done.quantized_model))


def quantize(source: str, samples: str, out: str) -> None:
    """Observe, choose, rewrite."""
    given: dict[str, dict[str, np.ndarray]] = {}
    for key, values in read_arrays(samples).items():
        signature, _, name = key.partition("/")
        given.setdefault(signature, {})[name] = values
    model = Model(Path(source).read_bytes())
    ranges = complete(model, observe(model.pack(), given), given)
    chosen = choose(model, ranges)
    if not chosen:
        raise ExportError("no operator of the model can run in int8")
    Path(out).write_bytes(rewrite(model, chosen, ranges))


def main(arguments: list[str]) -> None:
    """Run it; an error is one line on stderr and exit code 1."""
    run_command({"quantize": quantize}, ["quantize", *arguments])


if __name__ == "__main__":
    main(sys.argv[1:])
