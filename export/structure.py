"""What a TFLite flatbuffer is made of, read without LiteRT, and checked as far as its tables go.

LiteRT's C++ follows indices and sizes it finds in a file. `read_structure` checks those it can check cheaply, before
the library sees the file: every table lies inside it, every index exists, constants have the bytes their shape asks
for, graphs do not call themselves, and there is nothing our exports never have (data outside the flatbuffer, sparse
tensors, strings, resources). What operators make of their operands is LiteRT's to check.

Fields are numbered as in the schema, tensorflow/compiler/mlir/lite/schema/schema.fbs.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from zoo.errors import ModelFileError
from zoo.export._operators import OPERATORS
from zoo.export._tables import Table
from zoo.export.bundle import SIGNATURE, Bundle
from zoo.preprocess import Preprocessor

_TYPE_NAMES = """
float32 float16 int32 uint8 int64 string bool int16 complex64 int8 float64 complex128 uint64 resource variant uint32
uint16 int4 bfloat16 int2 uint4 float8_e4m3fn float8_e5m2
"""
TYPES = tuple(_TYPE_NAMES.split())
"""Names of the tensor types by number."""

_BITS = {
    "float32": 32, "float16": 16, "int32": 32, "uint8": 8, "int64": 64, "bool": 8, "int16": 16, "complex64": 64,
    "int8": 8, "float64": 64, "complex128": 128, "uint64": 64, "uint32": 32, "uint16": 16, "int4": 4, "bfloat16": 16,
    "int2": 2, "uint4": 4, "float8_e4m3fn": 8, "float8_e5m2": 8,
}  # fmt: skip

MAX_GRAPHS = 1024
MAX_TENSORS = 200_000
MAX_TENSOR_BYTES = 2**30
MAX_RANK = 8

_CUSTOM = 32
_WHILE, _IF, _CALL, _CALL_ONCE = 93, 92, 16, 103  # kinds of options that name other graphs
_OPTIONAL = {"FULLY_CONNECTED": 2, "CONV_2D": 2, "DEPTHWISE_CONV_2D": 2, "CONV_3D": 2, "TRANSPOSE_CONV": 3}
"""Operators that may lack an input (-1), from that place on: the bias. LiteRT reads any other without looking."""
_PARTS = {"SPLIT": 35, "SPLIT_V": 79, "UNPACK": 64}
"""Operators whose options say how many outputs there are, and the kind of these options."""
_GRAPHS_CALLED = {_WHILE: 2, _IF: 2, _CALL: 1, _CALL_ONCE: 1}


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor.

    Attributes:
        dtype: Name of its type (see `TYPES`).
        shape: Its shape.
        static: Whether no dimension is left open.
        buffer: Index of the buffer with its content; 0 is the empty one.
        constant: Whether it has content.
        scales: Number of quantisation scales; 0 if it is not quantised.
    """

    dtype: str
    shape: tuple[int, ...]
    static: bool
    buffer: int
    constant: bool
    scales: int


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator: its name, the tensors it reads (-1: none) and writes, the graphs it runs."""

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    graphs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Graph:
    """One sub-graph."""

    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature: its graph, and the tensor of every input and output by name."""

    graph: int
    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class Structure:
    """A model's graphs, signatures by name, and the bytes of every buffer."""

    graphs: tuple[Graph, ...]
    signatures: dict[str, Signature]
    buffers: tuple[int, ...]

    def operators(self) -> dict[str, int]:
        """Count the operators of all graphs, the bodies of loops included, most used first."""
        counts = Counter(operator.name for graph in self.graphs for operator in graph.operators)
        return dict(counts.most_common())

    def interface(self) -> dict[str, dict[str, dict[str, dict[str, Any]]]]:
        """Return name -> `{"inputs": {name: {"shape", "dtype"}}, "outputs": ...}` of every signature."""
        return {
            key: {"inputs": _described(item.inputs), "outputs": _described(item.outputs)}
            for key, item in self.signatures.items()
        }

    def constants(self) -> dict[str, dict[str, int]]:
        """Return what constants there are, by their type, largest first; `(quantised)` marks those with scales.

        Returns:
            `{type: {"tensors", "values", "bytes"}}`; content that several tensors share is counted once.
        """
        found: dict[str, dict[str, int]] = {}
        seen: set[int] = set()
        for tensor in (tensor for graph in self.graphs for tensor in graph.tensors if tensor.constant):
            kind = f"{tensor.dtype} (quantised)" if tensor.scales else tensor.dtype
            item = found.setdefault(kind, {"tensors": 0, "values": 0, "bytes": 0})
            item["tensors"] += 1
            if tensor.buffer not in seen:
                seen.add(tensor.buffer)
                item["values"] += math.prod(tensor.shape)
                item["bytes"] += self.buffers[tensor.buffer]
        return dict(sorted(found.items(), key=lambda pair: -pair[1]["bytes"]))


