"""How far two answers are apart, and what a person sees of an example: every task by hand."""

from __future__ import annotations

import numpy as np
import pytest

from zoo.registry import architecture, list_models
from zoo.tasks import Requests, get_task, task_names
from zoo.tasks.captioning import CaptionTruth, edit_distance


def test_edit_distance() -> None:
    for left, right, edits in (
        ("", "", 0),
        ("", "ab", 2),
        ("kitten", "sitting", 3),
        ("abc", "bcd", 2),
        ("ab", "ba", 2),
    ):
        assert edit_distance(left, right) == edit_distance(right, left) == edits
    assert edit_distance([7, 8, 9], [7, 9]) == 1


def test_captions_differ_by_tokens_then_by_score() -> None:
    left = {"tokens": [[4, 5, 6], [4, 5, 9], [4, 0, 0]], "length": [3, 2, 1], "score": [-0.5, -0.5, -0.5]}
    right = {"tokens": [[4, 6, 0], [4, 5, 8], [4, 0, 0]], "length": [2, 2, 1], "score": [-0.5, -0.75, -9.0]}
    expected, actual = ({name: np.array(value) for name, value in side.items()} for side in (left, right))
    got = get_task("captioning").difference(expected, actual)
    np.testing.assert_allclose(got, [1.0, 0.25, 0.999])  # padding does not count; a score alone stays below one token


def test_classes_differ_by_answer_then_by_probability() -> None:
    expected = {"probabilities": np.float32([[0.5, 0.3, 0.2], [1, 0, 0], [0.5, 0.48, 0.02]])}
    actual = {"probabilities": np.float32([[0.45, 0.25, 0.3], [1, 0, 0], [0.48, 0.5, 0.02]])}
    for name in ("text_classification", "image_classification"):
        np.testing.assert_allclose(get_task(name).difference(expected, actual), [0.1, 0, 1.02], atol=1e-7)


def test_forecasts_differ_relative_to_their_size() -> None:
    expected = {"mean": np.float32([[100, 200], [1, 1]]), "quantiles": np.float32([[[90], [180]], [[1], [2]]])}
    actual = {name: values.copy() for name, values in expected.items()}
    actual["mean"][0, 0] += 1
    actual["quantiles"][0, 1, 0] -= 3
    np.testing.assert_allclose(get_task("forecasting").difference(expected, actual), [3 / 200, 0], rtol=1e-6)


@pytest.mark.parametrize("name", task_names())
def test_every_task_says_what_it_measures(name: str) -> None:
    task = get_task(name)
    assert task.difference_help and "\n" not in task.difference_help
    assert task.difference_steps == tuple(sorted(set(task.difference_steps))) and task.difference_steps[0] > 0


@pytest.mark.parametrize("name", task_names())
def test_examples_without_truth(name: str) -> None:
    task, model = get_task(name), architecture(list_models(task=name)[0])
    preprocessor = task.default_preprocessor(model.tiny())
    request = preprocessor.request(preprocessor.made_up()[0].value())
    value, truth = task.example(Requests(request, None, ["one"]), 0, preprocessor)
    assert truth is None
    if name == "text_classification":
        assert value == "[UNK]"  # what nothing but white space becomes
    else:
        array = request["image"][0] if "image" in request else request["window"][0, :, preprocessor.target_index]
        np.testing.assert_array_equal(value, array)


def test_examples_with_truth() -> None:
    task = get_task("captioning")
    images = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)
    truth = CaptionTruth([("a cat",), ("a dog", "a puppy")], ["0", "1"], [False, False])
    preprocessor = task.default_preprocessor(architecture("caption_attn").tiny())
    value, said = task.example(Requests({"image": images}, truth, ["0", "1"]), 1, preprocessor)
    np.testing.assert_array_equal(value, images[1])
    assert said == "a dog / a puppy"
    task = get_task("text_classification")
    classes = task.default_preprocessor(architecture("text_attn").tiny())
    requests = Requests({"tokens": np.zeros((2, 4), np.int32)}, (["good", "bad"], np.array([1, 0])), ["0", "1"])
    assert task.example(requests, 0, classes) == ("good", "class_1")
    task = get_task("image_classification")
    labels = task.default_preprocessor(architecture("image_efficientnet_lite").tiny())
    value, said = task.example(Requests({"image": images}, np.array([2, 0]), ["0", "1"]), 0, labels)
    np.testing.assert_array_equal(value, images[0])
    assert said == "class_2"
    task = get_task("forecasting")
    series = task.default_preprocessor(architecture("price_attn").tiny())
    window = np.random.default_rng(0).normal(size=(2, series.window, len(series.columns))).astype(np.float32)  # type: ignore[attr-defined]
    future = {"future": np.ones((2, 3))}
    known, followed = task.example(Requests({"window": window}, future, ["0", "1"]), 1, series)
    np.testing.assert_array_equal(known, window[1, :, series.target_index])  # type: ignore[attr-defined]
    np.testing.assert_array_equal(followed, [1, 1, 1])
