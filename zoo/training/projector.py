"""The token embeddings of a model for TensorBoard's embedding projector, as tab-separated text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from zoo.files import write_text

MAX_ROWS = 10_000
"""Rows that a browser still turns smoothly; the rest of a vocabulary is left out."""
_NAMES = ("embedding", "embeddings")


def write_embeddings(folder: Path, model: keras.Model, vocabulary: Sequence[str]) -> list[str]:
    """Write the vectors of a vocabulary's first `MAX_ROWS` tokens, their tokens, and the projector's configuration.

    Args:
        folder: A log folder that has an event file: the projector looks in the folders of TensorBoard's runs.
        model: The model; its token embeddings are its weights `embedding` or `embeddings` with one row a token.
        vocabulary: The token of each id.

    Returns:
        The names of the embeddings; nothing is written where there is none.
    """
    names = []
    for weight in model.weights:
        if weight.name not in _NAMES or len(weight.shape) != 2 or weight.shape[0] != len(vocabulary):
            continue
        name = weight.path.replace("/", ".")
        vectors = np.asarray(keras.ops.convert_to_numpy(weight), np.float32)[:MAX_ROWS]
        rows = ["\t".join(f"{value:.6g}" for value in row) for row in vectors]
        write_text(folder / f"{name}.tsv", "\n".join(rows) + "\n")
        names.append(name)
    if names:
        write_text(folder / "metadata.tsv", "\n".join(map(label, vocabulary[:MAX_ROWS])) + "\n")
        write_text(folder / "projector_config.pbtxt", "".join(map(_entry, names)))
    return names


def label(token: str) -> str:
    r"""Return a token as one cell of a table, never empty: what is not printable becomes an escape such as \t."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in token)
    return shown if shown.strip() else repr(shown)


def _entry(name: str) -> str:
    """Return an entry of the configuration, a protocol buffer `ProjectorConfig` as text."""
    fields = {"tensor_name": name, "tensor_path": f"{name}.tsv", "metadata_path": "metadata.tsv"}
    return "embeddings {\n" + "".join(f'  {field}: "{value}"\n' for field, value in fields.items()) + "}\n"
