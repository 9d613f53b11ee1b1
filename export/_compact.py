"""A flatbuffer written anew: the main signature first, and nothing in it twice.

Converters order signatures by name, so that a runtime without signatures, which runs sub-graph 0, would run another
than `serving_default`. And they store scales, zero points and shapes once for every tensor that has them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from zoo.errors import require
from zoo.export.bundle import SIGNATURE

_ALIGNMENT = 16  # of constants, as the schema demands: kernels read them in place
_REFERENCES = ("subgraph", "Subgraph", "SubgraphIndex")
_IDENTIFIER = b"TFL3"


def compact(flatbuffer: bytes) -> bytes:
    """Return the same model with `serving_default` as sub-graph 0 and signature 0, and every distinct vector once.

    Args:
        flatbuffer: A TFLite model with the signature `serving_default`, made here.
    """
    schema = require("ai_edge_litert.schema_py_generated", extra="edge", purpose="Writing a .tflite file")
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(flatbuffer))
    _put_first(model)
    builder = _builder(len(flatbuffer))
    builder.Finish(model.Pack(builder), _IDENTIFIER)
    return bytes(builder.Output())


def _put_first(model: Any) -> None:
    """Exchange sub-graph 0 with the one of `serving_default`."""
    main = next(item for item in model.signatureDefs if _text(item.signatureKey) == SIGNATURE)
    moved = {0: main.subgraphIndex, main.subgraphIndex: 0}
    model.signatureDefs.sort(key=lambda item: (item is not main, _text(item.signatureKey)))
    model.subgraphs = [model.subgraphs[moved.get(index, index)] for index in range(len(model.subgraphs))]
    for item in model.signatureDefs:
        item.subgraphIndex = moved.get(item.subgraphIndex, item.subgraphIndex)
    for operator in (operator for graph in model.subgraphs for operator in graph.operators):
        for options in (operator.builtinOptions, operator.builtinOptions2):
            for name, value in list(vars(options).items()) if options is not None else ():
                if name.endswith(_REFERENCES) and isinstance(value, int):
                    setattr(options, name, moved.get(value, value))


def _text(name: bytes | str) -> str:
    return name.decode() if isinstance(name, bytes) else name


def _builder(size: int) -> Any:
    """Return a flatbuffer builder that writes a vector once and refers to it from then on."""
    import flatbuffers

    class Builder(flatbuffers.Builder):
        def __init__(self) -> None:
            super().__init__(size + size // 8 + 4096)
            self.written: dict[tuple[str, bytes], int] = {}

        def CreateNumpyVector(self, x: np.ndarray) -> int:
            key = (x.dtype.str, x.tobytes())
            if key not in self.written:
                self.written[key] = super().CreateNumpyVector(x)
            return self.written[key]

        def StartVector(self, elemSize: int, numElems: int, alignment: int) -> int:
            # Bytes are the content of buffers; the generated code would leave them anywhere.
            return int(super().StartVector(elemSize, numElems, _ALIGNMENT if elemSize == 1 else alignment))

    return Builder()
