"""The text classification task: examples, weights, errors, and a class that one word decides is learned."""

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
from zoo.models.text_attn import TextAttention
from zoo.tasks.text_classification import TASK, TextExamples

TINY = TextAttention.tiny()


def records(*pairs: tuple[str, str]) -> list[dict[str, Any]]:
    return [{"id": str(i), "text": text, "label": label} for i, (text, label) in enumerate(pairs)]


class Data:
    """A dataset of given records."""

    name = "given"
    language = "en"

    def __init__(self, **splits: list[dict[str, Any]]) -> None:
        self._splits = splits

    def split(self, name: str) -> list[dict[str, Any]]:
        return self._splits[name]


SMALL = records(("good film", "pos"), ("bad film", "neg"), ("good plot", "pos"), ("so so", "neutral"))


def test_classes_and_vocabulary_come_from_the_training_split() -> None:
    data: Any = Data(train=SMALL, valid=records(("unseen words", "pos")))
    preprocessor = TASK.preprocessor(TINY, data)
    assert preprocessor.class_names == ("neg", "neutral", "pos")
    assert "unseen" not in preprocessor.vocabulary
    config = TASK.configure(TINY, preprocessor)
    assert config.to_dict()["num_classes"] == 3
    assert config.to_dict()["vocab_size"] == len(preprocessor.vocabulary)


def test_a_single_class_is_refused() -> None:
    data: Any = Data(train=records(("a", "x"), ("b", "x")))
    with pytest.raises(DataError, match=r"has 1 class\(es\)"):
        TASK.preprocessor(TINY, data)


def test_a_label_that_training_does_not_know_is_refused() -> None:
    data: Any = Data(train=SMALL)
    preprocessor = TASK.preprocessor(TINY, data)
    with pytest.raises(DataError, match="Record 0 has the label 'great'"):
        TASK.examples(records(("fine", "great")), preprocessor, TINY)


def test_rare_classes_weigh_more_in_training_only() -> None:
    labels = np.array([0, 0, 0, 1])
    tokens = np.ones((4, 2), np.int32)
    rng = np.random.default_rng(0)
    inputs, targets, weights = TextExamples(tokens, labels, 2, balance=1.0).batch(np.array([0, 3]), rng)
    assert inputs["tokens"].shape == (2, 2)
    np.testing.assert_array_equal(targets, [[1, 0], [0, 1]])
    assert weights is not None
    assert weights[1] == pytest.approx(3 * weights[0])
    assert TextExamples(tokens, labels, 2, balance=1.0).batch(np.array([0]), None)[2] is None
    assert TextExamples(tokens, labels, 2, balance=0.0).batch(np.array([0]), rng)[2] is None
    balanced = TextExamples(tokens, labels, 2, balance=1.0).weights
    assert balanced is not None
    assert balanced.mean() == pytest.approx(1.0)


def test_requests_are_spread_over_the_split() -> None:
    data: Any = Data(train=SMALL)
    preprocessor = TASK.preprocessor(TINY, data)
    requests = TASK.requests(SMALL, preprocessor, limit=2)
    assert requests.ids == ["0", "3"]
    assert requests.truth[0] == ["good film", "so so"]
    np.testing.assert_array_equal(requests.truth[1], [2, 1])


def test_serving_has_no_options() -> None:
    with pytest.raises(ConfigError, match="no serving option 'beam_width'"):
        TASK.serving(build_from_config("text_attn", TINY), beam_width=3)


def test_score_and_agreement() -> None:
    data: Any = Data(train=SMALL)
    preprocessor = TASK.preprocessor(TINY, data)
    requests = TASK.requests(SMALL, preprocessor)
    right = {"probabilities": np.eye(3, dtype=np.float32)[requests.truth[1]]}
    wrong = {"probabilities": np.eye(3, dtype=np.float32)[[0, 0, 0, 0]]}
    metrics = TASK.score(right, requests, preprocessor)
    assert metrics["macro_f1"] == metrics["accuracy"] == 1.0
    assert metrics["macro_f1_se"] == 0.0
    assert 0 < TASK.score(wrong, requests, preprocessor)["macro_f1_se"] < 0.5
    np.testing.assert_array_equal(TASK.agreement(right, wrong), requests.truth[1] == 0)


def test_a_deciding_word_is_learned_and_found(tiny_data: Callable[[str], Path]) -> None:
    data = datasets.load(tiny_data("text_classification"), task="text_classification")
    preprocessor = TASK.preprocessor(TINY, data)
    config = TASK.configure(TINY, preprocessor)
    keras.utils.set_random_seed(0)
    model = build_from_config("text_attn", config)
    model.compile(keras.optimizers.Adam(1e-2), **TASK.compile_arguments(label_smoothing=0.05))
    inputs, targets, _ = (examples := TASK.examples(data.split("train"), preprocessor, config)).batch(
        np.arange(len(data.split("train"))), None
    )
    assert len(examples) == len(targets)
    model.fit(inputs, targets, epochs=12, batch_size=16, verbose=0)
    requests = TASK.requests(data.split("test"), preprocessor)
    outputs = compile_serving(TASK.serving(model))(requests.inputs)
    metrics = TASK.score(outputs, requests, preprocessor)
    baselines = TASK.baselines(data, "test", preprocessor, requests)
    assert set(baselines) == {"majority", "tfidf_logistic", "tfidf_logistic_balanced"}
    assert metrics["macro_f1"] >= 0.9
    assert baselines["majority"]["macro_f1"] < 0.6 < metrics["macro_f1"]
    answer = preprocessor.result(preprocessor.request("the lovely film"), {k: v[:1] for k, v in outputs.items()})
    assert sum(weight for _, weight in answer.token_weights) <= 1.0 + 1e-4
    text, pictures = TASK.samples(outputs, requests, preprocessor)
    assert text.count("\n") >= 3
    assert not pictures


def test_an_empty_text_is_answered() -> None:
    preprocessor = TASK.default_preprocessor(TINY)
    serving = TASK.serving(build_from_config("text_attn", TINY))
    request = preprocessor.request("")
    result = preprocessor.result(request, compile_serving(serving)(request))
    assert sum(result.probabilities.values()) == pytest.approx(1.0, abs=1e-5)
    assert result.token_weights == (("[UNK]", pytest.approx(1.0, abs=1e-5)),)
