"""Deletion: a model whose reasons are known, the same drops from one call of the network, a run and its file."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

import zoo
from zoo.errors import ConfigError, DataError
from zoo.explain.deletion import DROPS, Deletion, hide
from zoo.explain.faithfulness import (
    faithfulness_rows,
    mean_drops,
    measure_captions,
    measure_split,
    stored_faithfulness,
)
from zoo.explain.steps import CaptionSteps
from zoo.explain.words import caption_words, token_ids
from zoo.export.runtime import Edge
from zoo.preprocess.captioning import END, PADDING, SPECIAL, START, UNKNOWN, CaptionPreprocessor
from zoo.registry import architecture
from zoo.results import Caption
from zoo.run import Run

STORED = Path(__file__).resolve().parents[1] / "fixtures"
PIECES = ["▁red", "▁green", "▁s", "quare", "ish", "▁left", "▁of", "▁round"]


class Reader(CaptionSteps):
    """A captioner whose reasons are known: the i-th token's log-probability is minus the darkness of the i-th cell."""

    def __init__(self, preprocessor: CaptionPreprocessor, grid: int) -> None:
        self.preprocessor, self.batch_size, self.grid = preprocessor, 4, grid

    def log_probabilities(self, images: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        cells = images.mean(-1).reshape(len(images), self.grid, images.shape[1] // self.grid, self.grid, -1)
        dark = 255 - cells.mean((2, 4)).reshape(len(images), -1)
        return np.where(tokens == PADDING, 0, -dark[:, : tokens.shape[1]])


def looks_at(*cells: int, grid: int = 3) -> np.ndarray:
    maps = np.full((len(cells), grid * grid), 0.05, np.float32)
    maps[np.arange(len(cells)), cells] = 1 - 0.05 * (grid * grid - 1)
    return maps.reshape(-1, grid, grid)


def test_drops_by_hand() -> None:
    """White picture but for cells 4 to 8: a hidden white cell becomes the mean, 255 x 4 / 9."""
    preprocessor = CaptionPreprocessor([*SPECIAL, "▁red", "▁s", "quare"], image_size=(12, 12), max_length=8)
    image = np.full((1, 12, 12, 3), 255, np.uint8)
    for cell in range(4, 9):
        row, column = divmod(cell, 3)
        image[0, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] = 0
    lost = 255 - np.rint(255 * 4 / 9)
    # The word "red" rests on cell 0; "square", of two pieces, on cells 1 and 2.
    honest = Caption("red square", -1.0, ("▁red", "▁s", "quare"), looks_at(0, 1, 2))
    steps = Reader(preprocessor, 3)
    red, square = measure_captions(steps, image, [honest], Deletion(share=0.2, draws=3))[0]
    assert (red.text, square.text) == ("red", "square")
    assert red.log_probability == 0 and square.log_probability == 0
    assert red.drops["most"] == lost and red.drops["least"] == 0 and red.drops["other"] == 0
    assert square.drops["most"] == lost and square.drops["least"] == 0 and square.drops["other"] == 0
    assert red.hidden.astype(int).tolist() == [[1, 0, 0], [0, 0, 0], [0, 0, 0]]
    np.testing.assert_allclose(square.attention.sum(), 1, atol=1e-6)
    assert mean_drops([red, square])["most"] == lost
    # A map of elsewhere is found out: what the word does not look at is what it rests on.
    false = Caption("red", -1.0, ("▁red",), looks_at(8))
    (word,) = measure_captions(steps, image, [false], Deletion(share=0.12, draws=40))[0]
    assert word.drops["most"] == 0 and "other" not in word.drops
    assert 0 < word.drops["random"] < lost  # some of the regions hit cell 0
    assert word.to_dict()["drop_least"] == word.drops["least"]


@pytest.fixture(scope="module")
def run() -> Run:
    """A captioner with random weights that says words of one and of several pieces."""
    tiny = architecture("caption_attn").tiny().replace(max_length=9, num_layers=2, vocab_size=4 + len(PIECES))
    preprocessor = CaptionPreprocessor([*SPECIAL, *PIECES], image_size=(24, 24), max_length=9)
    run = Run(name="caption_attn", config=tiny, preprocessor=preprocessor)
    keras.utils.set_random_seed(5)
    for weight in run.model.trainable_weights:
        weight.assign(weight + keras.random.normal(weight.shape, stddev=0.25))
    return run


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (5, 6, 6, 3)).astype(np.uint8).repeat(4, 1).repeat(4, 2)


@pytest.fixture(scope="module")
def captions(run: Run, images: np.ndarray) -> list[Caption]:
    return [run.predict(image) for image in images]  # type: ignore[misc]


@pytest.fixture(scope="module")
def steps(run: Run) -> CaptionSteps:
    return CaptionSteps(run)


def in_one_call(run: Run, images: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Log-probabilities (N, T) of one caption's pieces from the network's training path, without a cache."""
    fed = np.full((len(images), run.config.max_length), PADDING, np.int32)
    fed[:, : len(ids)] = [START, *ids[:-1]]
    outputs = run.model({"image": images.astype(np.float32), "tokens": fed}, training=False)
    logits = np.array(outputs["logits"], np.float32)
    logits[..., [PADDING, START, UNKNOWN]] = -1e9
    logits[:, 0, END] = -1e9
    logs = np.array(ops.log_softmax(logits))
    return np.stack([logs[:, place, token] for place, token in enumerate(ids)], 1)


def test_steps_agree_with_one_call(run: Run, steps: CaptionSteps, images: np.ndarray, captions: list[Caption]) -> None:
    ids = [token_ids(caption, run.preprocessor) for caption in captions]
    tokens = np.full((len(images), 9), PADDING, np.int32)
    for row, own in enumerate(ids):
        tokens[row, : len(own)] = own
    many = steps.log_probabilities(images.repeat(8, 0), tokens.repeat(8, 0))  # more than one batch
    assert len({len(own) for own in ids}) > 1
    for row, own in enumerate(ids):
        wanted = in_one_call(run, images[row : row + 1], own)[0]
        np.testing.assert_allclose(many[8 * row, : len(own)], wanted, atol=2e-5)
        assert not many[8 * row, len(own) :].any()
    np.testing.assert_allclose(many.reshape(5, 8, 9), many.reshape(5, 8, 9)[:, :1].repeat(8, 1), atol=1e-6)


@pytest.mark.parametrize("fill", ["mean", "blur"])
def test_drops_agree_with_one_call(
    run: Run, steps: CaptionSteps, images: np.ndarray, captions: list[Caption], fill: str
) -> None:
    deletion = Deletion(share=0.25, fill=fill, draws=2)
    measured = measure_captions(steps, images, captions, deletion)
    for image, caption, words in zip(images, captions, measured, strict=True):
        ids = token_ids(caption, run.preprocessor)
        stops = np.cumsum([len(word.tokens) for word in caption_words(caption, run.preprocessor)])
        for place, word in enumerate(words):
            pictures = np.concatenate([image[None], hide(image, word.hidden[None], fill)])
            logs = in_one_call(run, pictures, ids)[:, stops[place - 1] if place else 0 : stops[place]].sum(1)
            assert word.log_probability == pytest.approx(logs[0], abs=5e-5)
            assert word.drops["most"] == pytest.approx(logs[0] - logs[1], abs=1e-4)
            assert set(word.drops) == set(DROPS) - ({"other"} if len(words) == 1 else set())


def test_equal_seeds_equal_drops(steps: CaptionSteps, images: np.ndarray, captions: list[Caption]) -> None:
    first, again, other = (
        [word.drops for word in measure_captions(steps, images[:1], captions[:1], Deletion(seed=seed))[0]]
        for seed in (1, 1, 2)
    )
    assert first == again
    assert [drops["random"] for drops in first] != [drops["random"] for drops in other]
    assert [drops["most"] for drops in first] == pytest.approx([drops["most"] for drops in other], abs=1e-5)


def test_a_file_says_what_its_run_says(
    run: Run, steps: CaptionSteps, images: np.ndarray, captions: list[Caption], tmp_path: Path
) -> None:
    run.export(tmp_path / "caption.tflite")
    edge = Edge(tmp_path / "caption.tflite")
    own, said = (measure_captions(one, images[:2], captions[:2]) for one in (steps, CaptionSteps(edge)))
    for words, others in zip(own, said, strict=True):
        for word, other in zip(words, others, strict=True):
            assert (word.text, word.hidden.tolist()) == (other.text, other.hidden.tolist())
            assert other.log_probability == pytest.approx(word.log_probability, abs=1e-3)
            assert other.drops == pytest.approx(word.drops, abs=2e-3)


ON_ANOTHER_BACKEND = """
import json, sys
import numpy as np
import zoo
from zoo.explain.faithfulness import measure_captions
from zoo.explain.steps import CaptionSteps

run = zoo.load(sys.argv[1])
image = np.random.default_rng(0).integers(0, 256, (24, 24, 3)).astype(np.uint8)
(words,) = measure_captions(CaptionSteps(run), image[None], [run.predict(image)])
print(json.dumps([[word.text, word.log_probability, *word.drops.values()] for word in words]))
"""


def test_backends_agree() -> None:
    command, found = [sys.executable, "-P", "-c", ON_ANOTHER_BACKEND, str(STORED / "run_v1" / "caption_attn")], []
    for backend in ("tensorflow", "jax"):
        environment = {**os.environ, "KERAS_BACKEND": backend, "JAX_PLATFORMS": "cpu"}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=300)
        assert done.returncode == 0, done.stderr
        found.append(json.loads(done.stdout))
    for word, other in zip(*found, strict=True):
        assert word[0] == other[0] and word[1:] == pytest.approx(other[1:], abs=1e-4)


def test_what_cannot_be_told_what_to_say() -> None:
    with pytest.raises(ConfigError, match="export it again"):
        CaptionSteps(Edge(STORED / "bundle_v2" / "caption_attn.tflite"))
    with pytest.raises(ConfigError, match="does not caption"):
        CaptionSteps(Edge(STORED / "bundle_v2" / "text_attn.tflite"))
    with pytest.raises(ConfigError, match="does not caption"):
        CaptionSteps(Run.untrained("text_attn"))


def test_a_split(tiny_data: Callable[[str], Path], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(STORED / "run_v1" / "caption_attn", folder)
    stored = json.loads((folder / "run.json").read_text())
    stored["data"] = {"reference": str(tiny_data("captioning")), "options": {}}
    (folder / "run.json").write_text(json.dumps(stored))
    run = zoo.load(folder)
    said: list[str] = []
    result = measure_split(run, limit=3, deletion=Deletion(draws=2), progress=said.append)
    assert (result["pictures"], result["grid"], result["cells"], len(said)) == (3, [3, 3], 1, 1)
    assert set(result["drops"]) == set(DROPS) and set(result["contrasts"]) == set(DROPS) - {"most"}
    requests = run.task.requests(run.dataset().split("valid"), run.preprocessor, limit=3)
    answers = [run.predict(image) for image in requests.inputs["image"]]
    steps = CaptionSteps(run)
    alone = [
        measure_captions(steps, image[None], [answer], Deletion(draws=2))[0]  # type: ignore[list-item]
        for image, answer in zip(requests.inputs["image"], answers, strict=True)
    ]
    means = [mean_drops(words) for words in alone]
    assert result["words"] == sum(map(len, alone))
    for kind in DROPS:
        values = np.array([drops[kind] for drops in means])
        assert result["drops"][kind]["mean"] == pytest.approx(values.mean(), abs=1e-5)
        assert result["drops"][kind]["se"] == pytest.approx(values.std(ddof=1) / 3**0.5, abs=1e-5)
    apart = np.array([drops["most"] - drops["least"] for drops in means])
    assert result["contrasts"]["least"]["mean"] == pytest.approx(apart.mean(), abs=1e-5)
    assert stored_faithfulness(zoo.load(folder)) == {"valid": json.loads(json.dumps(result))}
    measure_split(run, "test", limit=1)
    kept = stored_faithfulness(run)
    assert set(kept) == {"valid", "test"} and kept["test"]["drops"]["most"]["se"] is None
    rows = faithfulness_rows(result)
    assert [row["hidden"] for row in rows][0] == "most attended" and "±" in rows[0]["drop (nats)"]
    with pytest.raises(DataError, match="no split 'nothing'"):
        measure_split(run, "nothing")
