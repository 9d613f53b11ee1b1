from __future__ import annotations

import itertools
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

from zoo.errors import ConfigError, DataError
from zoo.execution import compile_serving
from zoo.models.caption_attn import CaptionAttn
from zoo.preprocess.captioning import END, PADDING, SPECIAL, START, UNKNOWN, CaptionPreprocessor
from zoo.tasks._base import Requests
from zoo.tasks._caption_examples import CaptionExamples, augment_images
from zoo.tasks._caption_loss import TokenLoss
from zoo.tasks._search import beam_search, greedy_search
from zoo.tasks.captioning import TASK, CaptionTruth

CELLS = 3


class TableDecoder:
    """A decoder whose next-token probabilities are a table (position, last token) -> token, for searches by hand."""

    def __init__(self, probabilities: np.ndarray) -> None:
        self.table = ops.convert_to_tensor(np.log(probabilities).astype(np.float32))

    def start(self, memory: Any, max_length: int) -> tuple[Any, ...]:
        return (ops.zeros((memory.shape[0], 1)),)

    def step(self, tokens: Any, position: Any, cache: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...], Any]:
        logits = ops.take(ops.take(self.table, position, axis=0), tokens, axis=0)
        weights = ops.one_hot(tokens % CELLS, CELLS) + 0.0 * cache[0]
        return logits, (cache[0] + 1.0,), weights


def random_decoder(steps: int, words: int, seed: int) -> tuple[TableDecoder, np.ndarray]:
    vocab = len(SPECIAL) + words
    table = np.random.default_rng(seed).dirichlet(np.full(vocab, 0.4), (steps, vocab)) + 1e-6
    for forbidden in (PADDING, START, UNKNOWN):  # so that the tests need not renormalise
        table[..., forbidden] = 1e-30
    table[0, :, END] = 1e-30
    return TableDecoder(table / table.sum(-1, keepdims=True)), table / table.sum(-1, keepdims=True)


def every_caption(table: np.ndarray) -> list[tuple[float, tuple[int, ...]]]:
    """All captions with their log-probability; ended ones include the end."""
    steps, vocab = table.shape[:2]
    found = []
    for length in range(1, steps + 1):
        for words in itertools.product(range(len(SPECIAL), vocab), repeat=length):
            ids = (START, *words, END) if length < steps else (START, *words)
            total = sum(np.log(table[i, ids[i], ids[i + 1]]) for i in range(len(ids) - 1))
            found.append((total / (len(ids) - 1), words))
    return found


def memory(batch: int) -> Any:
    return ops.zeros((batch, CELLS, 1))


@pytest.mark.parametrize("seed", range(4))
def test_greedy_takes_the_best_token_each_time(seed: int) -> None:
    decoder, table = random_decoder(steps=5, words=4, seed=seed)
    found = greedy_search(decoder, memory(2), max_length=5)
    last, words, total = START, [], 0.0
    for step in range(5):
        token = int(table[step, last].argmax())
        total += np.log(table[step, last, token])
        last = token
        if token == END:
            break
        words.append(token)
    steps = len(words) + (last == END)
    for row in range(2):
        assert np.array(found.tokens)[row].tolist() == words + [PADDING] * (5 - len(words))
        assert int(np.array(found.length)[row]) == len(words) >= 1
        np.testing.assert_allclose(np.array(found.score)[row], total / steps, rtol=1e-4)
        looked = np.array(found.attention)[row]
        wanted = [np.eye(CELLS)[token % CELLS] for token in [START, *words[:-1]]]
        np.testing.assert_allclose(looked[: len(words)], wanted, atol=1e-6)
        assert not looked[len(words) :].any()


@pytest.mark.parametrize("seed", range(6))
def test_a_wide_beam_finds_the_best_of_all_captions(seed: int) -> None:
    decoder, table = random_decoder(steps=4, words=3, seed=seed)
    score, words = max(every_caption(table))
    found = beam_search(decoder, memory(2), max_length=4, width=40, length_penalty=1.0)
    for row in range(2):
        length = int(np.array(found.length)[row])
        assert tuple(np.array(found.tokens)[row, :length].tolist()) == words
        assert not np.array(found.tokens)[row, length:].any()
        np.testing.assert_allclose(np.array(found.score)[row], score, rtol=1e-4)
        wanted = [np.eye(CELLS)[token % CELLS] for token in (START, *words[:-1])]
        np.testing.assert_allclose(np.array(found.attention)[row, :length], wanted, atol=1e-6)


