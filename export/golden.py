"""Golden examples inside the bundle: requests with the answers this file gave when it was made.

Arrays are raw little-endian bytes in C order, so that a client in any language can test itself at start-up.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from zoo.errors import ModelFileError
from zoo.export.bundle import Bundle
from zoo.files import to_json

INDEX = "golden/golden.json"
_DTYPES = {"float32": "<f4", "int32": "<i4", "uint8": "|u1"}

Arrays = dict[str, np.ndarray]


def golden_entries(cases: Sequence[tuple[str, Mapping[str, np.ndarray], Mapping[str, np.ndarray]]]) -> dict[str, bytes]:
    """Return the bundle entries for some examples.

    Args:
        cases: (identifier, inputs by name, outputs by name), with the model's exact shapes and dtypes.
    """
    entries: dict[str, bytes] = {}
    index = []
    for number, (identifier, inputs, outputs) in enumerate(cases):
        case: dict[str, Any] = {"id": identifier}
        for kind, arrays in (("inputs", inputs), ("outputs", outputs)):
            case[kind] = {}
            for name, array in arrays.items():
                file = f"golden/{number}/{kind}/{name}.bin"
                entries[file] = np.asarray(array).astype(_DTYPES[str(array.dtype)]).tobytes()
                case[kind][name] = {"file": file, "dtype": str(array.dtype), "shape": list(array.shape)}
        index.append(case)
    return {
        INDEX: to_json({"signature": "serving_default", "byte_order": "little", "cases": index}).encode(),
        **entries,
    }


def read_golden(bundle: Bundle) -> list[tuple[str, Arrays, Arrays]]:
    """Return the golden examples of a bundle as `golden_entries` took them.

    Raises:
        ModelFileError: If they are missing or inconsistent.
    """
    try:
        return [
            (str(case["id"]), _arrays(bundle, case["inputs"]), _arrays(bundle, case["outputs"]))
            for case in bundle.json(INDEX)["cases"]
        ]
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ModelFileError(
            f"The golden examples of the model file are damaged ({error}); export it again."
        ) from error


def _arrays(bundle: Bundle, items: Mapping[str, Any]) -> Arrays:
    result = {}
    for name, item in items.items():
        content, shape = bundle.entries[item["file"]], tuple(item["shape"])
        dtype = np.dtype(_DTYPES[item["dtype"]])
        if math.prod(shape) * dtype.itemsize != len(content):
            raise ValueError(f"{item['file']} does not hold {item['dtype']} {shape}")
        result[name] = np.frombuffer(content, dtype).reshape(shape).astype(item["dtype"])
    return result
