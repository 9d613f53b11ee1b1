"""Golden examples inside the bundle: requests with the answers this file gave when it was made.

Each holds what a person gives (`request`), what preprocessing makes of it (`inputs`), what the model says (`outputs`)
and what that means (`answer`), so that a client in any language can test each of its steps. Arrays are raw
little-endian bytes in C order.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from zoo.errors import ModelFileError
from zoo.export.bundle import Bundle
from zoo.files import to_json
from zoo.preprocess import Preprocessor, RawInput

if TYPE_CHECKING:
    from zoo.tasks import Requests

INDEX = "golden/golden.json"
SUFFIXES = {"image_rgb": "rgb", "text": "txt", "csv": "csv"}
"""Kinds of raw requests and how their files' names end."""

_DTYPES = {"float32": "<f4", "int32": "<i4", "uint8": "|u1"}
_SPREAD = 3
_WITH_TRAITS = 6
_ARRAYS = ("attention", "step_weights")  # parts of an answer that are outputs as they are

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class GoldenCase:
    """One example.

    Attributes:
        id: Identifier of the example.
        inputs: Serving inputs by name, with the model's exact shapes and dtypes.
        outputs: Serving outputs by name, likewise.
        request: What a person gives; None in a file of format version 1.
        answer: The result's fields, without the arrays that are outputs as they are; None in a file of version 1.
    """

    id: str
    inputs: Arrays
    outputs: Arrays
    request: RawInput | None = None
    answer: dict[str, Any] | None = None


def golden_cases(
    requests: Requests,
    preprocessor: Preprocessor,
    answer: Callable[[Arrays], Mapping[str, np.ndarray]],
    batch_size: int = 1,
) -> list[GoldenCase]:
    """Choose examples and let the file answer them.

    Three are spread over the given ones; of texts up to three more that have what those have not (links, entities,
    emoji, scripts). What the preprocessor invents is added, so that every file holds the hard cases.

    Args:
        requests: Real examples; only those with `raw` are used.
        preprocessor: Turns them into inputs and outputs into answers.
        answer: Maps serving inputs (first axis = example) to serving outputs with an axis of runs in front.
        batch_size: How many inputs the model takes at once; a case is a whole batch of copies.
    """
    raw = {} if requests.raw is None else {requests.ids[i]: requests.raw(i) for i in _chosen(requests)}
    raw |= {f"made up {number}": request for number, request in enumerate(preprocessor.made_up(), start=1)}
    inputs = [
        {name: np.repeat(array, batch_size, axis=0) for name, array in preprocessor.request(request.value()).items()}
        for request in raw.values()
    ]
    outputs = answer({name: np.concatenate([one[name] for one in inputs]) for name in inputs[0]})
    cases = []
    for i, (identifier, request) in enumerate(raw.items()):
        said = {name: array[i] for name, array in outputs.items()}
        one = {name: array if batch_size == 1 else array[:1] for name, array in said.items()}
        result = preprocessor.result({name: array[:1] for name, array in inputs[i].items()}, one).to_dict()
        kept = {name: value for name, value in result.items() if name not in _ARRAYS}
        cases.append(GoldenCase(identifier, inputs[i], said, request, kept))
    return cases


def _chosen(requests: Requests) -> list[int]:
    assert requests.raw is not None
    chosen: list[int] = requests.spread(_SPREAD).tolist()
    if requests.raw(0).kind != "text":
        return chosen
    traits = [_traits(requests.raw(i).content.decode()) for i in range(len(requests))]
    while len(chosen) < _WITH_TRAITS:
        seen = set().union(*(traits[i] for i in chosen))
        best = max(range(len(traits)), key=lambda i: len(traits[i] - seen))
        if traits[best] <= seen:
            break
        chosen.append(best)
    return chosen


def _traits(text: str) -> set[str]:
    """Return what a text asks of a tokeniser."""
    found = {name for name, pattern in _TRAITS.items() if pattern.search(text)}
    if any(unicodedata.category(character) == "So" for character in text):
        found.add("symbol")
    return found