def read_structure(flatbuffer: bytes, where: str) -> Structure:
    """Read and check a model; `where` names it in messages.

    Raises:
        ModelFileError: If it is no TFLite model, is inconsistent, or holds what our exports never do.
    """
    try:
        if flatbuffer[4:8] != b"TFL3":
            raise ValueError("it is not a TFLite flatbuffer")
        return _model(Table.root(flatbuffer))
    except (ValueError, IndexError) as error:
        raise ModelFileError(f"The model in '{where}' is damaged or was tampered with: {error}.") from error


def _model(model: Table) -> Structure:
    if model.number(0, "I") != 3:
        raise ValueError("its schema version is not 3")
    if model.length(8, 4) or model.length(9, 4):
        raise ValueError("it has data outside the file")
    buffers = []
    for buffer in model.tables(4, MAX_TENSORS):
        if buffer.number(1, "Q") > 1 or buffer.number(2, "Q") > 1:
            raise ValueError("it has data outside the flatbuffer")
        buffers.append(buffer.length(0, 1))
    if not buffers or buffers[0]:
        raise ValueError("its first buffer is not empty")
    codes = [_code(code) for code in model.tables(1)]
    graphs: list[Graph] = []
    room = MAX_TENSORS
    for item in model.tables(2, MAX_GRAPHS):
        graphs.append(_graph(item, codes, buffers, room))
        room -= len(graphs[-1].tensors) + len(graphs[-1].operators)
    _check_calls(graphs)
    signatures: dict[str, Signature] = {}
    for item in model.tables(7, MAX_GRAPHS):
        key = item.text(2)
        if key in signatures:
            raise ValueError(f"it has two signatures '{key}'")
        index = item.number(4, "I")
        if index >= len(graphs):
            raise ValueError(f"signature '{key}' has no graph")
        sides = (_side(item.tables(side), graphs[index].tensors) for side in (0, 1))
        signatures[key] = Signature(index, *sides)
    return Structure(tuple(graphs), signatures, tuple(buffers))


def _code(code: Table) -> str:
    # Codes below 127 are stored in the old field, for old readers.
    number = max(code.number(0, "b"), code.number(3, "i"))
    if number == _CUSTOM or code.length(1, 1):
        return f"CUSTOM {code.text(1)}".strip()
    return OPERATORS[number] if 0 <= number < len(OPERATORS) else f"OPERATOR_{number}"


def _graph(graph: Table, codes: list[str], buffers: list[int], room: int) -> Graph:
    tensors = tuple(_tensor(item, buffers) for item in graph.tables(0, room))
    operators = tuple(_operator(item, codes, len(tensors)) for item in graph.tables(3, room - len(tensors)))
    for field in (1, 2):
        if not all(0 <= index < len(tensors) for index in graph.numbers(field, "i")):
            raise ValueError("a graph's input or output does not exist")
    written = set(graph.numbers(1, "i")) | {index for index, tensor in enumerate(tensors) if tensor.constant}
    for operator in operators:
        for index in operator.outputs:
            if index in written:
                raise ValueError(f"{operator.name} writes what has a value already")
            written.add(index)
    return Graph(tensors, operators)


