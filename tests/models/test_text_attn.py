"""`text_attn`: its two paths, and what its options change."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

from zoo.errors import ConfigError
from zoo.models.text_attn import TextAttention

TINY: Any = TextAttention.tiny()
TOKENS = np.random.default_rng(0).integers(3, 60, (3, TINY.max_length)).astype("int32")


def logits(model: keras.Model, tokens: np.ndarray) -> np.ndarray:
    return np.array(ops.convert_to_numpy(model({"tokens": tokens})["logits"]))


def test_logits_are_the_mean_of_both_paths() -> None:
    model = TextAttention.build(TINY)
    wide = model.get_layer("wide")
    wide.set_weights([np.random.default_rng(i).normal(size=w.shape) for i, w in enumerate(wide.get_weights())])
    paths = keras.Model(model.inputs, [model.get_layer("deep").output, wide.output])
    deep_logits, wide_logits = (ops.convert_to_numpy(path) for path in paths([TOKENS]))
    assert np.abs(wide_logits).max() > 0.1
    np.testing.assert_allclose(logits(model, TOKENS), (deep_logits + wide_logits) / 2, rtol=1e-4, atol=1e-5)


def test_wide_path_starts_silent() -> None:
    model = TextAttention.build(TINY)
    assert not any(weights.any() for weights in model.get_layer("wide").get_weights())


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
