"""One picture for one answer, from the stored files of format version 1."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import zoo
from zoo.errors import ZooError
from zoo.explain.answer import explain, explanation_picture
from zoo.explain.deletion import DROPS, Deletion
from zoo.export.runtime import Edge
from zoo.files import to_json
from zoo.preprocess.captioning import CaptionPreprocessor
from zoo.results import Caption, ImageClassification, Result

BUNDLES = Path(__file__).resolve().parents[1] / "fixtures" / "bundle_v1"
RUNS = BUNDLES.parent / "run_v1"


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
    preprocessor = CaptionPreprocessor.fit(
        ["a red square"], image_size=(24, 24), vocab_size=30, max_length=8, unit="words"
    )
    image = np.random.default_rng(0).integers(0, 256, (40, 30, 3)).astype(np.uint8)
    maps = np.full((2, 3, 3), 1 / 9, np.float32)
    caption = Caption("red square", -0.1, ("▁red", "▁square"), maps)
    explanation_picture(preprocessor, image, caption, tmp_path / "caption.png")
    assert _is_drawn(tmp_path / "caption.png")
    with pytest.raises(ZooError, match="no picture for a Result"):
        explanation_picture(preprocessor, image, Result(), tmp_path / "none.png")


def test_a_caption_is_measured(tmp_path: Path) -> None:
    run = zoo.load(RUNS / "caption_attn")
    photo = np.random.default_rng(0).integers(0, 256, (300, 224, 3)).astype(np.uint8)
    found = explain(run, photo, tmp_path / "a.png", deletion=Deletion(draws=2))
    assert _is_drawn(tmp_path / "a.png") and not found.note
    record = json.loads(to_json(found.to_dict()))
    caption = run.predict(photo)
    assert isinstance(caption, Caption) and record["text"] == caption.text
    assert [word["word"] for word in record["words"]] == caption.text.split()
    assert record["faithfulness"]["cells"] == 1 and record["faithfulness"]["grid"] == [3, 3]
    for kind in DROPS:
        drops = [word[f"drop_{kind}"] for word in record["words"]]
        assert record["faithfulness"][f"drop_{kind}"] == pytest.approx(np.mean(drops), abs=1e-6)
    rows = found.rows()
    assert [row["word"] for row in rows] == [*caption.text.split(), "mean"]
    assert rows[0]["hide most"] == f"{record['words'][0]['drop_most']:+.2f}"
    assert all(0 <= float(row["probability"]) <= 1 for row in rows[:-1])
    plain = explain(run, photo, tmp_path / "b.png", measure=False)
    assert plain.words == () and plain.rows() == [] and "faithfulness" not in plain.to_dict()
    assert _is_drawn(tmp_path / "b.png")


def test_an_old_file_is_drawn_and_says_why_no_more(tmp_path: Path) -> None:
    edge = Edge(BUNDLES.parent / "bundle_v2" / "caption_attn.tflite")
    found = explain(edge, np.zeros((30, 30, 3), np.uint8), tmp_path / "a.png")
    assert "export it again" in found.note and found.to_dict()["note"] == found.note and not found.words
    assert _is_drawn(tmp_path / "a.png")


def test_a_class_of_a_picture(tmp_path: Path) -> None:
    preprocessor = CaptionPreprocessor.fit(["a"], image_size=(8, 8), vocab_size=9, max_length=3, unit="words")
    answer = ImageClassification("tabby cat", {"tabby cat": 0.7, "dog": 0.3}, np.eye(3, dtype=np.float32) / 3)
    explanation_picture(preprocessor, np.full((50, 70, 3), 90, np.uint8), answer, tmp_path / "class.png")
    assert _is_drawn(tmp_path / "class.png")