def _tensor(tensor: Table, buffers: list[int]) -> Tensor:
    number, buffer = tensor.number(1, "b"), tensor.number(2, "I")
    if not 0 <= number < len(TYPES):
        raise ValueError(f"a tensor has the unknown type {number}")
    dtype, shape = TYPES[number], tensor.numbers(0, "i", MAX_RANK)
    if dtype not in _BITS:
        raise ValueError(f"a tensor is of type {dtype}")
    if buffer >= len(buffers):
        raise ValueError("a tensor's content does not exist")
    if tensor.has(6) or tensor.has(9) or tensor.number(10, "I"):
        raise ValueError("a tensor is sparse or lies outside the file")
    if any(size < 0 for size in shape):
        raise ValueError(f"a tensor has the shape {list(shape)}")
    size = -(-math.prod(shape) * _BITS[dtype] // 8)
    if size > MAX_TENSOR_BYTES:
        raise ValueError(f"a tensor of shape {list(shape)} would take {size} bytes")
    if buffers[buffer] and buffers[buffer] != size:
        raise ValueError(f"a constant of shape {list(shape)} and type {dtype} has {buffers[buffer]} bytes")
    quantised = tensor.table(4)
    scales = 0 if quantised is None else _scales(quantised, shape)
    return Tensor(dtype, shape, -1 not in tensor.numbers(7, "i", MAX_RANK), buffer, buffers[buffer] > 0, scales)


def _scales(quantised: Table, shape: tuple[int, ...]) -> int:
    scales, zeros = quantised.length(2, 4), quantised.length(3, 8)
    if quantised.number(4, "B"):  # block-wise: scales are tensors
        return max(scales, 1)
    along = quantised.number(6, "i")
    if scales > 1 and (not 0 <= along < len(shape) or shape[along] != scales):
        raise ValueError(f"a tensor of shape {list(shape)} has {scales} scales along axis {along}")
    if zeros not in (0, 1, scales):
        raise ValueError(f"a tensor has {scales} scales and {zeros} zero points")
    return scales


def _operator(operator: Table, codes: list[str], tensors: int) -> Operator:
    code = operator.number(0, "I")
    if code >= len(codes):
        raise ValueError("an operator has no code")
    inputs, outputs, between = (operator.numbers(field, "i") for field in (1, 2, 9))
    optional = _OPTIONAL.get(codes[code], len(inputs))
    if any(not (-1 if place >= optional else 0) <= index < tensors for place, index in enumerate(inputs)):
        raise ValueError(f"{codes[code]} reads a tensor that does not exist")
    if not all(0 <= index < tensors for index in (*outputs, *between)):
        raise ValueError(f"{codes[code]} writes a tensor that does not exist")
    if operator.number(6, "Q") or operator.number(7, "Q"):
        raise ValueError("an operator has options outside the flatbuffer")
    kind, options = operator.number(3, "B"), operator.table(4)
    if codes[code] in _PARTS and (
        options is None or kind != _PARTS[codes[code]] or options.number(0, "i") != len(outputs)
    ):
        raise ValueError(f"{codes[code]} has {len(outputs)} outputs, which is not what its options say")
    count = _GRAPHS_CALLED.get(kind, 0)
    if codes[code] in ("WHILE", "IF", "CALL", "CALL_ONCE") and (not count or options is None):
        raise ValueError(f"{codes[code]} does not say what it runs")
    graphs = (
        () if options is None else tuple(options.number(i, "i" if kind in (_WHILE, _IF) else "I") for i in range(count))
    )
    return Operator(codes[code], inputs, outputs, graphs)


def _check_calls(graphs: list[Graph]) -> None:
    """Check that the graphs that operators run exist, and that none runs itself, directly or through others."""
    calls = [{index for operator in graph.operators for index in operator.graphs} for graph in graphs]
    if not all(0 <= index < len(graphs) for called in calls for index in called):
        raise ValueError("an operator runs a graph that does not exist")
    done: set[int] = set()
    while len(done) < len(graphs):
        ready = [i for i, called in enumerate(calls) if i not in done and called <= done]
        if not ready:
            raise ValueError("a graph runs itself")
        done.update(ready)


def _side(items: list[Table], tensors: tuple[Tensor, ...]) -> dict[str, Tensor]:
    side: dict[str, Tensor] = {}
    for item in items:
        name, index = item.text(0), item.number(1, "I")
        if name in side or index >= len(tensors):
            raise ValueError(f"input or output '{name}' occurs twice or does not exist")
        side[name] = tensors[index]
    return side


def _described(side: Mapping[str, Tensor]) -> dict[str, dict[str, Any]]:
    return {name: {"shape": list(tensor.shape), "dtype": tensor.dtype} for name, tensor in side.items()}


def check_bundle(bundle: Bundle, preprocessor: Preprocessor, where: str) -> Structure:
    """Check that the parts of a bundle belong together: model, manifest and preprocessor.

    Args:
        bundle: A bundle whose digests have been compared.
        preprocessor: What was made of its `preprocessor/` entries.
        where: Names it in messages.

    Returns:
        The model's structure.

    Raises:
        ModelFileError: If the model is damaged, or one part does not fit the others.
    """
    structure = read_structure(bundle.flatbuffer, where)
    if bundle.signatures not in ({}, structure.interface()):
        raise ModelFileError(f"'{where}' is damaged: its manifest describes other signatures than its model has.")
    if SIGNATURE not in structure.signatures:
        raise ModelFileError(f"'{where}' has no signature '{SIGNATURE}'; export the model again.")
    if preprocessor.kind != bundle.task:
        raise ModelFileError(
            f"'{where}' is damaged: it is for {bundle.task}, its preprocessor for {preprocessor.kind}."
        )
    preprocessor.check(structure.interface())
    return structure
