"""Self-critical training: its gradient by hand, what it draws, and that it reaches a known optimum."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from zoo.api import build_from_config
from zoo.execution import compile_serving
from zoo.models.caption_attn import CaptionAttn
from zoo.preprocess.captioning import END, PADDING, SPECIAL, START, UNKNOWN
from zoo.tasks._caption_lessons import draw_serving
from zoo.tasks._caption_rewards import HeldOut, PictureNumbers, SampledBatches, ended, mean_of_others
from zoo.tasks._caption_sets import CaptionSets, shifted, speaks_of_sides
from zoo.tasks._reward_loss import PolicyLoss
from zoo.training.config import TrainConfig
from zoo.training.devices import Devices
from zoo.training.engine import make_engine

CONFIG = CaptionAttn.tiny().replace(vocab_size=9, max_length=5, dropout=0.0, augment=0.0)
PICTURES = np.zeros((4, 24, 24, 3), np.uint8)
PICTURES[0, :, :, 0] = PICTURES[1, :, :, 1] = PICTURES[2, :, :, 2] = PICTURES[3] = 255


def toy_reward(numbers: np.ndarray, captions: np.ndarray) -> np.ndarray:
    """One for the picture's own token, 4 to 7, at the beginning, and one for ending after one token."""
    return (captions[:, 0] == 4 + numbers).astype(np.float32) + (captions[:, 1] == END)


class Stream:
    """Batches of pictures, four at a time; the position is the state."""

    def __init__(self) -> None:
        self.examples = PictureNumbers(lambda indices, rng: PICTURES[indices], "image", 4)
        self.count = 0

    def __next__(self) -> Any:
        self.count += 1
        inputs, numbers, _ = self.examples.batch(np.arange(4), None)
        return inputs, numbers, np.ones(4, np.float32)

    def get_state(self) -> int:
        return self.count

    def set_state(self, state: int) -> None:
        self.count = state


def _learner(samples: int, baseline: str = "greedy") -> tuple[keras.Model, Any]:
    keras.utils.set_random_seed(0)
    model = build_from_config("caption_attn", CONFIG)
    learn = CaptionAttn.cut(model, CONFIG, captions=samples).learn
    return learn, compile_serving(draw_serving(learn, "image", 4, samples, baseline))


def _batches(answer: Any, samples: int, baseline: str, seed: int = 0) -> SampledBatches:
    return SampledBatches(Stream(), answer, toy_reward, count=samples, max_length=5, baseline=baseline, seed=seed)


@pytest.mark.parametrize("baseline", ["greedy", "mean"])
def test_the_policy_reaches_the_optimum_of_a_toy_reward(baseline: str) -> None:
    learn, answer = _learner(12, baseline)
    engine = make_engine(Devices("one", "a test"), TrainConfig())
    learn.compile(keras.optimizers.Adam(2e-3), PolicyLoss())
    batches = _batches(answer, 12, baseline)
    engine.setup(learn, next(batches))
    assert batches.mean()["reward"] < 0.5
    for _ in range(150):
        engine.step([next(batches)])
    found = answer({"image": PICTURES, "uniforms": np.full((4, 12, 5), 0.5, np.float32)})
    assert found["tokens"].tolist() == [[[4 + number, 0, 0, 0, 0]] * 12 for number in range(4)]
    batches.mean()
    next(batches)
    assert batches.mean()["reward"] > 1.8  # of 2: what is drawn is nearly always the optimum


def test_the_gradient_is_the_one_computed_by_hand() -> None:
    rng = np.random.default_rng(3)
    logits = rng.normal(size=(1, 2, 3, 7)).astype(np.float32)
    tokens = np.array([[[4, 6, END], [5, END, PADDING]]])
    advantage = np.array([[1.5, -0.5]])
    weights = (tokens != PADDING).astype(np.float32)
    targets = np.stack([tokens, np.broadcast_to(advantage[..., None], tokens.shape)], -1).astype(np.float32)

    # -A log p of the drawn tokens, mean over the five of them; p is without what can never follow.
    expected = np.zeros_like(logits, dtype=np.float64)
    loss = 0.0
    for caption in range(2):
        for place in range(3):
            if not weights[0, caption, place]:
                continue
            possible = [t for t in range(7) if t not in (PADDING, START, UNKNOWN) and not (t == END and place == 0)]
            exps = np.exp(logits[0, caption, place, possible].astype(np.float64))
            for token, probability in zip(possible, exps / exps.sum(), strict=True):
                drawn = token == tokens[0, caption, place]
                expected[0, caption, place, token] = advantage[0, caption] * (probability - drawn) / weights.sum()
                if drawn:
                    loss -= advantage[0, caption] * np.log(probability) / weights.sum()

    variable = tf.Variable(logits)
    with tf.GradientTape() as tape:
        value = PolicyLoss()(targets, variable, sample_weight=weights)
    np.testing.assert_allclose(float(value), loss, rtol=1e-5)
    np.testing.assert_allclose(tape.gradient(value, variable), expected, atol=1e-6)


