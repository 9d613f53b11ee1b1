"""CBAM, residual blocks, inverted ones and the feature extractors against numpy."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

from zoo.layers import (
    CBAM,
    ChannelAttention,
    CNNFeatureExtractor,
    EfficientNetLite,
    InvertedResidual,
    ResidualBlock,
    SpatialAttention,
)
from zoo.layers.efficientnet_lite import IMAGE_SIZES, blocks_of_stages

RNG = np.random.default_rng(0)
MAP = RNG.normal(size=(2, 3, 4, 8)).astype("float32")


def array(tensor: Any) -> np.ndarray:
    return ops.convert_to_numpy(tensor)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize("use_max", [True, False])
def test_channel_attention_by_hand(use_max: bool) -> None:
    layer = ChannelAttention(reduction=2, use_max=use_max)
    y = array(layer(MAP))
    w_0, b_0, w_1, b_1 = layer.get_weights()
    assert w_0.shape == (8, 4)
    pools = [MAP.mean((1, 2)), *([MAP.max((1, 2))] if use_max else [])]
    gate = sigmoid(sum(np.maximum(pool @ w_0 + b_0, 0) @ w_1 + b_1 for pool in pools))
    np.testing.assert_allclose(y, MAP * gate[:, None, None], atol=1e-5)


def test_spatial_attention_by_hand() -> None:
    layer = SpatialAttention(3)
    y = array(layer(MAP))
    kernel, bias = layer.get_weights()
    summary = np.pad(np.stack([MAP.mean(-1), MAP.max(-1)], -1), ((0, 0), (1, 1), (1, 1), (0, 0)))
    for row in range(3):
        for column in range(4):
            patch = summary[:, row : row + 3, column : column + 3]
            gate = sigmoid((patch[..., None] * kernel).sum((1, 2, 3)) + bias)
            np.testing.assert_allclose(y[:, row, column], MAP[:, row, column] * gate, atol=1e-5)


def test_cbam_is_channel_then_spatial() -> None:
    layer = CBAM(reduction=2, kernel_size=3)
    np.testing.assert_allclose(array(layer(MAP)), array(layer.spatial(layer.channel(MAP))), atol=1e-6)


def test_residual_block_with_silent_branch_is_the_activation() -> None:
    layer = ResidualBlock(8, attention=None)
    layer(MAP)
    layer.norm_2.gamma.assign(np.zeros(8))
    np.testing.assert_allclose(array(layer(MAP)), np.maximum(MAP, 0), atol=1e-6)
    assert layer.shortcut is None
    narrower = ResidualBlock(4, stride=2)
    assert tuple(narrower(MAP).shape) == (2, 2, 2, 4) and narrower.shortcut is not None


def norm(x: np.ndarray, layer: Any) -> np.ndarray:
    gamma, beta, mean, variance = layer.get_weights()
    return gamma * (x - mean) / np.sqrt(variance + 1e-3) + beta


@pytest.mark.parametrize("filters", [8, 5])
def test_inverted_residual_by_hand(filters: int) -> None:
    layer = InvertedResidual(filters, expansion=2)
    layer.build(MAP.shape)
    for one in (layer.expand_norm, layer.depthwise_norm, layer.project_norm):
        one.set_weights([RNG.uniform(0.5, 1.5, weight.shape) for weight in one.get_weights()])
    y = array(layer(MAP))
    relu6 = np.clip(norm(MAP @ layer.expand_conv.get_weights()[0][0, 0], layer.expand_norm), 0, 6)
    padded = np.pad(relu6, ((0, 0), (1, 1), (1, 1), (0, 0)))
    kernel = layer.depthwise_conv.get_weights()[0][..., 0]
    h = sum(padded[:, i : i + 3, j : j + 4] * kernel[i, j] for i in range(3) for j in range(3))
    h = np.clip(norm(h, layer.depthwise_norm), 0, 6)
    h = norm(h @ layer.project_conv.get_weights()[0][0, 0], layer.project_norm)
    np.testing.assert_allclose(y, h + MAP if filters == 8 else h, atol=1e-4)


def test_stored_statistics_are_used_in_training_and_stay() -> None:
    layer = EfficientNetLite(width=0.1, depth=0.3, head=8, last=2)
    image = RNG.normal(size=(2, 16, 16, 3)).astype("float32")
    before = array(layer(image))
    statistics = {v.path: array(v) for v in layer.non_trainable_variables}
    np.testing.assert_array_equal(array(layer(image, training=True)), before)
    assert statistics and all(np.array_equal(array(v), statistics[v.path]) for v in layer.non_trainable_variables)


@pytest.mark.parametrize(
    ("variant", "channels", "blocks"), [("lite0", 320, 16), ("lite1", 320, 21), ("lite2", 352, 21)]
)
def test_stages_of_the_published_networks(variant: str, channels: int, blocks: int) -> None:
    assert EfficientNetLite(variant, last=7).channels == channels
    assert sum(blocks_of_stages(variant)) == blocks
    whole = EfficientNetLite(variant)
    side = IMAGE_SIZES[variant]
    assert (whole.channels, whole.stride, whole.input_channels) == (1280, 32, 3)
    shape = EfficientNetLite(variant, last=1).compute_output_spec(ops.zeros((1, side, side, 3))).shape
    assert tuple(shape) == (1, side // 2, side // 2, EfficientNetLite(variant, first=2).input_channels)


def test_a_frozen_part_is_frozen_in_the_model() -> None:
    image = keras.Input((16, 16, 3))
    part = EfficientNetLite(width=0.1, depth=0.3, last=1, trainable=False)
    model = keras.Model(image, keras.layers.Dense(2)(part(image)))
    assert len(model.trainable_variables) == 2
    part.trainable = True
    assert len(model.trainable_variables) == 2 + 9
    part.trainable = False
    assert len(model.trainable_variables) == 2


@pytest.mark.parametrize(
    ("options", "side", "channels"),
    [({}, 5, 128), ({"stem_stride": 1}, 9, 128), ({"d_model": 64}, 5, 64), ({"strides": (1, 2, 2)}, 9, 128)],
)
def test_sides_of_the_feature_map(options: dict[str, Any], side: int, channels: int) -> None:
    layer = CNNFeatureExtractor(**options)
    shape = layer.compute_output_spec(ops.zeros((1, 72, 72, 4))).shape
    assert tuple(shape) == (1, side, side, channels)


def test_small_setting_stays_small() -> None:
    layer = CNNFeatureExtractor(attention="se", d_model=128)
    layer.build((None, 72, 72, 4))
    assert 0.3e6 < layer.count_params() < 0.4e6


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="one value a stage"):
        CNNFeatureExtractor(filters=(8, 16), blocks=(1,))
    with pytest.raises(ValueError, match="'cbam', 'se' or None"):
        ResidualBlock(8, attention="eca")
    with pytest.raises(ValueError, match="reduction"):
        ChannelAttention(0)
    with pytest.raises(ValueError, match="at least 1"):
        InvertedResidual(8, stride=0)
    with pytest.raises(ValueError, match="one of lite0, lite1, lite2, got 'lite4'"):
        EfficientNetLite("lite4")
    for first, last in ((-1, 3), (4, 3), (0, 9)):
        with pytest.raises(ValueError, match="stages from 0 to 8"):
            EfficientNetLite(first=first, last=last)
    with pytest.raises(ValueError, match="takes 24 channels"):
        EfficientNetLite(first=3).build((None, 8, 8, 16))
