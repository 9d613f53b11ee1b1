from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

import zoo
from zoo.errors import ConfigError
from zoo.models.caption_attn import CaptionAttn


def inputs(config: CaptionAttn.Config, count: int = 2) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    size = config.side
    tokens = rng.integers(4, config.vocab_size, (count, config.max_length)).astype(np.int32)
    tokens[:, 0] = 1
    return {"image": rng.integers(0, 256, (count, size, size, 3)).astype(np.uint8), "tokens": tokens}


def logits(model: keras.Model, batch: dict[str, np.ndarray]) -> np.ndarray:
    return np.asarray(model(batch, training=False)["logits"])


@pytest.fixture(scope="module")
def tiny() -> tuple[keras.Model, CaptionAttn.Config]:
    keras.utils.set_random_seed(0)
    return CaptionAttn.build(CaptionAttn.tiny()), CaptionAttn.tiny()


def test_default_model_fits_its_budget_and_sees_a_grid() -> None:
    model = zoo.build("caption_attn")
    assert model.count_params() <= 1_500_000
    assert model.get_layer("encoder").output_shape == (None, 9, 9, 128)


def test_a_later_token_changes_nothing_before_it(tiny: tuple[keras.Model, CaptionAttn.Config]) -> None:
    model, config = tiny
    batch = inputs(config)
    changed = {**batch, "tokens": batch["tokens"].copy()}
    changed["tokens"][:, 3] = 4 + (changed["tokens"][:, 3] - 3) % (config.vocab_size - 4)
    before, after = logits(model, batch), logits(model, changed)
    np.testing.assert_allclose(before[:, :3], after[:, :3], atol=1e-5)
    assert np.abs(before[:, 3:] - after[:, 3:]).max() > 1e-3


def test_the_picture_matters_and_its_type_does_not(tiny: tuple[keras.Model, CaptionAttn.Config]) -> None:
    model, config = tiny
    batch = inputs(config)
    np.testing.assert_allclose(
        logits(model, batch), logits(model, {**batch, "image": batch["image"].astype(np.float32)}), atol=1e-6
    )
    other = {**batch, "image": batch["image"][::-1]}
    assert np.abs(logits(model, batch) - logits(model, other)).max() > 1e-3


def test_the_encoder_knows_where_things_are(tiny: tuple[keras.Model, CaptionAttn.Config]) -> None:
    """A plain picture gives different vectors in different cells: positions are added."""
    model, config = tiny
    plain = np.full((1, config.side, config.side, 3), 128.0, np.float32)
    cells = np.asarray(model.get_layer("encoder")(plain, training=False))
    assert cells.shape == (1, 3, 3, config.d_model)
    flat = cells.reshape(9, -1)
    distances = np.linalg.norm(flat[:, None] - flat[None], axis=-1)
    assert distances[~np.eye(9, dtype=bool)].min() > 0.1


@pytest.mark.parametrize("attention", ["se", None])
def test_other_encoders_build(attention: str | None) -> None:
    config = CaptionAttn.tiny().replace(attention=attention, stem_stride=1)
    model = CaptionAttn.build(config)
    assert model.get_layer("encoder").output_shape[1:3] == (6, 6)
    assert logits(model, inputs(config)).shape == (2, config.max_length, config.vocab_size)


@pytest.mark.parametrize(
    ("overrides", "field"),
    [
        ({"d_model": 130}, "d_model"),
        ({"num_heads": 3}, "d_model"),
        ({"blocks": (1, 1)}, "blocks"),
        ({"strides": (2,)}, "strides"),
        ({"filters": (), "blocks": ()}, "blocks"),
        ({"vocab_size": 4}, "vocab_size"),
        ({"attention": "none"}, "attention"),
        ({"image_size": 8}, "image_size"),
    ],
)
def test_bad_configurations(overrides: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigError, match=rf"Config\.{field} "):
        CaptionAttn.Config().replace(**overrides)
