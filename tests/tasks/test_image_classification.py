"""Image classification by hand: attention is the evidence for the answer, and rare classes weigh more."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from zoo import datasets
from zoo.api import build_from_config
from zoo.errors import ConfigError, DataError
from zoo.execution import compile_serving
from zoo.preprocess.image_classification import ImagePreprocessor
from zoo.registry import architecture
from zoo.run import Run
from zoo.tasks import get_task
from zoo.tasks._image_examples import ImageExamples
from zoo.training.config import TrainConfig
from zoo.training.stages import Stage

NAME = "image_efficientnet_lite"
TASK = get_task("image_classification")
CONFIG: Any = architecture(NAME).tiny()
PICTURES = np.random.default_rng(0).integers(0, 256, (3, 48, 48, 3)).astype(np.uint8)
LABELS = ("a", "b", "c")


class Records(list):  # type: ignore[type-arg]
    """A split in memory."""


def records(labels: str) -> Records:
    rng = np.random.default_rng(1)
    return Records(
        {"id": str(i), "group": str(i), "image": rng.integers(0, 256, (20, 20, 3)).astype(np.uint8), "label": label}
        for i, label in enumerate(labels)
    )


def tiny(**changes: Any) -> keras.Model:
    keras.utils.set_random_seed(0)
    model = build_from_config(NAME, CONFIG.replace(**changes))
    kernel = model.get_layer("classifier").kernel
    kernel.assign(3 * keras.random.normal(kernel.shape, seed=1))
    return model


def test_attention_is_the_evidence_for_the_answer() -> None:
    model = tiny()
    outputs = compile_serving(TASK.serving(model, batch_size=3))({"image": PICTURES})
    network = keras.Model(model.inputs, [model.get_layer("features").output, model.output["logits"]])
    cells, logits = (keras.ops.convert_to_numpy(value).astype(np.float64) for value in network([PICTURES]))
    kernel, bias = (np.asarray(weight, np.float64) for weight in model.get_layer("classifier").get_weights())
    chances = np.exp(logits - logits.max(-1, keepdims=True))
    np.testing.assert_allclose(outputs["probabilities"], chances / chances.sum(-1, keepdims=True), atol=1e-5)
    for picture, cell, logit, attention in zip(PICTURES, cells, logits, outputs["attention"], strict=True):
        best = logit.argmax()
        evidence = cell @ kernel[:, best]
        np.testing.assert_allclose(evidence.mean() + bias[best], logit[best], rtol=1e-4)  # every place's share of it
        positive = np.maximum(evidence, 0) + 1e-6
        np.testing.assert_allclose(attention, positive / positive.sum(), atol=1e-5)
        assert picture.shape == (48, 48, 3) and attention.shape == (2, 2)


def test_attention_where_nothing_speaks_for_the_answer() -> None:
    model = tiny()
    classifier = model.get_layer("classifier")
    classifier.kernel.assign(-np.ones(classifier.kernel.shape))
    attention = compile_serving(TASK.serving(model))({"image": PICTURES[:1]})["attention"]
    np.testing.assert_allclose(attention, 1 / attention.size, rtol=1e-4)


def test_there_are_no_serving_options() -> None:
    with pytest.raises(ConfigError, match="no serving option 'beam_width'"):
        TASK.serving(tiny(), beam_width=3)


def test_rare_classes_weigh_more_in_training_only() -> None:
    split, preprocessor = records("aaaaaabbbc"), ImagePreprocessor(LABELS, image_size=(8, 8))
    indices = np.arange(10)
    inputs, targets, weights = ImageExamples(split, preprocessor, 1.0).batch(indices, np.random.default_rng(0))
    assert inputs["image"].shape == (10, 8, 8, 3) and inputs["image"].dtype == np.uint8
    assert targets.argmax(1).tolist() == [0] * 6 + [1] * 3 + [2] and targets.sum() == 10
    assert weights is not None
    totals = [weights[targets[:, c] == 1].sum() for c in range(3)]
    np.testing.assert_allclose(totals, 10 / 3, rtol=1e-5)
    assert ImageExamples(split, preprocessor, 1.0).batch(indices, None)[2] is None
    assert ImageExamples(split, preprocessor).batch(indices, np.random.default_rng(0))[2] is None


def test_augmentation_is_for_training_and_repeats() -> None:
    examples = ImageExamples(records("abc"), ImagePreprocessor(LABELS, image_size=(16, 16)), augment=1.0)
    still = examples.batch(np.arange(3), None)[0]["image"]
    first, again = (examples.batch(np.arange(3), np.random.default_rng(5))[0]["image"] for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert (first != still).any()
    np.testing.assert_array_equal(examples.batch(np.arange(3), None)[0]["image"], still)


def test_labels_and_pictures_that_cannot_be_used() -> None:
    preprocessor = ImagePreprocessor(LABELS, image_size=(8, 8))
    with pytest.raises(DataError, match="Record 3 has the label 'd'"):
        ImageExamples(records("abcd"), preprocessor)
    split = records("abc")
    split[1]["image"] = b"no picture"
    with pytest.raises(DataError, match="Record '1': "):
        ImageExamples(split, preprocessor)


class OneClass:
    """A dataset with one class."""

    name = "lonely"

    def split(self, name: str) -> Records:
        return records("aaaa")


def test_one_class_is_too_few() -> None:
    with pytest.raises(DataError, match=r"has 1 class\(es\)"):
        TASK.preprocessor(CONFIG, OneClass())  # type: ignore[arg-type]


def test_baselines_know_colours(tiny_data: Callable[[str], Path]) -> None:
    data = datasets.load(tiny_data("image_classification"), task="image_classification")
    preprocessor = TASK.preprocessor(CONFIG, data)
    found = TASK.baselines(data, "test", preprocessor, TASK.requests(data.split("test"), preprocessor))
    assert found["mean_colour"]["accuracy"] == 1.0 and found["nearest_image"]["accuracy"] == 1.0
    assert found["majority"]["accuracy"] == pytest.approx(1 / 3)


def test_without_published_weights_all_of_it_learns_from_pictures(tiny_data: Callable[[str], Path]) -> None:
    data = datasets.load(tiny_data("image_classification"), task="image_classification")
    run = Run(name=NAME, config=CONFIG, preprocessor=TASK.preprocessor(CONFIG, data))
    model = tiny()
    stage = Stage("train", 1, 1e-3)
    splits = data.split("train"), data.split("valid")
    lesson = TASK.lesson(model, run, *splits, stage, TrainConfig(), print)
    assert lesson.model is model and isinstance(lesson.examples, ImageExamples)
    for stage, message in (
        (Stage("finetune", 1, 1e-4, finetune=True), r"start=None\) learns all from the beginning; set train.finetune"),
        (Stage("reward", 1, 1e-4, goal="reward"), "has no stage 'reward'"),
    ):
        with pytest.raises(ConfigError, match=message):
            TASK.check_stage(run, stage, 1)
    published = Run(name=NAME, config=architecture(NAME).Config(), preprocessor=run.preprocessor)
    TASK.check_stage(published, Stage("finetune", 1, 1e-4, finetune=True), 1)