def test_a_beam_of_one_is_greedy_and_a_wider_one_no_worse() -> None:
    for seed in range(5):
        decoder, _ = random_decoder(steps=6, words=5, seed=seed)
        greedy = greedy_search(decoder, memory(1), max_length=6)
        one = beam_search(decoder, memory(1), max_length=6, width=1)
        for a, b in zip(greedy, one, strict=True):
            np.testing.assert_allclose(np.array(a), np.array(b), rtol=1e-5)
        wide = beam_search(decoder, memory(1), max_length=6, width=5, length_penalty=0.0)
        total = [float(np.array(f.score)[0]) * min(int(np.array(f.length)[0]) + 1, 6) for f in (greedy, wide)]
        assert total[1] >= total[0] - 1e-4


def test_length_penalty_prefers_long_captions() -> None:
    lengths = []
    for penalty in (0.0, 1.0, 3.0):
        decoder, _ = random_decoder(steps=6, words=3, seed=11)
        found = beam_search(decoder, memory(1), max_length=6, width=12, length_penalty=penalty)
        lengths.append(int(np.array(found.length)[0]))
    assert lengths == sorted(lengths) and lengths[0] < lengths[-1]


def model_and_preprocessor() -> tuple[keras.Model, CaptionPreprocessor]:
    keras.utils.set_random_seed(3)
    config = CaptionAttn.tiny()
    return CaptionAttn.build(config), TASK.default_preprocessor(config)


