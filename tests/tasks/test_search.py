"""Searches against every caption there is, with probabilities from the full forward pass of a real decoder."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops
from scipy import stats

from zoo.layers.transformer_decoder import TransformerDecoder
from zoo.preprocess.captioning import END, PADDING, SPECIAL, START, UNKNOWN
from zoo.tasks._consensus import ngram_similarity
from zoo.tasks._sampling import uniform_numbers
from zoo.tasks._search import Found, beam_search, consensus_search, greedy_search, sample_search

WORDS, STEPS, CELLS, WIDTH = 3, 4, 5, 8
VOCAB = len(SPECIAL) + WORDS
A, B, C = range(len(SPECIAL), VOCAB)
EVERY = sum(WORDS**length for length in range(1, STEPS + 1))

Caption = tuple[int, ...]
Rules = dict[str, Any]


class Captioner:
    """A random decoder, a memory for each of two pictures, and the log-probabilities of all captions."""

    def __init__(self, seed: int) -> None:
        keras.utils.set_random_seed(seed)
        rng = np.random.default_rng(seed)
        self.decoder = TransformerDecoder(VOCAB, WIDTH, 2, 16, 2, STEPS)
        self.memory = rng.normal(size=(2, CELLS, WIDTH)).astype(np.float32)
        self.decoder.build((2, STEPS), self.memory.shape)
        for weight in self.decoder.trainable_weights:
            weight.assign(weight + 0.5 * rng.normal(size=weight.shape))
        self.decoder.head_bias.assign(self.decoder.head_bias + (seed - 0.5) * np.eye(VOCAB)[END])
        captions = [words for n in range(1, STEPS + 1) for words in itertools.product((A, B, C), repeat=n)]
        assert len(captions) == EVERY
        self.logs = [dict(zip(captions, self.teach(captions, row), strict=True)) for row in range(2)]

    def teach(self, captions: Sequence[Caption], row: int) -> list[np.ndarray]:
        """Return the log-probabilities of every caption's tokens and its end, by one call of the decoder."""
        fed = np.full((len(captions), STEPS), PADDING, np.int32)
        for i, words in enumerate(captions):
            fed[i, : min(len(words) + 1, STEPS)] = (START, *words)[:STEPS]
        logits = np.array(self.decoder(fed, np.repeat(self.memory[row : row + 1], len(captions), axis=0)))
        logits[..., [PADDING, START, UNKNOWN]] = -1e9
        logits[:, 0, END] = -1e9
        logs = np.array(ops.log_softmax(logits.astype(np.float32)))
        return [
            np.array([logs[i, step, token] for step, token in enumerate((*words, END)[:STEPS])])
            for i, words in enumerate(captions)
        ]

    def best(self, row: int, allowed: Callable[[Caption], bool], penalty: float) -> tuple[Caption, float]:
        """Return the best caption of all, and its mean log-probability."""
        logs = {words: values for words, values in self.logs[row].items() if allowed(words)}
        words = max(logs, key=lambda words: logs[words].sum() / len(logs[words]) ** penalty)
        return words, float(logs[words].mean())


@pytest.fixture(scope="module")
def captioners() -> list[Captioner]:
    return [Captioner(seed) for seed in range(3)]


def answers(found: Found) -> list[tuple[Caption, float]]:
    """Return captions with scores; what follows a caption is padding without attention."""
    tokens, lengths, scores, attention = (np.array(value) for value in found)
    for row, length in enumerate(lengths):
        assert length >= 1 and (tokens[row, :length] >= len(SPECIAL)).all() and not tokens[row, length:].any()
        np.testing.assert_allclose(attention[row, :length].sum(-1), 1.0, atol=1e-5)
        assert not attention[row, length:].any()
    return [
        (tuple(row[:length].tolist()), float(score)) for row, length, score in zip(tokens, lengths, scores, strict=True)
    ]


def holds(words: Caption, part: Caption) -> bool:
    return any(words[i : i + len(part)] == part for i in range(len(words) - len(part) + 1))


def keeps(words: Caption, rules: Rules) -> bool:
    """Tell whether a caption keeps the rules."""
    size = rules.get("no_repeat_ngram", 0)
    ngrams = [words[i : i + size] for i in range(len(words) - size + 1)] if size else []
    return (
        len(set(ngrams)) == len(ngrams)
        and not any(holds(words, part) for part in rules.get("never", ()))
        and all(holds(words, part) for part in rules.get("must", ()))
    )


RULES: list[Rules] = [
    {},
    {"no_repeat_ngram": 1},
    {"no_repeat_ngram": 2},
    {"no_repeat_ngram": 3},
    {"no_repeat_ngram": STEPS + 1},
    {"never": ((A,),)},
    {"never": ((A,), (B, B), (C, B, C))},
    {"never": ((A, B), (B, C), (C, A)), "no_repeat_ngram": 2},
]
MUST: list[Rules] = [
    {"must": ((B,),)},
    {"must": ((C,), (A,))},
    {"must": ((A, B),)},
    {"must": ((A, A), (B,))},
    {"must": ((A, B), (B, C))},
    {"must": ((A, B, A),)},
    {"must": ((C, B),), "never": ((A,),), "no_repeat_ngram": 1},
]


