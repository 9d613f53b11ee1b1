"""`text_attn`: its two paths, and what its options change."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

from zoo.errors import ConfigError
from zoo.models.text_attn import TextAttention
from zoo.tasks.text_classification import TextExamples

TINY: Any = TextAttention.tiny()
TOKENS = np.random.default_rng(0).integers(3, 60, (3, TINY.max_length)).astype("int32")


def logits(model: keras.Model, tokens: np.ndarray) -> np.ndarray:
    return np.array(ops.convert_to_numpy(model({"tokens": tokens})["logits"]))


def prepared(config: Any = TINY) -> tuple[keras.Model, TextExamples]:
    labels = np.arange(60) % 3
    tokens = np.random.default_rng(1).integers(3, 60, (60, TINY.max_length)).astype("int32")
    tokens[np.arange(60), labels] = 7
    tokens[np.arange(60), labels + 1] = 8
    examples = TextExamples(tokens, labels, 3, config.balance)
    model = TextAttention.build(config)
    TextAttention.prepare(model, config, examples)
    return model, examples


def test_logits_are_the_weighted_mean_of_both_paths() -> None:
    model, examples = prepared(TINY.replace(wide_share=0.25))
    paths = keras.Model(model.inputs, [model.get_layer("deep").output, model.get_layer("wide").output])
    deep_logits, wide_logits = (ops.convert_to_numpy(path) for path in paths([examples.tokens]))
    assert np.abs(wide_logits).max() > 0.01
    expected = 0.75 * deep_logits + 0.25 * wide_logits
    np.testing.assert_allclose(logits(model, examples.tokens), expected, rtol=1e-4, atol=1e-5)


def test_wide_path_is_silent_until_it_is_solved() -> None:
    wide = TextAttention.build(TINY).get_layer("wide")
    assert not ops.convert_to_numpy(wide(TOKENS)).any()


def test_solved_wide_path_knows_the_training_texts() -> None:
    model, examples = prepared(TINY.replace(wide_strength=10.0))
    wide = ops.convert_to_numpy(model.get_layer("wide")(examples.tokens))
    assert np.mean(wide.argmax(1) == examples.labels) > 0.95


def test_training_leaves_the_wide_path_alone() -> None:
    model, examples = prepared()
    before = model.get_layer("wide").get_weights()
    trained = ops.convert_to_numpy(model({"tokens": TOKENS}, training=True)["logits"])
    model.compile("adam", keras.losses.CategoricalCrossentropy(from_logits=True))
    model.fit({"tokens": examples.tokens}, examples.targets, epochs=1, verbose=0)
    for old, new in zip(before, model.get_layer("wide").get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert np.isfinite(trained).all()


def test_stored_configurations_are_still_read() -> None:
    stored = {**TINY.to_dict(), "wide_buckets": 128, "wide_penalty": 1e-4, "path_dropout": 0.5, "conv_widths": [2, 3]}
    del stored["wide_share"]
    config = TextAttention.Config.from_dict(stored)
    assert config.wide_share == 0.5
    model = TextAttention.build(config)
    assert {weight.shape for weight in model.get_layer("wide").weights} == {(60, 3), (128, 3)}
    before = model.get_weights()
    TextAttention.prepare(model, config, None)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("options", [{"wide_ngrams": ()}, {"deep_ngrams": ()}, {"num_layers": 0}, {"d_model": 8}])
def test_parts_can_be_left_out(options: dict[str, Any]) -> None:
    model = TextAttention.build(TINY.replace(**options))
    assert logits(model, TOKENS).shape == (3, TINY.num_classes)


def test_only_training_drops_anything() -> None:
    model = TextAttention.build(TINY)
    np.testing.assert_array_equal(logits(model, TOKENS), logits(model, TOKENS))
    trained = ops.convert_to_numpy(model({"tokens": TOKENS}, training=True)["logits"])
    assert np.abs(trained - logits(model, TOKENS)).max() > 1e-4


def test_order_matters() -> None:
    model = TextAttention.build(TINY)
    swapped = TOKENS.copy()
    swapped[:, [0, 1]] = swapped[:, [1, 0]]
    assert np.abs(logits(model, swapped) - logits(model, TOKENS)).max() > 1e-5


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ConfigError, match=r"d_model is 10; it must be a multiple of num_heads \(4\)"):
        TINY.replace(d_model=10, num_heads=4)


@pytest.mark.parametrize(
    ("field", "value", "wanted"),
    [
        ("wide_ngrams", (1, 3), "1, 2, 3 and so on without a gap"),
        ("wide_rows", 10_000_000, "below 2\\^31 / vocab_size"),
    ],
)
def test_wide_path_must_be_possible(field: str, value: Any, wanted: str) -> None:
    with pytest.raises(ConfigError, match=wanted):
        TextAttention.Config().replace(**{field: value})
