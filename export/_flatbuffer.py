"""A TFLite flatbuffer as objects that can be changed, with what the quantiser asks about them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from zoo.export._compact import compact


@dataclass
class Node:
    """One operator of a graph.

    Attributes:
        kind: Name of the built-in operator.
        graph: Index of its sub-graph.
        inputs: Tensors it reads, None for one that is left out.
        outputs: Tensors it writes.
        raw: The schema's object.
    """

    kind: str
    graph: int
    inputs: list[Any]
    outputs: list[Any]
    raw: Any = field(repr=False)


class Model:
    """A flatbuffer as the schema's object tree. Tensors are renamed so that names are unique over all sub-graphs.

    Attributes:
        tree: The object tree.
    """

    def __init__(self, flatbuffer: bytes) -> None:
        from ai_edge_litert import schema_py_generated as schema

        self.tree = schema.ModelT.InitFromPackedBuf(bytearray(flatbuffer), 0)
        self._types = {value: name.lower() for name, value in vars(schema.TensorType).items() if isinstance(value, int)}
        self._names: dict[str, bytes] = {}
        for g, graph in enumerate(self.tree.subgraphs):
            for t, tensor in enumerate(graph.tensors):
                name = f"g{g}t{t}"
                self._names[name], tensor.name = tensor.name or b"", name.encode()
        self._schema = schema
        kinds = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
        for code in self.tree.operatorCodes:
            code.builtinCode = max(code.builtinCode, code.deprecatedBuiltinCode)
        self._kinds = [kinds[code.builtinCode] for code in self.tree.operatorCodes]

    @property
    def nodes(self) -> list[Node]:
        """All operators, in the order in which the sub-graphs run them."""
        return [
            Node(
                self._kinds[operator.opcodeIndex],
                g,
                [None if t < 0 else graph.tensors[t] for t in operator.inputs],
                [graph.tensors[t] for t in operator.outputs],
                operator,
            )
            for g, graph in enumerate(self.tree.subgraphs)
            for operator in graph.operators
        ]

    def type_of(self, tensor: Any) -> str:
        """Return the name of a tensor's type, such as float32."""
        return self._types[tensor.type]

    def is_float(self, tensor: Any) -> bool:
        """Return whether a tensor is float32."""
        return tensor is not None and self.type_of(tensor) == "float32"

    def is_constant(self, tensor: Any) -> bool:
        """Return whether a tensor has content in the file."""
        return tensor is not None and self.tree.buffers[tensor.buffer].data is not None

    def constant(self, tensor: Any) -> np.ndarray | None:
        """Return the values of a constant float32 tensor, else None."""
        if not self.is_float(tensor) or not self.is_constant(tensor):
            return None
        return np.frombuffer(bytes(self.tree.buffers[tensor.buffer].data), np.float32).reshape(tensor.shape)

    def loops(self) -> Iterator[tuple[Node, Any, Any]]:
        """Yield every WHILE with the sub-graphs of its condition and its body."""
        for node in self.nodes:
            if node.kind == "WHILE":
                options = node.raw.builtinOptions
                graphs = self.tree.subgraphs
                yield node, graphs[options.condSubgraphIndex], graphs[options.bodySubgraphIndex]

    def in_loops(self) -> set[int]:
        """Return the indices of the sub-graphs that run inside a loop."""
        return {
            index
            for node in self.nodes
            if node.kind == "WHILE"
            for index in (node.raw.builtinOptions.condSubgraphIndex, node.raw.builtinOptions.bodySubgraphIndex)
        }

    def look_up(self, node: Node) -> None:
        """Turn a GATHER of rows of a constant table into EMBEDDING_LOOKUP, whose int8 table has a scale for each row.

        It takes a vector of indices: others are reshaped before, and the rows after.
        """
        graph = self.tree.subgraphs[node.graph]
        place = next(i for i, operator in enumerate(graph.operators) if operator is node.raw)
        table, indices = node.inputs
        table_index, index = node.raw.inputs
        added = []
        if len(indices.shape) != 1:
            index = self._tensor(node.graph, [int(np.prod(indices.shape))], indices.type)
            added.append(self._reshape(node.graph, node.raw.inputs[1], index))
        rows = self._tensor(node.graph, [int(graph.tensors[index].shape[0]), int(table.shape[1])], table.type)
        lookup = self._operator("EMBEDDING_LOOKUP", [index, table_index], [rows])
        graph.operators[place : place + 1] = [*added, lookup, self._reshape(node.graph, rows, node.raw.outputs[0])]

    def _reshape(self, graph: int, before: int, after: int) -> Any:
        shape = np.asarray(self.tree.subgraphs[graph].tensors[after].shape, np.int32)
        buffer = self._schema.BufferT()
        buffer.data = np.frombuffer(shape.tobytes(), np.uint8)
        self.tree.buffers.append(buffer)
        index = self._tensor(graph, [len(shape)], self._schema.TensorType.INT32, len(self.tree.buffers) - 1)
        operator = self._operator("RESHAPE", [before, index], [after])
        operator.builtinOptionsType = self._schema.BuiltinOptions.ReshapeOptions
        operator.builtinOptions = self._schema.ReshapeOptionsT()
        operator.builtinOptions.newShape = shape
        return operator

    def _tensor(self, graph: int, shape: list[int], kind: int, buffer: int = 0) -> int:
        tensors = self.tree.subgraphs[graph].tensors
        tensor = self._schema.TensorT()
        tensor.shape, tensor.type, tensor.buffer = np.asarray(shape, np.int32), kind, buffer
        tensor.name, tensor.hasRank = f"g{graph}t{len(tensors)}".encode(), True
        self._names[name_of(tensor)] = tensor.name
        tensors.append(tensor)
        return len(tensors) - 1

    def _operator(self, kind: str, inputs: list[int], outputs: list[int]) -> Any:
        if kind not in self._kinds:
            code = self._schema.OperatorCodeT()
            code.builtinCode = code.deprecatedBuiltinCode = getattr(self._schema.BuiltinOperator, kind)
            self.tree.operatorCodes.append(code)
            self._kinds.append(kind)
        operator = self._schema.OperatorT()
        operator.opcodeIndex = self._kinds.index(kind)
        operator.inputs, operator.outputs = np.asarray(inputs, np.int32), np.asarray(outputs, np.int32)
        return operator

    def pack(self) -> bytes:
        """Return the flatbuffer."""
        from ai_edge_litert.tools.flatbuffer_utils import convert_object_to_bytearray

        return bytes(convert_object_to_bytearray(self.tree))

    def finish(self, flatbuffer: bytes) -> bytes:
        """Return a flatbuffer that was made from this one with its first names, its buffers inside, nothing twice."""
        from ai_edge_litert.tools.flatbuffer_utils import convert_object_to_bytearray, read_model_from_bytearray

        tree = read_model_from_bytearray(bytearray(flatbuffer))
        self._mend_outputs(tree)
        for graph in tree.subgraphs:
            for tensor in graph.tensors:
                name, mark, rest = name_of(tensor).partition("_")
                if name in self._names:
                    tensor.name = self._names[name] + (mark + rest).encode()
        return compact(bytes(convert_object_to_bytearray(tree)))

    def _mend_outputs(self, tree: Any) -> None:
        """Let graphs and signatures give what they gave before.

        Where an output is also read by an operator that became int8, the quantiser gives the int8 copy instead: a loop
        would not load, a signature would change its type.
        """
        for before, after in zip(self.tree.subgraphs, tree.subgraphs, strict=True):
            after.outputs = [_same(before.tensors[t], after.tensors) for t in before.outputs]
        for old, new in zip(self.tree.signatureDefs, tree.signatureDefs, strict=True):
            before, after = self.tree.subgraphs[old.subgraphIndex], tree.subgraphs[new.subgraphIndex]
            wanted = {item.name: before.tensors[item.tensorIndex] for item in old.outputs}
            for item in new.outputs:
                item.tensorIndex = _same(wanted[item.name], after.tensors)


def _same(tensor: Any, tensors: list[Any]) -> int:
    """Return where a tensor is, or its copy in the first type."""
    name = name_of(tensor)
    found = [
        index
        for index, other in enumerate(tensors)
        if other.type == tensor.type and name_of(other).partition("_")[0] == name
    ]
    return min(found, key=lambda index: len(tensors[index].name))


def name_of(tensor: Any) -> str:
    """Return a tensor's name."""
    return str(tensor.name.decode())
