"""The nearest training picture by features, and the caption in the middle of its captions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.errors import DataError
from zoo.metrics.baselines_captions_features import central_caption, nearest_features, nearest_features_captions


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 40), st.integers(1, 30), st.integers(1, 6), st.integers(1, 50), st.integers(0, 2**32 - 1))
def test_nearest_is_that_of_a_full_table(train_count, test_count, width, chunk, seed):
    rng = np.random.default_rng(seed)
    train, test = rng.normal(size=(train_count, width)), rng.normal(size=(test_count, width))
    train[rng.random(train_count) < 0.1] = 0
    cosine = test @ (train / np.maximum(np.linalg.norm(train, axis=1, keepdims=True), 1e-12)).T
    cosine /= np.linalg.norm(test, axis=1, keepdims=True)
    found = nearest_features(train, test, chunk)
    assert found.dtype == np.int64 and found.shape == (test_count,)
    np.testing.assert_allclose(cosine[np.arange(test_count), found], cosine.max(1), atol=1e-5)


def test_length_does_not_matter_and_the_first_of_equals_is_taken():
    train = np.array([[3.0, 4.0], [1.0, 0.0], [6.0, 8.0], [0.0, 0.0]], np.float16)
    test = np.array([[30.0, 40.0], [0.1, 0.01], [0.0, 0.0]])
    for chunk in (1, 2, 100):
        assert nearest_features(train, test, chunk).tolist() == [0, 1, 0]


def test_features_mapped_from_a_file(tmp_path):
    features = np.random.default_rng(0).normal(size=(50, 7)).astype(np.float16)
    np.save(tmp_path / "features.npy", features)
    mapped = np.load(tmp_path / "features.npy", mmap_mode="r")
    assert nearest_features(mapped, features[::-1], chunk=8).tolist() == list(range(49, -1, -1))


def test_the_central_caption():
    captions = ["a plane", "many planes are parked", "many planes are parked here", "trees near planes that are parked"]
    assert central_caption(captions) == "many planes are parked"
    assert central_caption(["x y", "a b", "A b."]) == "a b"  # given twice
    assert central_caption(["one", "two"]) == "one" and central_caption(["", "..."]) == ""
    assert central_caption(["猫在床上", "狗", "猫在椅上"], "zh") == "猫在床上"
    for wrong in ([], "a b"):
        with pytest.raises(DataError, match="captions to choose from"):
            central_caption(wrong)


def test_captions_of_the_nearest():
    train, test = np.eye(3), np.array([[0.1, 0.9, 0.0], [0.0, 0.2, 0.3], [0.3, 1.0, 0.2]])
    captions = [("never",), ("a lake", "a blue lake", "a blue lake near trees"), ("one", "two")]
    assert nearest_features_captions(train, captions, test) == ["a blue lake", "one", "a blue lake"]
    with pytest.raises(DataError, match="3 training pictures and captions of 2"):
        nearest_features_captions(train, captions[:2], test)


@pytest.mark.parametrize(
    ("train", "test"),
    [
        (np.zeros((0, 2)), np.zeros((1, 2))),
        (np.zeros((1, 2)), np.zeros((0, 2))),
        (np.zeros((1, 2)), np.zeros((1, 3))),
        (np.zeros(2), np.zeros((1, 2))),
        (np.full((1, 2), np.nan), np.zeros((1, 2))),
        (np.zeros((1, 2)), np.full((1, 2), np.inf)),
    ],
)
def test_bad_features_are_named(train, test):
    with pytest.raises(DataError, match="features") as error:
        nearest_features(train, test)
    assert "\n" not in str(error.value)
