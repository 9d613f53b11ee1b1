"""One picture for one answer, from the stored files of format version 1."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from zoo.errors import ZooError
from zoo.explain.answer import explanation_picture
from zoo.export.runtime import Edge
from zoo.preprocess.captioning import CaptionPreprocessor
from zoo.results import Caption, Result

BUNDLES = Path(__file__).resolve().parents[1] / "fixtures" / "bundle_v1"


def _is_drawn(path: Path) -> bool:
    return np.asarray(Image.open(path).convert("L")).std() > 1


def test_text_and_forecast(tmp_path: Path) -> None:
    text, price = (Edge(BUNDLES / f"{name}.tflite") for name in ("text_attn", "price_attn"))
    _, window, features = price.inputs["window"][0]
    walk = 100 * np.exp(np.cumsum(np.random.default_rng(0).normal(0, 0.01, (window, features)), axis=0))
    for edge, value in ((text, "what a lovely day"), (price, walk)):
        path = tmp_path / f"{edge.name}.png"
        explanation_picture(edge.preprocessor, value, edge.predict(value), path)
        assert _is_drawn(path)


def test_caption(tmp_path: Path) -> None:
    preprocessor = CaptionPreprocessor.fit(["a red square"], image_size=(24, 24), vocab_size=30, max_length=8)
    image = np.random.default_rng(0).integers(0, 256, (40, 30, 3)).astype(np.uint8)
    maps = np.full((2, 3, 3), 1 / 9, np.float32)
    caption = Caption("red square", -0.1, ("▁red", "▁square"), maps)
    explanation_picture(preprocessor, image, caption, tmp_path / "caption.png")
    assert _is_drawn(tmp_path / "caption.png")
    with pytest.raises(ZooError, match="no picture for a Result"):
        explanation_picture(preprocessor, image, Result(), tmp_path / "none.png")
