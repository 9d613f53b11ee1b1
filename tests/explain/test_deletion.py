"""Which cells are hidden, and what their pixels become."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.errors import ConfigError, DataError
from zoo.explain.deletion import Deletion, extremes, hide, moved_regions


def test_extremes_by_hand() -> None:
    maps = np.array([[[0.1, 0.4], [0.3, 0.2]], [[0.25, 0.25], [0.25, 0.25]]])
    most, least = extremes(maps, 1)
    assert most.astype(int).tolist() == [[[0, 1], [0, 0]], [[1, 0], [0, 0]]]  # of equal cells the first is the most
    assert least.astype(int).tolist() == [[[1, 0], [0, 0]], [[0, 0], [0, 1]]]
    most, least = extremes(maps, 2)
    assert most[0].astype(int).tolist() == [[0, 1], [1, 0]] and (least == ~most).all()


def test_number_of_cells() -> None:
    assert [Deletion(share=share).cells((5, 5)) for share in (0.01, 0.2, 0.5)] == [1, 5, 12]
    assert Deletion(share=0.3).cells((10, 10)) == 30  # 0.3 x 100 is below 30 in floating point
    with pytest.raises(DataError, match="one cell only"):
        Deletion().cells((1, 1))


@pytest.mark.parametrize("bad", [{"share": 0.6}, {"share": 0.0}, {"fill": "black"}, {"draws": 0}, {"seed": -1}])
def test_bad_settings(bad: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(bad))):
        Deletion().replace(**bad)


@given(
    height=st.integers(1, 6), width=st.integers(2, 6), words=st.integers(1, 4), seed=st.integers(0, 9), data=st.data()
)
def test_moved_regions_keep_their_form(height: int, width: int, words: int, seed: int, data: st.DataObject) -> None:
    cells = data.draw(st.integers(1, max(1, height * width // 2)))
    regions, _ = extremes(np.random.default_rng(seed).random((words, height, width)), cells)
    moved = moved_regions(regions, 5, np.random.default_rng(seed))
    assert moved.shape == (5, height, width) and moved.dtype == bool
    for region in moved:
        shifts = {
            (down, right)
            for one in regions
            for down in range(height)
            for right in range(width)
            if (np.roll(one, (down, right), (0, 1)) == region).all()
        }
        assert shifts - {(0, 0)}
    assert (moved == moved_regions(regions, 5, np.random.default_rng(seed))).all()


def test_hiding_by_hand() -> None:
    image = np.zeros((4, 6, 3), np.uint8)
    image[:2, 3:] = (120, 60, 255)  # the upper right quarter: the mean is a quarter of it
    regions = np.array([[[0, 0], [0, 0]], [[0, 1], [0, 0]], [[1, 0], [0, 1]]], bool)
    none, right, both = hide(image, regions)
    assert (none == image).all()
    mean = (30, 15, 64)  # 63.75 is rounded
    assert (right[:2, 3:] == mean).all() and (right[:2, :3] == 0).all() and (right[2:] == 0).all()
    assert (both[:2, :3] == mean).all() and (both[2:, 3:] == mean).all() and (both[:2, 3:] == image[:2, 3:]).all()


def test_a_blur_leaves_the_colour() -> None:
    image = np.full((40, 40, 3), (200, 30, 30), np.uint8)
    image[::2, ::2] = (220, 50, 50)
    (hidden,) = hide(image, np.array([[[True, False], [False, False]]]), "blur")
    assert np.abs(hidden[:20, :20].astype(int) - (205, 35, 35)).max() <= 4  # the stripes end at the border
    assert (hidden[20:] == image[20:]).all()


@settings(max_examples=40)
@given(
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    grid=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    seed=st.integers(0, 99),
)
def test_a_region_and_its_rest_make_the_whole(size: tuple[int, int], grid: tuple[int, int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (*size, 3)).astype(np.uint8)
    region = rng.random(grid) < 0.5
    part, rest, everything = hide(image, np.stack([region, ~region, np.ones(grid, bool)]))
    mean = np.rint(image.mean((0, 1))).astype(np.uint8)
    assert (everything == mean).all()
    kept = (part == image).all(-1) & (part != mean).any(-1)
    assert (rest[kept] == mean).all()
    assert ((part == image).all(-1) | (rest == image).all(-1)).all()
