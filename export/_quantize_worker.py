"""The process that quantises: observes a float flatbuffer on samples and writes its int8 variant.

Usage:
    python -P -m zoo.export._quantize_worker IN.tflite SAMPLES.npz OUT.tflite

A crash here (the calibrator is native code) does not take the parent down. Names in `SAMPLES.npz` are
`<signature>/<input>`; the first axis counts examples.
"""

from __future__ import annotations

import math
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
Arrays = dict[str, np.ndarray]
Samples = Mapping[str, Mapping[str, np.ndarray]]

_TABLES = {"CONV_2D": 1, "DEPTHWISE_CONV_2D": 1, "FULLY_CONNECTED": 1, "GATHER": 0, "EMBEDDING_LOOKUP": 1}
"""Operators with weights, and which input these are."""
_LEAST = 1024  # weights, as TensorFlow's converter


class Observer:
    """Runs a float model and keeps the range of every tensor that an operator wrote, bodies of loops included.

    Attributes:
        ranges: Name of the tensor -> lowest and highest value.
    """

    def __init__(self, flatbuffer: bytes) -> None:
        """Load the model; the names of its tensors are unique."""
        from ai_edge_quantizer.calibrator import CalibrationMode, Calibrator
        from ai_edge_quantizer.recipe_manager import RecipeManager
        from ai_edge_quantizer.utils.qsv_utils import min_max_update

        # The only mode that sees into a WHILE. It observes the outputs of operators, nothing else.
        self._calibrator = Calibrator(flatbuffer, 1, CalibrationMode.CALIBRATION_PROFILER_BASED, min_max_update)
        self._recipe = RecipeManager()
        interpreter = self._calibrator._tfl_interpreter
        runners = {key: interpreter.get_signature_runner(key) for key in self._calibrator.get_signature_list()}
        self._inputs: dict[str, dict[str, dict[str, Any]]] = {
            key: runner.get_input_details() for key, runner in runners.items()
        }
        self._outputs = {key: set(runner.get_output_details()) for key, runner in runners.items()}
        self.ranges: Ranges = {}

    def observe(self, samples: Samples) -> None:
        """Run the samples; a signature without any gets what the others return (see `_follow`)."""
        for key, arrays in samples.items():
            if key not in self._inputs:
                raise ExportError(f"the model has no signature '{key}'")
            count = len(next(iter(arrays.values())))
            batch = int(next(iter(self._inputs[key].values()))["shape"][0])
            for start in range(0, count, batch):
                rows = np.arange(start, start + batch).clip(max=count - 1)
                values = {name: array[rows] for name, array in arrays.items()}
                values |= self._run(key, values)
                self._follow({other for other in self._inputs if other not in samples}, values)
        for name, found in self._calibrator.get_model_qsvs().items():
            self.ranges[name] = float(np.min(found["min"])), float(np.max(found["max"]))

    def _run(self, key: str, values: Arrays) -> Arrays:
        request = {}
        for name, item in self._inputs[key].items():
            array = request[name] = np.asarray(values[name]).astype(item["dtype"]).reshape(item["shape"])
            low, high = self.ranges.get(item["name"], (np.inf, -np.inf))
            self.ranges[item["name"]] = min(low, float(array.min())), max(high, float(array.max()))
        self._calibrator.clear_cached_output()
        self._calibrator.calibrate({key: [request]}, self._recipe, cache_output=True)
        (outputs,) = self._calibrator.get_cached_output()
        return dict(outputs)

    def _follow(self, waiting: set[str], values: Arrays) -> None:
        """Run signatures on what others returned, as a client chains `encode` and `step`.

        An input gets the last output of its name, or that of `next_<name>`; a scalar integer without either counts the
        runs, any other integer starts at 1 (the start token), and floats the signature returns itself start at 0. A
        signature that feeds itself runs `length` times. One that lacks an input is not run, and its operators stay
        float.
        """
        while ready := sorted(key for key in waiting if self._can_run(key, values)):
            waiting.remove(ready[0])
            for turn in range(max(1, int(np.max(values.get("length", 1))))):
                inputs = {}
                for name, item in self._inputs[ready[0]].items():
                    first = 0 if item["dtype"] == np.float32 else 1 if len(item["shape"]) else turn
                    inputs[name] = values.get(name, values.get(f"next_{name}", np.full(item["shape"], first)))
                outputs = self._run(ready[0], inputs)
                values |= outputs
                if outputs.keys().isdisjoint(inputs):
                    break

    def _can_run(self, key: str, values: Arrays) -> bool:
        return all(
            item["dtype"] == np.int32
            or (name not in values and name in self._outputs[key])
            or np.size(values.get(name, ())) == math.prod(item["shape"])
            for name, item in self._inputs[key].items()
        )


def complete(model: Model, ranges: Ranges) -> None:
    """Add the ranges of the variables of loops, which are inputs of the loop or outputs of its body."""
    for node, condition, body in model.loops():
        for place, before in enumerate(node.inputs):
            after = body.tensors[body.outputs[place]]
            found = [item for item in (_range_of(model, ranges, before), _range_of(model, ranges, after)) if item]
            if model.is_float(before) and len(found) == 2:
                for graph in (condition, body):
                    name = name_of(graph.tensors[graph.inputs[place]])
                    ranges[name] = (min(low for low, _ in found), max(high for _, high in found))


def _range_of(model: Model, ranges: Ranges, tensor: Any) -> Range | None:
    values = model.constant(tensor)
    if values is not None:
        return float(values.min()), float(values.max())
    return ranges.get(name_of(tensor))