def test_batches_are_what_the_model_draws_and_go_on_from_their_state() -> None:
    learn, answer = _learner(3)
    batches = _batches(answer, 3, "greedy", seed=5)
    taken = [next(batches) for _ in range(3)]
    inputs, targets, weights = taken[0]
    tokens = targets[..., 0].astype(int)
    assert tokens.shape == (4, 3, 5) and inputs["tokens"].shape == (4, 3, 5)
    assert not np.isin(tokens, (START, UNKNOWN)).any() and not (tokens[..., 0] == END).any()
    np.testing.assert_array_equal(inputs["tokens"], shifted(tokens))
    np.testing.assert_array_equal(weights, tokens != PADDING)
    found = answer({"image": inputs["image"], "uniforms": np.zeros((4, 3, 5), np.float32)})
    greedy = ended(found["greedy"], found["greedy_length"])
    rewards = toy_reward(np.repeat(np.arange(4), 3), tokens.reshape(-1, 5)).reshape(4, 3)
    advantage = rewards - toy_reward(np.arange(4), greedy)[:, None]
    np.testing.assert_allclose(targets[:, :, 0, 1], advantage, atol=1e-6)

    again = _batches(answer, 3, "greedy", seed=5)
    next(again)
    state = again.get_state()
    other = _batches(answer, 3, "greedy", seed=5)
    other.set_state(state)
    np.testing.assert_array_equal(next(other)[1], taken[1][1])
    next(again)
    assert other.mean() == again.mean() and other.mean()["reward"] != other.mean()["reward"]  # of both batches; none
    assert not np.array_equal(taken[0][1], taken[1][1])
    assert not np.array_equal(next(_batches(answer, 3, "greedy", seed=6))[1], targets)


def test_held_out_captions_have_the_loss_of_their_likelihood() -> None:
    learn, _ = _learner(2)
    words = [f"▁word{i}" for i in range(len(SPECIAL), 9)]
    from zoo.preprocess.captioning import CaptionPreprocessor

    preprocessor = CaptionPreprocessor([*SPECIAL, *words], image_size=(24, 24), max_length=5, unit="words")
    sets = CaptionSets(Stream().examples._pictures, "image", [["word4 word5", "word6"]] * 4, preprocessor, 2)
    inputs, targets, weights = HeldOut(sets).batch(np.arange(4), None)
    logits = keras.ops.convert_to_numpy(learn(inputs)["logits"])
    found = float(PolicyLoss()(targets, logits, sample_weight=weights))
    possible = np.where(np.isin(np.arange(9), (PADDING, START, UNKNOWN)), -np.inf, logits)
    possible[:, :, 0, END] = -np.inf
    logs = possible - np.log(np.exp(possible).sum(-1, keepdims=True))
    drawn = np.take_along_axis(logs, targets[..., :1].astype(int), -1)[..., 0]
    np.testing.assert_allclose(found, -drawn[weights > 0].mean(), rtol=1e-5)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=6))
def test_an_end_is_put_where_there_is_room(lengths: list[int]) -> None:
    tokens = np.zeros((len(lengths), 5), np.int32)
    for row, length in enumerate(lengths):
        tokens[row, :length] = 4 + row
    found = ended(tokens, np.array(lengths))
    for row, length in enumerate(lengths):
        assert found[row].tolist() == ([4 + row] * length + [END] + [PADDING] * 5)[:5]
        assert tokens[row, :length].tolist() == [4 + row] * length


def test_the_mean_of_the_others_leaves_oneself_out() -> None:
    np.testing.assert_allclose(mean_of_others(np.array([[1.0, 2.0, 6.0]])), [[4.0, 3.5, 1.5]])


def test_sets_weigh_repeated_and_undrawn_captions() -> None:
    from zoo.preprocess.captioning import CaptionPreprocessor

    words = [f"▁{word}" for word in ("a", "b", "c", "d")]
    preprocessor = CaptionPreprocessor([*SPECIAL, *words], image_size=(2, 2), max_length=4, unit="words")
    captions = [["a", "a", "b", "a"], ["a b", "b c", "c d", "d a"], ["c"]]
    sets = CaptionSets(lambda indices, rng: indices, "image", captions, preprocessor, 2)
    inputs, targets, weights = sets.batch(np.array([0, 1, 2]), None)
    assert inputs["image"].tolist() == [0, 1, 2] and len(sets) == 3
    assert targets[0].tolist() == [[4, END, 0, 0], [5, END, 0, 0]]
    assert weights[0].tolist() == [[3, 3, 0, 0], [1, 1, 0, 0]]
    assert weights[1].tolist() == [[2, 2, 2, 0]] * 2  # two of four stand for all
    assert targets[2].tolist() == [[6, END, 0, 0], [0] * 4] and weights[2, 1].sum() == 0
    assert inputs["tokens"][1, 0].tolist() == [START, 4, 5, 0]
    seen = {tuple(row) for seed in range(20) for row in sets.batch(np.array([1]), np.random.default_rng(seed))[1][0]}
    assert len(seen) == 4


@pytest.mark.parametrize(
    ("caption", "language", "expected"),
    [
        ("a plane on the left of the runway", "en", True),
        ("many buildings in the northern part", "en", True),
        ("a bright rectangle", "en", False),
        ("a bright rectangle", "", True),
        ("it turns anticlockwise", "en", True),
        ("河的左边有树", "zh", True),
        ("一片绿地", "zh", False),
        ("ein Haus", "de", True),
    ],
)
def test_captions_that_speak_of_sides(caption: str, language: str, expected: bool) -> None:
    assert speaks_of_sides(["a house", caption] if language != "de" else [caption], language) is expected
