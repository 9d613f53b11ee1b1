"""Published weights into the layers of EfficientNet-Lite."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from zoo.errors import ConfigError, ModelFileError
from zoo.preprocess.image import made_up_picture
from zoo.pretrained.index import Weights, find_weights
from zoo.pretrained.sources import read_source
from zoo.pretrained.torch_file import read_state_dict

if TYPE_CHECKING:
    import keras

    from zoo.layers.efficientnet_lite import EfficientNetLite

_TOLERANCE = 1e-3
_NORMS = {"expand": "_bn0", "depthwise": "_bn1", "project": "_bn2"}
_NORM_TENSORS = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
_COUNTER = ".num_batches_tracked"


def load_efficientnet_lite(
    layers: Sequence[EfficientNetLite], weights: str | Weights, *, classifier: keras.layers.Dense | None = None
) -> Weights:
    """Put published weights into a network, or into a part of it.

    Args:
        layers: One or more layers that have different stages; one that is not built yet is built.
        weights: Name of published weights, or an entry of the user's own.
        classifier: The dense layer after global average pooling, or None. Built, `(1280, classes)`.

    Returns:
        The entry, for its licence and preprocessing.

    Raises:
        UnknownNameError: If no weights have that name.
        ConfigError: If the layers are of another network than the weights.
        MissingExtraError: If the package that carries the weights is not installed.
        ModelFileError: If the file is damaged or not the one expected, or its tensors are not those of the network.
    """
    entry = find_weights(weights) if isinstance(weights, str) else weights
    wanted = _wanted(layers, entry, classifier)
    tensors = read_state_dict(read_source(entry.source, entry.sha256), f"'{entry.source}'")
    missing = sorted(wanted.keys() - tensors.keys())
    if missing:
        raise ModelFileError(f"The weights '{entry.name}' lack {missing[0]} ({len(missing)} tensors in all).")
    elsewhere = _elsewhere(layers, classifier)
    for name in tensors:
        if name not in wanted and not elsewhere.match(name) and not name.endswith(_COUNTER):
            raise ModelFileError(f"The weights '{entry.name}' have {name}, which {entry.variant} has not.")
    arrays = {name: _in_keras_order(variable, tensors[name]) for name, variable in wanted.items()}
    for name, variable in wanted.items():
        if arrays[name].shape != tuple(variable.shape):
            raise ModelFileError(
                f"{name} of the weights '{entry.name}' has the shape {tensors[name].shape}, which does not fit "
                f"{variable.path} {tuple(variable.shape)}."
            )
    for name, variable in wanted.items():
        variable.assign(arrays[name])
    return entry


def check_efficientnet_lite(weights: str | Weights) -> float:
    """Load a whole network, let it answer the made-up picture and compare with the index.

    The weights' SHA-256 says that they are the known ones; this, that backend and layers make of them what is known.

    Returns:
        The largest difference from the check values.

    Raises:
        ModelFileError: If the answer is not the known one within 1e-3, or the entry has none.
    """
    import keras

    from zoo.layers.efficientnet_lite import EfficientNetLite

    entry = find_weights(weights) if isinstance(weights, str) else weights
    if entry.check is None:
        raise ModelFileError(f"The weights '{entry.name}' have no known answer to compare with.")
    network = EfficientNetLite(entry.variant, dtype="float32")
    classifier = keras.layers.Dense(entry.classes, dtype="float32")
    classifier.build((None, network.channels))
    load_efficientnet_lite([network], entry, classifier=classifier)
    size, mean, std = entry.preprocessing.image_size, entry.preprocessing.mean, entry.preprocessing.std
    picture = (made_up_picture(size, size)[None].astype(np.float32) - mean) / std
    logits = keras.ops.convert_to_numpy(classifier(keras.ops.mean(network(picture), axis=(1, 2))))[0]
    difference = max(abs(float(logits.max()) - entry.check.logit), abs(float(logits.std()) - entry.check.spread))
    if int(logits.argmax()) != entry.check.top or not difference <= _TOLERANCE:
        raise ModelFileError(
            f"The weights '{entry.name}' answer class {logits.argmax()} with {logits.max():.4f} (spread "
            f"{logits.std():.4f}) where {entry.check} is known; this Keras computes something else."
        )
    return difference


def _wanted(
    layers: Sequence[EfficientNetLite], entry: Weights, classifier: keras.layers.Dense | None
) -> dict[str, keras.Variable]:
    """Return the variables to fill by the names of their tensors."""
    wanted: dict[str, keras.Variable] = {}
    for layer in layers:
        config = layer.get_config()
        if config["variant"] != entry.variant or config["width"] or config["depth"] or config["head"] != 1280:
            raise ConfigError(
                f"The weights '{entry.name}' are of {entry.variant} as published; the layer {layer.name} has the "
                f"variant {config['variant']}, width {config['width']}, depth {config['depth']}, head {config['head']}."
            )
        if not layer.built:
            layer.build((None, None, None, layer.input_channels))
        for part, sublayer in layer.parts().items():
            prefix = _torch_name(part)
            if prefix + ".weight" in wanted:
                raise ConfigError(f"Two of the layers have the stage with {part}; give each stage once.")
            wanted |= {f"{prefix}.{name}": variable for name, variable in _variables(sublayer).items()}
    if classifier is not None:
        wanted |= {"_fc.weight": classifier.kernel, "_fc.bias": classifier.bias}
    return wanted


def _torch_name(part: str) -> str:
    block, _, step = part.rpartition(".")
    if block:
        kind = step.partition("_")[0]
        return f"_blocks.{block.removeprefix('block_')}." + (_NORMS[kind] if step.endswith("norm") else f"_{step}")
    return {"stem_conv": "_conv_stem", "stem_norm": "_bn0", "head_conv": "_conv_head", "head_norm": "_bn1"}[part]


def _variables(layer: Any) -> dict[str, keras.Variable]:
    if hasattr(layer, "moving_mean"):
        return {theirs: getattr(layer, ours) for ours, theirs in _NORM_TENSORS.items()}
    return {"weight": layer.kernel}


def _elsewhere(layers: Sequence[EfficientNetLite], classifier: keras.layers.Dense | None) -> re.Pattern[str]:
    """Return what the names of tensors begin with that belong to stages which no layer has."""
    from zoo.layers.efficientnet_lite import HEAD, STEM, blocks_of_stages

    stages = {stage for layer in layers for stage in range(layer.first, layer.last + 1)}
    have = {number for layer in layers for number in layer.block_numbers}
    every = range(sum(blocks_of_stages(layers[0].variant)))
    prefixes = [rf"_blocks\.{number}\." for number in every if number not in have]
    prefixes += [] if STEM in stages else [r"_conv_stem\.", r"_bn0\."]
    prefixes += [] if HEAD in stages else [r"_conv_head\.", r"_bn1\."]
    prefixes += [] if classifier is not None else [r"_fc\."]
    return re.compile("|".join(prefixes) or r"(?!)")


def _in_keras_order(variable: keras.Variable, tensor: np.ndarray) -> np.ndarray:
    """Return OIHW as HWIO, depthwise (C, 1, k, k) as (k, k, C, 1), and a dense matrix transposed."""
    if tensor.ndim == 4:
        depthwise = variable.shape[-1] == 1 and tensor.shape[1] == 1 and variable.shape[2] == tensor.shape[0]
        return tensor.transpose(2, 3, 0, 1) if depthwise else tensor.transpose(2, 3, 1, 0)
    return tensor.T