def share_tables(model: Model) -> None:
    """Look embeddings up in the table of the output layer where that is the same one: one int8 table serves both."""
    products = {_content(model, node) for node in model.nodes if node.kind == "FULLY_CONNECTED"}
    for node in model.nodes:
        if node.kind == "GATHER" and len(node.inputs[0].shape) == 2 and _content(model, node) in products - {None}:
            options = node.raw.builtinOptions
            by_row = options is None or not (options.axis or options.batchDims)
            if by_row and model.type_of(node.inputs[1]) == "int32":
                model.look_up(node)


def _content(model: Model, node: Node) -> bytes | None:
    weights = model.constant(node.inputs[_TABLES[node.kind]])
    return None if weights is None else weights.tobytes()


def unite(model: Model, ranges: Ranges) -> None:
    """Give all uses of the same weights one range for what they read and one for what they write.

    Signatures share their layers. With one range there is one int8 layer, and `step` says what the loop says.
    """
    uses: dict[tuple[str, bytes], list[Node]] = {}
    for node in model.nodes:
        if node.kind in _TABLES and (content := _content(model, node)) is not None:
            uses.setdefault((node.kind, content), []).append(node)
    for nodes in uses.values():
        for tensors in zip(*([node.inputs[0], node.outputs[0]] for node in nodes), strict=True):
            names = [name_of(tensor) for tensor in tensors if name_of(tensor) in ranges]
            if names:
                low, high = min(ranges[name][0] for name in names), max(ranges[name][1] for name in names)
                ranges.update(dict.fromkeys(names, (low, high)))


def choose(model: Model, ranges: Ranges) -> tuple[list[Node], list[Node]]:
    """Return the operators to run in int8: those whose ranges come from the samples, and those that find their own.

    Layers with few weights stay float: turning what they read and write into int8 and back takes longer than it saves.
    For the same reason the dense layers of a loop, which works on few rows, find the range of what they read when they
    run, inside the product; and so does every other use of these layers, as in `step`. Tables need no range. Outside
    loops additions to what the others write are int8 too.
    """
    weights = {id(node.raw): _weights(model, node) for node in model.nodes}
    least = min(_LEAST, max(weights.values(), default=0))
    able = [node for node in model.nodes if weights[id(node.raw)] >= max(least, 1)]
    looped = model.in_loops()
    shared = {_content(model, node) for node in able if node.kind == "FULLY_CONNECTED" and node.graph in looped}
    late = [
        node
        for node in able
        if node.kind == "EMBEDDING_LOOKUP" or (node.kind == "FULLY_CONNECTED" and _content(model, node) in shared)
    ]
    own = {id(node.raw) for node in late}
    early = [node for node in able if id(node.raw) not in own and _is_known(model, node, ranges)]
    written = {name_of(tensor) for node in early for tensor in node.outputs}
    for node in model.nodes:
        joins = node.kind == "ADD" and any(name_of(tensor) in written for tensor in node.inputs if tensor is not None)
        if joins and node.graph not in looped and _is_known(model, node, ranges):
            early.append(node)
            written.add(name_of(node.outputs[0]))
    return early, late


def _weights(model: Model, node: Node) -> int:
    """Return how many weights an operator has, 0 if they are not constant, float and finite."""
    if node.kind not in _TABLES or not all(map(model.is_float, node.outputs)):
        return 0
    weights = model.constant(node.inputs[_TABLES[node.kind]])
    return 0 if weights is None or not np.isfinite(weights).all() else weights.size


def _is_known(model: Model, node: Node, ranges: Ranges) -> bool:
    """Return whether the ranges of all that the operator reads and writes are known and finite."""
    tensors = [tensor for tensor in (*node.inputs, *node.outputs) if model.is_float(tensor)]
    found = [_range_of(model, ranges, tensor) for tensor in tensors]
    return all(item is not None and np.isfinite(item).all() for item in found)


def rewrite(model: Model, early: list[Node], late: list[Node], ranges: Ranges) -> bytes:
    """Return the flatbuffer with the operators of `choose` in int8, a scale for each output channel of the weights."""
    from ai_edge_quantizer.qtyping import TFLOperationName
    from ai_edge_quantizer.quantizer import Quantizer

    def scopes(nodes: list[Node]) -> dict[str, str]:
        found: dict[str, list[str]] = {}
        for node in nodes:
            found.setdefault(node.kind, []).append(re.escape("".join(f"{name_of(t)};" for t in node.outputs)))
        return {kind: f"^({'|'.join(names)})$" for kind, names in found.items()}

    quantizer = Quantizer(bytearray(model.pack()))
    for kind, pattern in scopes(early).items():
        quantizer.add_static_config(pattern, TFLOperationName[kind], 8, 8)
    for kind, pattern in scopes(late).items():
        quantizer.add_dynamic_config(pattern, TFLOperationName[kind], 8)
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
    share_tables(model)
    observer = Observer(model.pack())
    observer.observe(given)
    complete(model, observer.ranges)
    unite(model, observer.ranges)
    early, late = choose(model, observer.ranges)
    if not early and not late:
        raise ExportError("no operator of the model can run in int8")
    Path(out).write_bytes(rewrite(model, early, late, observer.ranges))


def main(arguments: list[str]) -> None:
    """Run it; an error is one line on stderr and exit code 1."""
    run_command({"quantize": quantize}, ["quantize", *arguments])


if __name__ == "__main__":
    main(sys.argv[1:])