RANKINGS = [
    *((rules, 1.0) for rules in (*RULES, *MUST)),
    *((rules, penalty) for rules in (RULES[0], RULES[2], MUST[1]) for penalty in (0.0, 2.0)),
]


@pytest.mark.parametrize(("rules", "penalty"), RANKINGS, ids=str)
def test_a_wide_beam_finds_the_best_of_all_captions(captioners: list[Captioner], rules: Rules, penalty: float) -> None:
    found_at_first = 0
    for captioner in captioners:
        found = beam_search(
            captioner.decoder, captioner.memory, max_length=STEPS, width=EVERY, length_penalty=penalty, **rules
        )
        for row, (words, score) in enumerate(answers(found)):
            wanted, mean = captioner.best(row, lambda words: keeps(words, rules), penalty)
            assert words == wanted
            assert score == pytest.approx(mean, abs=1e-4)
            found_at_first += wanted == captioner.best(row, lambda words: True, penalty)[0]
    assert not rules or found_at_first < 6 or rules["no_repeat_ngram"] > STEPS  # the rule changes something


@pytest.mark.parametrize("rules", RULES, ids=str)
def test_the_consensus_of_all_captions(captioners: list[Captioner], rules: Rules) -> None:
    most_probable = 0
    for captioner in captioners:
        found = consensus_search(captioner.decoder, captioner.memory, max_length=STEPS, width=EVERY, **rules)
        for row, (words, score) in enumerate(answers(found)):
            logs = {every: values for every, values in captioner.logs[row].items() if keeps(every, rules)}
            ended = np.full((len(logs), STEPS + 1), PADDING, np.int32)
            for i, every in enumerate(logs):
                ended[i, : len(logs[every])] = (*every, END)[: len(logs[every])]
            votes = np.exp(np.array([values.sum() for values in logs.values()]) / 2)
            agreed = dict(zip(logs, np.array(ngram_similarity(ended[None]))[0] @ votes / votes.sum(), strict=True))
            assert agreed[words] == pytest.approx(max(agreed.values()), abs=1e-5)
            assert score == pytest.approx(float(logs[words].mean()), abs=1e-4)
            most_probable += words == max(logs, key=lambda every: logs[every].sum())
    assert most_probable < 6  # it is another choice than the probability's


def test_captions_differ_between_models_and_pictures(captioners: list[Captioner]) -> None:
    best = {captioner.best(row, lambda words: True, 1.0)[0] for captioner in captioners for row in range(2)}
    assert len(best) >= 4 and len({len(words) for words in best}) >= 2


@pytest.mark.parametrize("rules", RULES, ids=str)
def test_greedy_and_drawn_captions_keep_the_rules_at_the_full_pass_score(
    captioners: list[Captioner], rules: Rules
) -> None:
    uniforms = np.random.default_rng(0).random((2, STEPS)).astype(np.float32)
    for captioner in captioners[1:]:
        arguments = {"max_length": STEPS, **rules}
        greedy = answers(greedy_search(captioner.decoder, captioner.memory, **arguments))
        drawn = answers(sample_search(captioner.decoder, captioner.memory, uniforms, temperature=1.5, **arguments))
        for row in range(2):
            for words, score in (greedy[row], drawn[row]):
                assert keeps(words, rules)
                assert score == pytest.approx(captioner.logs[row][words].mean(), abs=1e-4)
            said: Caption = ()
            while len(said) < STEPS:  # greedy is the best next token of those that keep the rules
                nexts = {
                    words[: len(said) + 1]: logs[len(said)]
                    for words, logs in captioner.logs[row].items()
                    if words[: len(said)] == said and len(words) > len(said) and keeps(words[: len(said) + 1], rules)
                }
                ends = captioner.logs[row][said][len(said)] if said else -np.inf
                if not nexts or ends >= max(nexts.values()):
                    break
                said = max(nexts, key=lambda words: nexts[words])
            assert greedy[row][0] == said


def test_a_beam_with_a_word_that_must_come_holds_it_at_every_width(captioners: list[Captioner]) -> None:
    for captioner in captioners:
        for width in (1, 2, 3):
            found = beam_search(captioner.decoder, captioner.memory, max_length=STEPS, width=width, must=((C,), (B, A)))
            for row, (words, score) in enumerate(answers(found)):
                assert holds(words, (C,)) and holds(words, (B, A))
                assert score == pytest.approx(captioner.logs[row][words].mean(), abs=1e-4)


def test_what_cannot_be_met_is_met_as_far_as_can_be(captioners: list[Captioner]) -> None:
    found = beam_search(
        captioners[0].decoder, captioners[0].memory, max_length=3, width=5, must=((A, A), (B,)), no_repeat_ngram=1
    )
    for words, _ in answers(found):
        assert holds(words, (B,)) and not holds(words, (A, A))


