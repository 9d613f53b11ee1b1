"""CBAM, residual blocks and the feature extractor against numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from keras import ops

from zoo.layers import CBAM, ChannelAttention, CNNFeatureExtractor, ResidualBlock, SpatialAttention

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
