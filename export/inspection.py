"""What is inside a bundle, for a person: `zoo inspect FILE`. Needs neither LiteRT nor Keras."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from zoo import preprocess
from zoo.errors import ModelFileError
from zoo.export.bundle import Bundle, read_bundle
from zoo.export.golden import INDEX
from zoo.export.structure import check_bundle

UNITS = {
    "image": "8-bit RGB",
    "length": "tokens of the caption, without its end",
    "score": "mean log-probability of a token, at most 0",
    "attention": "share of every cell of the picture, a map a token",
    "probabilities": "probability of every class",
    "token_weights": "weight of every token, sum 1",
    "window": "rows, oldest first, in the table's own units",
    "mean": "in the target's own unit, a step each",
    "quantiles": "in the target's own unit, a level each",
    "step_weights": "weight of every row, sum 1",
    "tokens": "ids of the vocabulary",
    "token": "id of the vocabulary",
    "next_token": "id of the vocabulary",
    "log_probabilities": "of every token to come next",
    "position": "steps so far",
    "seed": "what is drawn follows from it",
}
"""What the numbers of inputs and outputs are, by their names."""


def inspect_file(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return what is inside a bundle.

    Args:
        path: A `.tflite` file made by `zoo export`.

    Returns:
        Task and architecture; `signatures` with shape, dtype and unit of every input and output; `preprocessing`
        (sizes, vocabulary, classes or columns); `parameters` (values of the constants that hold weights) and
        `constants` (number and bytes by type); `operators` with counts; `training`, `agreement`, `metric` and
        `latency` as recorded when it was made; `licences`; `sizes` in bytes by part, which add up to the file's.

    Raises:
        ModelFileError: If the file cannot be read or trusted.
    """
    bundle = read_bundle(path)
    structure = check_bundle(bundle, preprocess.load(bundle.folder("preprocessor")), os.fspath(path))
    preprocessor = _object(bundle, "preprocessor/preprocessor.json")
    config, report = _object(bundle, "config.json"), _object(bundle, "report.json")
    constants = structure.constants()
    weights = {kind: item for kind, item in constants.items() if kind not in ("int32", "int64", "bool")}
    return {
        "file": os.fspath(path),
        "bytes": os.path.getsize(path),
        "format_version": bundle.manifest["format_version"],
        "made_by": bundle.manifest.get("made_by"),
        "task": bundle.task,
        "architecture": bundle.name,
        "quantize": bundle.quantize,
        "signatures": _with_units(structure.interface()),
        "preprocessing": _preprocessing(preprocessor, bundle),
        "parameters": sum(item["values"] for item in weights.values()),
        "constants": constants,
        "operators": structure.operators(),
        "graphs": len(structure.graphs),
        "training": {
            "trained": config.get("trained"),
            "data": config.get("data"),
            "settings": config.get("train"),
            "model": config.get("config"),
            "versions": config.get("versions"),
        },
        "serving_options": report.get("serving_options"),
        "agreement": report.get("agreement"),
        "metric": report.get("metric"),
        "latency": report.get("latency"),
        "licences": _object(bundle, "licences.json"),
        "golden": len(_list(_object(bundle, INDEX).get("cases"))),
        "sizes": _sizes(bundle, os.path.getsize(path)),
    }


def _object(bundle: Bundle, name: str) -> dict[str, Any]:
    """Return a JSON entry that must be an object; one that is missing is empty."""
    value = bundle.json(name) if name in bundle.entries else {}
    if not isinstance(value, dict):
        raise ModelFileError(f"The entry '{name}' of the model file is not a JSON object; export it again.")
    return value


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _with_units(signatures: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: {
            side: {name: {**tensor, "unit": UNITS.get(name, "")} for name, tensor in tensors.items()}
            for side, tensors in sides.items()
        }
        for key, sides in signatures.items()
    }


def _preprocessing(description: Mapping[str, Any], bundle: Bundle) -> dict[str, Any]:
    found = {key: value for key, value in description.items() if key not in ("kind", "format_version", "ids")}
    vocabulary = bundle.entries.get("preprocessor/vocab.txt")
    if vocabulary is not None:
        found["vocabulary"] = len(vocabulary.decode("utf-8").removesuffix("\n").split("\n"))
    return found


def _sizes(bundle: Bundle, total: int) -> dict[str, int]:
    """Return the bytes of every part; names, headers and the directory are "archive"."""
    sizes = {"flatbuffer": len(bundle.flatbuffer), "vocabulary": 0, "golden": 0, "json": 0, "other": 0}
    for name, content in bundle.entries.items():
        part = "golden" if name.startswith("golden/") else "json" if name.endswith(".json") else "other"
        sizes["vocabulary" if name == "preprocessor/vocab.txt" else part] += len(content)
    kept = {part: size for part, size in sizes.items() if size}
    return {**kept, "manifest and archive": total - sum(kept.values())}