@pytest.fixture(scope="module")
def chances(captioners: list[Captioner]) -> dict[Caption, float]:
    """Return the probability of each of the captions of the first picture."""
    found = {words: float(np.exp(logs.sum())) for words, logs in captioners[0].logs[0].items()}
    assert sum(found.values()) == pytest.approx(1.0, abs=1e-5)
    return found


def fit(captioner: Captioner, chances: dict[Caption, float], uniforms: Any, **options: Any) -> float:
    """Return the chi-square p-value of drawn captions; rare captions count together."""
    memory = np.repeat(captioner.memory[:1], len(uniforms), axis=0)
    drawn = [
        words for words, _ in answers(sample_search(captioner.decoder, memory, uniforms, max_length=STEPS, **options))
    ]
    counts = {words: drawn.count(words) for words in chances}
    assert sum(counts.values()) == len(drawn)
    common = [words for words, chance in chances.items() if chance * len(drawn) >= 5]
    assert len(common) > 10
    observed = [counts[words] for words in common]
    expected = [chances[words] * len(drawn) for words in common]
    observed.append(len(drawn) - sum(observed))
    expected.append(len(drawn) - sum(expected))
    return float(stats.chisquare(observed, expected).pvalue)


def test_captions_are_drawn_as_often_as_they_are_probable(
    captioners: list[Captioner], chances: dict[Caption, float]
) -> None:
    uniforms = np.random.default_rng(5).random((6000, STEPS)).astype(np.float32)
    assert fit(captioners[0], chances, uniforms) > 0.01
    assert fit(captioners[0], chances, uniforms, temperature=1.1) < 1e-4  # what is nearly right is seen


def test_seeds_draw_captions_as_often_as_they_are_probable(
    captioners: list[Captioner], chances: dict[Caption, float]
) -> None:
    uniforms = np.array(uniform_numbers(np.arange(6000, dtype=np.int32)[:, None], STEPS))
    assert fit(captioners[0], chances, uniforms) > 0.01


@pytest.mark.parametrize(("options", "kept"), [({"top_k": 2}, 2), ({"top_p": 0.6}, None), ({"temperature": 0.01}, 1)])
def test_truncated_distributions_are_those_of_the_kept_tokens(
    captioners: list[Captioner], options: dict[str, Any], kept: int | None
) -> None:
    """The first token alone, whose distribution is known in closed form."""
    captioner = captioners[1]
    first = {words[0]: float(np.exp(logs[0])) for words, logs in captioner.logs[0].items()}
    ranked = sorted(first, key=lambda token: -first[token])
    if kept is None:
        kept = next(n for n in range(1, WORDS + 1) if sum(first[token] for token in ranked[:n]) >= options["top_p"])
        assert kept < WORDS
    share = {token: first[token] / sum(first[token] for token in ranked[:kept]) for token in ranked[:kept]}
    uniforms = np.random.default_rng(2).random((3000, STEPS)).astype(np.float32)
    memory = np.repeat(captioner.memory[:1], 3000, axis=0)
    drawn = np.array(sample_search(captioner.decoder, memory, uniforms, max_length=STEPS, **options).tokens)[:, 0]
    assert set(drawn.tolist()) <= set(share)
    if kept > 1:
        observed = [int((drawn == token).sum()) for token in share]
        assert stats.chisquare(observed, [3000 * chance for chance in share.values()]).pvalue > 0.01


def test_a_step_looks_back_through_the_cache_alone(captioners: list[Captioner]) -> None:
    """No tensor of the loop's body has the caption's length twice: nothing of the prefix is computed again."""
    import tensorflow as tf

    length = 13  # of no other axis
    decoder = TransformerDecoder(VOCAB, WIDTH, 2, 16, 2, length)
    decoder.build((2, length), (2, CELLS, WIDTH))
    memory = tf.TensorSpec((2, CELLS, WIDTH))
    searches: list[Callable[..., Found]] = [
        lambda memory: greedy_search(decoder, memory, max_length=length),
        lambda memory: beam_search(decoder, memory, max_length=length, width=3),
        lambda memory: sample_search(decoder, memory, tf.zeros((2, length)), max_length=length),
    ]
    for search in searches:
        graph = tf.function(search).get_concrete_function(memory).graph
        (loop,) = [op for op in graph.get_operations() if op.type in ("While", "StatelessWhile")]
        body = graph._get_function(loop.get_attr("body").name).graph
        shapes = [output.shape.as_list() for op in body.get_operations() for output in op.outputs]
        assert any(length in shape for shape in shapes)  # the caches
        assert all(shape.count(length) <= 1 for shape in shapes)
    full = tf.function(decoder).get_concrete_function(tf.TensorSpec((2, length), tf.int32), memory).graph
    shapes = [output.shape.as_list() for op in full.get_operations() for output in op.outputs]
    assert any(shape.count(length) == 2 for shape in shapes)  # which the full pass does have