_TRAITS = {
    name: re.compile(pattern)
    for name, pattern in {
        "entity": r"&\w+;|&#\d+;",
        "link": r"https?://|www\.",
        "accent": r"[\u00c0-\u024f]",
        "script": r"[\u0370-\u2fff\ua000-\ufaff]",
        "han": r"[\u3400-\u9fff]",
        "repeated": r"(.)\1\1",
        "capitals": r"[A-Z]{3}",
        "number": r"\d",
        "control": r"[\x00-\x08\x7f-\xa0]",
    }.items()
}


def golden_entries(cases: Sequence[GoldenCase]) -> dict[str, bytes]:
    """Return the bundle entries for some examples."""
    entries: dict[str, bytes] = {}
    index = []
    for number, case in enumerate(cases):
        item: dict[str, Any] = {"id": case.id}
        for kind, arrays in (("inputs", case.inputs), ("outputs", case.outputs)):
            item[kind] = {}
            for name, array in arrays.items():
                file = f"golden/{number}/{kind}/{name}.bin"
                entries[file] = np.asarray(array).astype(_DTYPES[str(array.dtype)]).tobytes()
                item[kind][name] = {"file": file, "dtype": str(array.dtype), "shape": list(array.shape)}
        if case.request is not None:
            # A picture of the model's own size is its input: stored once.
            same = (one["file"] for one in item["inputs"].values() if entries[one["file"]] == case.request.content)
            file = next(same, f"golden/{number}/request.{SUFFIXES[case.request.kind]}")
            entries[file] = case.request.content
            item["request"] = {"kind": case.request.kind, "file": file}
            if case.request.kind == "image_rgb":
                item["request"] |= {"height": case.request.height, "width": case.request.width}
        if case.answer is not None:
            item["answer"] = case.answer
        index.append(item)
    return {
        INDEX: to_json({"signature": "serving_default", "byte_order": "little", "cases": index}).encode(),
        **entries,
    }


def read_golden(bundle: Bundle) -> list[GoldenCase]:
    """Return the golden examples of a bundle as `golden_entries` took them.

    Raises:
        ModelFileError: If they are missing or inconsistent.
    """
    files = dict(bundle.entries)
    try:
        cases = [
            GoldenCase(
                str(case["id"]),
                # The request first: it may be the file of an input of its case.
                request=_request(files, case) if "request" in case else None,
                inputs=_arrays(files, case["inputs"]),
                outputs=_arrays(files, case["outputs"]),
                answer=dict(case["answer"]) if "answer" in case else None,
            )
            for case in bundle.json(INDEX)["cases"]
        ]
        if len({_interface(case) for case in cases}) > 1:
            raise ValueError("they are not all of the same model")
        return cases
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ModelFileError(
            f"The golden examples of the model file are damaged ({error}); export it again."
        ) from error


def _interface(case: GoldenCase) -> tuple[Any, ...]:
    """Return names, shapes and types of a case's arrays."""
    return tuple(
        tuple(sorted((name, array.shape, str(array.dtype)) for name, array in arrays.items()))
        for arrays in (case.inputs, case.outputs)
    )


def _request(files: dict[str, bytes], case: Mapping[str, Any]) -> RawInput:
    item = case["request"]
    shared = any(one["file"] == item["file"] for one in case["inputs"].values())
    content = files[item["file"]] if shared else files.pop(item["file"])
    sides = [item[name] for name in ("height", "width")] if item["kind"] == "image_rgb" else [0, 0]
    request = RawInput(item["kind"], content, *sides)
    request.value()
    return request


def _arrays(files: dict[str, bytes], items: Mapping[str, Any]) -> Arrays:
    """Return arrays by name; every file is used once, so that a small index cannot ask for much memory."""
    result = {}
    for name, item in items.items():
        content, shape = files.pop(item["file"]), tuple(item["shape"])
        if not all(type(size) is int and size > 0 for size in shape):
            raise ValueError(f"{item['file']} has the shape {list(shape)}")
        dtype = np.dtype(_DTYPES[item["dtype"]])
        if math.prod(shape) * dtype.itemsize != len(content):
            raise ValueError(f"{item['file']} does not hold {item['dtype']} {shape}")
        result[name] = np.frombuffer(content, dtype).reshape(shape).astype(item["dtype"])
    return result