@pytest.fixture(scope="module")
def trained() -> tuple[keras.Model, CaptionPreprocessor, Requests]:
    """A tiny model that has learned to name the brightness of plain pictures."""
    words = ["black", "dark grey", "light grey", "white"]
    fitted = CaptionPreprocessor.fit(
        words, image_size=(24, 24), vocab_size=24, max_length=6, language="en", unit="words"
    )
    config = TASK.configure(CaptionAttn.tiny().replace(dropout=0.0), fitted)
    source = [
        {"id": f"{i}", "group": f"{i}", "image": np.full((24, 24, 3), 5 + i, np.uint8), "captions": (words[i // 62],)}
        for i in range(248)
    ]
    keras.utils.set_random_seed(0)
    model = CaptionAttn.build(config)
    model.compile(keras.optimizers.Adam(5e-3), **TASK.compile_arguments())
    examples = TASK.examples(source, fitted, config)
    inputs, targets, weights = examples.batch(np.arange(len(examples)), None)
    model.fit(inputs, targets, sample_weight=weights, batch_size=31, epochs=12, verbose=0)
    return model, fitted, TASK.requests(source, fitted, limit=40)


def test_serving_answers_what_was_learned(trained: tuple[keras.Model, CaptionPreprocessor, Requests]) -> None:
    model, fitted, requests = trained
    outputs = compile_serving(TASK.serving(model, batch_size=8))(requests.inputs)
    metrics = TASK.score(outputs, requests, fitted)
    assert metrics["exact_match"] >= 0.8
    assert metrics["count"] == 40 and 0 < metrics["exact_match_se"] < 0.1 and metrics["cider"] > 0
    lengths = outputs["length"]
    assert lengths.min() >= 1
    for row, length in enumerate(lengths):
        assert (outputs["tokens"][row, :length] >= len(SPECIAL)).all() and not outputs["tokens"][row, length:].any()
        np.testing.assert_allclose(outputs["attention"][row, :length].sum((-2, -1)), 1.0, atol=1e-5)
        assert not outputs["attention"][row, length:].any()


def test_score_and_attention_are_those_of_teacher_forcing(
    trained: tuple[keras.Model, CaptionPreprocessor, Requests],
) -> None:
    """The cached loop agrees with one call of the decoder on the whole caption."""
    model, fitted, requests = trained
    image = requests.inputs["image"][17:18]
    outputs = compile_serving(TASK.serving(model))({"image": image})
    length = int(outputs["length"][0])
    words = outputs["tokens"][0, :length].tolist()
    assert length < fitted.max_length
    fed = np.array([[START, *words] + [PADDING] * (fitted.max_length - length - 1)], np.int32)
    cells = model.get_layer("encoder")(image.astype(np.float32), training=False)
    rows, columns, dim = cells.shape[1:]
    logits, scores = model.get_layer("decoder")(fed, ops.reshape(cells, (1, -1, dim)), return_scores=True)
    logits = np.array(logits)[0]
    logits[:, [PADDING, START, UNKNOWN]] = -1e9
    logits[0, END] = -1e9
    log_probs = np.array(ops.log_softmax(logits))
    wanted = [log_probs[step, token] for step, token in enumerate([*words, END])]
    np.testing.assert_allclose(outputs["score"][0], np.mean(wanted), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(
        outputs["attention"][0, :length], np.array(scores)[0, :length].reshape(-1, rows, columns), atol=1e-4
    )


def test_beam_is_at_least_as_probable(trained: tuple[keras.Model, CaptionPreprocessor, Requests]) -> None:
    model, _, requests = trained
    greedy = compile_serving(TASK.serving(model, batch_size=8))(requests.inputs)
    beam = compile_serving(TASK.serving(model, batch_size=8, beam_width=3, length_penalty=0.0))(requests.inputs)

    def totals(outputs: dict[str, np.ndarray]) -> np.ndarray:
        return outputs["score"] * np.minimum(outputs["length"] + 1, outputs["tokens"].shape[1])

    assert (totals(beam) >= totals(greedy) - 1e-3).mean() > 0.95
    assert TASK.agreement(greedy, beam).mean() > 0.8


def test_serving_interface_for_one_picture() -> None:
    model, _ = model_and_preprocessor()
    serving = TASK.serving(model, max_length=4)
    assert serving.inputs == {"image": ((1, 24, 24, 3), "uint8")}
    outputs = serving.function(image=ops.convert_to_tensor(np.zeros((1, 24, 24, 3), np.uint8)))
    shapes = {name: tuple(value.shape) for name, value in outputs.items()}
    assert shapes == {"tokens": (1, 4), "length": (), "score": (1,), "attention": (1, 4, 3, 3)}
    kinds = {name: keras.backend.standardize_dtype(value.dtype) for name, value in outputs.items()}
    assert kinds == {"tokens": "int32", "length": "int32", "score": "float32", "attention": "float32"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beam_width": 0}, "beam_width is 0"),
        ({"beam_width": 63}, "fewer words"),
        ({"max_length": 7}, "max_length is 7"),
        ({"length_penalty": -1.0}, "length_penalty"),
        ({"beams": 3}, "no serving option 'beams'"),
    ],
)
def test_bad_serving_options(options: dict[str, Any], message: str) -> None:
    model, _ = model_and_preprocessor()
    with pytest.raises(ConfigError, match=message):
        TASK.serving(model, **options)


def records(captions: list[tuple[str, ...]]) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    return [
        {"id": f"r{i}", "group": "g", "image": rng.integers(0, 256, (12, 12, 3)).astype(np.uint8), "captions": texts}
        for i, texts in enumerate(captions)
    ]


def test_examples_are_shifted_captions() -> None:
    fitted = CaptionPreprocessor.fit(
        ["red cat", "one big red cat"], image_size=(12, 12), vocab_size=20, max_length=9, unit="words"
    )
    examples = CaptionExamples(records([("red cat",), ("big cat", "one red cat")]), fitted, augment=1.0)
    assert len(examples) == 2
    inputs, targets, weights = examples.batch(np.array([1, 0]), None)
    red, cat, big = (fitted.encode(word)[0] for word in ("red", "cat", "big"))
    assert targets.tolist() == [[big, cat, END, 0, 0, 0], [red, cat, END, 0, 0, 0]]
    assert inputs["tokens"].tolist() == [[START, big, cat, 0, 0, 0], [START, red, cat, 0, 0, 0]]
    assert weights.tolist() == [[1, 1, 1, 0, 0, 0]] * 2
    np.testing.assert_array_equal(inputs["image"][1], records([("red cat",)])[0]["image"])

    drawn = [examples.batch(np.array([1]), np.random.default_rng(seed))[1][0].tolist() for seed in range(40)]
    first = sum(row[0] == big for row in drawn)
    assert 8 <= first <= 32  # one of two captions, each about half of the time
    again = [examples.batch(np.array([0, 1]), np.random.default_rng(5)) for _ in range(2)]
    np.testing.assert_array_equal(again[0][0]["image"], again[1][0]["image"])
    assert (again[0][0]["image"][0] != inputs["image"][1]).any()


def test_a_long_caption_is_cut_without_an_end() -> None:
    fitted = CaptionPreprocessor.fit(["a b c d"], image_size=(4, 4), vocab_size=20, max_length=3, unit="words")
    inputs, targets, weights = CaptionExamples(records([("a b c d",)]), fitted).batch(np.array([0]), None)
    assert targets[0].tolist() == fitted.encode("a b c") and weights.sum() == 3
    assert inputs["tokens"][0].tolist() == [START, *fitted.encode("a b")]


def test_a_record_without_caption_is_named() -> None:
    fitted = CaptionPreprocessor.fit(["a"], image_size=(4, 4), vocab_size=20, max_length=3, unit="words")
    with pytest.raises(DataError, match="r1"):
        CaptionExamples(records([("a",), ()]), fitted)


def test_augmentation_moves_and_scales_only_a_little() -> None:
    picture = np.full((8, 40, 40, 3), 255, np.uint8)
    picture[:, 15:25, 15:25] = (200, 30, 60)
    changed = augment_images(picture, np.random.default_rng(0), 1.0)
    assert changed.shape == picture.shape and changed.dtype == np.uint8
    dark = changed[..., 1] < 128
    areas = dark.sum((1, 2))
    assert len(set(areas.tolist())) > 1
    assert (areas > 55).all() and (areas < 160).all()
    columns = np.array([np.nonzero(mask.any(0))[0].mean() for mask in dark])
    assert (abs(columns - 19.5) < 6).all() and columns.std() > 0.5
    assert abs(changed[:, 0, 0].astype(int) - 255).max() <= 0.05 * 255 + 1
    assert augment_images(picture, np.random.default_rng(0), 0.0) is picture
    asymmetric = np.zeros((1, 20, 20, 3), np.uint8)
    asymmetric[:, :, :5] = 255
    for seed in range(20):  # left stays left
        assert augment_images(asymmetric, np.random.default_rng(seed), 1.0)[0, :, :2].mean() > 200


def test_loss_by_hand() -> None:
    logits = np.array([[[1.0, 2.0, 0.5], [0.0, 0.0, 3.0]]], np.float32)
    targets = np.array([[1, 0]], np.int32)
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    smooth = 0.1
    per_token = [-(1 - smooth) * log_p[0, i, t] - smooth * log_p[0, i].mean() for i, t in enumerate([1, 0])]
    loss = TokenLoss(smooth)
    np.testing.assert_allclose(float(loss(targets, logits)), np.mean(per_token), rtol=1e-5)
    weighted = loss(targets, logits, sample_weight=np.array([[1.0, 0.0]], np.float32))
    np.testing.assert_allclose(float(weighted), per_token[0], rtol=1e-5)  # padding does not dilute
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    np.testing.assert_allclose(float(again(targets, logits)), float(loss(targets, logits)))


def test_score_with_and_without_flags() -> None:
    fitted = CaptionPreprocessor.fit(
        ["flag of here", "red cat", "blue dog"], image_size=(4, 4), vocab_size=20, max_length=9, unit="words"
    )
    texts = ["flag of here", "red cat", "red cat"]
    truth = CaptionTruth([("flag here",), ("red cat", "cat"), ("blue dog",)], ["a", "b", "b"], [True, False, False])
    requests = Requests({"image": np.zeros((3, 4, 4, 3), np.uint8)}, truth, ["1", "2", "3"])
    tokens = np.zeros((3, 5), np.int32)
    for row, text in enumerate(texts):
        tokens[row, : len(fitted.encode(text))] = fitted.encode(text)
    metrics = TASK.score({"tokens": tokens}, requests, fitted)
    assert metrics["exact_match"] == pytest.approx(1 / 3)
    assert metrics["exact_match_without_flags"] == pytest.approx(1 / 2)
    assert metrics["exact_match_grouped"] == pytest.approx((0 + 1 / 2) / 2)
    assert {"cider", "cider_se", "cider_without_flags", "cider_without_flags_se", "bleu4", "rouge_l"} <= set(metrics)
    assert metrics["count_without_flags"] == 2


def test_agreement_is_token_for_token() -> None:
    first = {"tokens": np.array([[4, 5, 0], [4, 0, 0]]), "length": np.array([2, 1])}
    other = {"tokens": np.array([[4, 5, 0], [5, 0, 0]]), "length": np.array([2, 1])}
    assert TASK.agreement(first, other).tolist() == [True, False]
