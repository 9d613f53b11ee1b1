"""Positions against the papers' formulas."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from zoo.layers import PositionalEncoding, apply_rotary

RNG = np.random.default_rng(0)


def sinusoids(length: int, dim: int) -> np.ndarray:
    """PE(pos, 2i) = sin(pos / 10000^(2i/dim)), PE(pos, 2i+1) = cos(...), one number at a time."""
    table = np.zeros((length, dim))
    for position in range(length):
        for i in range(dim // 2):
            angle = position / 10000 ** (2 * i / dim)
            table[position, 2 * i : 2 * i + 2] = np.sin(angle), np.cos(angle)
    return table


def test_sinusoidal_by_hand() -> None:
    x = RNG.normal(size=(2, 50, 8)).astype("float32")
    y = ops.convert_to_numpy(PositionalEncoding()(x))
    np.testing.assert_allclose(y - x, np.broadcast_to(sinusoids(50, 8), x.shape), atol=1e-4)


def test_map_by_hand() -> None:
    y = ops.convert_to_numpy(PositionalEncoding("2d")(np.zeros((1, 3, 4, 8), "float32")))[0]
    rows, columns = sinusoids(3, 4), sinusoids(4, 4)
    for row in range(3):
        for column in range(4):
            np.testing.assert_allclose(y[row, column], np.concatenate([rows[row], columns[column]]), atol=1e-6)


def test_learned_map_adds_a_row_and_a_column() -> None:
    layer = PositionalEncoding("learned_2d")
    y = ops.convert_to_numpy(layer(np.zeros((1, 3, 4, 8), "float32")))[0]
    rows, columns = layer.get_weights()
    assert rows.shape == (3, 8) and columns.shape == (4, 8)
    np.testing.assert_allclose(y[2, 1], rows[2] + columns[1], atol=1e-6)


@pytest.mark.parametrize("kind", ["sinusoidal", "learned"])
def test_one_position_at_a_time(kind: str) -> None:
    layer = PositionalEncoding(kind, max_length=7)
    x = RNG.normal(size=(2, 5, 8)).astype("float32")
    whole = ops.convert_to_numpy(layer(x))
    for position in range(5):
        one = ops.convert_to_numpy(layer.at(x[:, position : position + 1], position))
        np.testing.assert_allclose(one[:, 0], whole[:, position], atol=1e-6)


@settings(max_examples=20, deadline=None)
@given(shift=st.integers(0, 500), query=st.integers(0, 60), key=st.integers(0, 60))
def test_rotary_sees_distances_only(shift: int, query: int, key: int) -> None:
    vectors = np.random.default_rng(1).normal(size=(2, 1, 1, 1, 8)).astype("float32")

    def product(at_query: int, at_key: int) -> float:
        rotated = (
            apply_rotary(v, ops.convert_to_tensor([p])) for v, p in zip(vectors, (at_query, at_key), strict=True)
        )
        one, other = (ops.convert_to_numpy(r).ravel() for r in rotated)
        return float(one @ other)

    assert product(query, key) == pytest.approx(product(query + shift, key + shift), abs=2e-3)


def test_rotary_by_hand() -> None:
    x = RNG.normal(size=(1, 2, 3, 4)).astype("float32")
    y = ops.convert_to_numpy(apply_rotary(x, ops.convert_to_tensor([0, 1, 7])))
    np.testing.assert_allclose(y[:, :, 0], x[:, :, 0], atol=1e-6)
    for index, position in enumerate((0, 1, 7)):
        for pair, theta in enumerate((1.0, 0.01)):
            a, b = x[..., index, 2 * pair], x[..., index, 2 * pair + 1]
            cos, sin = np.cos(position * theta), np.sin(position * theta)
            np.testing.assert_allclose(y[..., index, 2 * pair], a * cos - b * sin, atol=1e-5)
            np.testing.assert_allclose(y[..., index, 2 * pair + 1], b * cos + a * sin, atol=1e-5)


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="kind must be one of"):
        PositionalEncoding("cosine")
    with pytest.raises(ValueError, match="rank 4"):
        PositionalEncoding("2d").build((None, 3, 8))
    with pytest.raises(ValueError, match="divisible by 4"):
        PositionalEncoding("2d").build((None, 3, 3, 6))
    with pytest.raises(ValueError, match="known length"):
        PositionalEncoding("learned").build((None, None, 8))
    with pytest.raises(ValueError, match="longer than max_length"):
        PositionalEncoding("learned", max_length=4).build((None, 5, 8))
    with pytest.raises(ValueError, match="even head size"):
        apply_rotary(np.zeros((1, 1, 1, 3), "float32"), np.zeros(1, "int32"))
    with pytest.raises(ValueError, match="no single step"):
        PositionalEncoding("2d").at(np.zeros((1, 1, 8), "float32"), 0)
