"""The reward against pycocoevalcap's CIDEr, cases by hand, and what training may throw at it."""

import time

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pycocoevalcap.cider.cider import Cider

from zoo.errors import DataError
from zoo.metrics.cider_reward import CiderReward
from zoo.preprocess.captioning import END, PADDING, UNKNOWN, CaptionPreprocessor

LENGTH = 9


def padded(captions, ended=True, length=LENGTH):
    """Return captions as int32 (N, T): an end after each if there is room, then padding."""
    rows = np.zeros((len(captions), length), np.int32)
    for row, caption in zip(rows, captions, strict=True):
        ids = [*caption, END] if ended else caption
        row[: len(ids)] = ids[:length]
    return rows


def cider(captions, references, end):
    """Return pycocoevalcap's score of each caption; every unknown is another word, the end is one if `end`."""
    count = iter(range(10**9))

    def text(ids):
        words = [f"unknown{next(count)}" if token == UNKNOWN else f"w{token}" for token in ids]
        return " ".join([*words, "end"] if end else words)

    truths = {i: [text(reference) for reference in refs] for i, refs in enumerate(references)}
    if not any(any(refs) for refs in truths.values()):  # the scorer cannot take a corpus without a single word
        return np.zeros(len(captions))
    return Cider().compute_score(truths, {i: [text(caption)] for i, caption in enumerate(captions)})[1]


tokens = st.sampled_from([UNKNOWN, 4, 5, 6, 7, 8, 9])
sentences = st.lists(tokens, max_size=LENGTH - 1)
corpora = st.lists(st.tuples(sentences, st.lists(sentences, min_size=1, max_size=4)), min_size=1, max_size=8)


@settings(max_examples=150, deadline=None)
@given(corpora, st.booleans())
@example([([], [[]]), ([4], [[], [4]])], True)
@example([([UNKNOWN, UNKNOWN], [[UNKNOWN, UNKNOWN]]), ([4, 5, 4, 5, 4], [[4, 5]])], False)
def test_reward_is_the_scorers_cider(corpus, end):
    captions, references = [caption for caption, _ in corpus], [refs for _, refs in corpus]
    rewards = CiderReward(references, count_end=end).reward(np.arange(len(corpus)), padded(captions))
    assert rewards.dtype == np.float32
    np.testing.assert_allclose(rewards, cider(captions, references, end), rtol=1e-6, atol=1e-6)


@settings(max_examples=100, deadline=None)
@given(corpora, st.randoms(use_true_random=False), st.booleans())
def test_counts_weigh_as_repeated_references_do(corpus, random, end):
    captions, references = [caption for caption, _ in corpus], [refs for _, refs in corpus]
    counts = [[random.randint(1, 4) for _ in refs] for refs in references]
    repeated = [
        [ref for ref, k in zip(refs, row, strict=True) for _ in range(k)]
        for refs, row in zip(references, counts, strict=True)
    ]
    rewards = CiderReward(references, counts, count_end=end).reward(np.arange(len(corpus)), padded(captions))
    np.testing.assert_allclose(rewards, cider(captions, repeated, end), rtol=1e-6, atol=1e-6)


@settings(max_examples=50, deadline=None)
@given(corpora, st.lists(st.tuples(st.integers(0, 7), sentences), min_size=1, max_size=20))
def test_every_caption_is_scored_by_itself(corpus, asked):
    scorer = CiderReward([refs for _, refs in corpus])
    images = np.array([image % len(corpus) for image, _ in asked])
    captions = padded([caption for _, caption in asked])
    together = scorer.reward(images, captions)
    alone = [scorer.reward(images[i : i + 1], captions[i : i + 1])[0] for i in range(len(images))]
    np.testing.assert_allclose(together, alone, rtol=1e-6, atol=1e-7)
    assert ((together >= 0) & (together <= 10 + 1e-5)).all()


def test_by_hand():
    # "4" and the end are in references of both pictures and weigh log 1, the rest log 2. Of "4 5 end" nothing that
    # weighs is in "4 6 end"; against itself it has 1 for n = 1 to 3, and no n-gram of four. Last, "4 5" against "4 6",
    # all of weight log 2: 1/2 for n = 1.
    scorer = CiderReward([[[4, 6]], [[4, 5], [4, 5]]])
    images, captions = np.array([0, 1]), padded([[4, 5], [4, 5]])
    np.testing.assert_allclose(scorer.reward(images, captions), [0, 7.5], atol=1e-6)
    scorer = CiderReward([[[4, 6]], [[7, 8]]], count_end=False)
    np.testing.assert_allclose(scorer.reward(images[:1], captions[:1]), [10 * 0.5 / 4], rtol=1e-6)


def test_a_caption_that_breaks_off_is_worth_less():
    references = [[[4, 5, 6]], [[7, 8, 9]]]
    ended, broken = padded([[4, 5, 6]], length=4), padded([[4, 5, 6]], ended=False, length=3)
    scorer = CiderReward(references)
    assert scorer.reward(np.array([0]), ended)[0] == pytest.approx(10, abs=1e-5)
    assert scorer.reward(np.array([0]), broken)[0] < 8
    assert scorer.reward(np.array([0]), padded([[4, 5, 6]], ended=False, length=5))[0] < 8
    plain = CiderReward(references, count_end=False)
    assert plain.reward(np.array([0]), ended) == plain.reward(np.array([0]), broken)


def test_what_follows_the_end_is_not_read():
    scorer = CiderReward([[[4, 5]], [[6]]])
    clean, dirty = padded([[4, 5], [4]]), padded([[4, 5], [4]])
    dirty[0, 4:], dirty[1, 2:] = [7, 4, 5, END, 4], 5
    np.testing.assert_array_equal(scorer.reward(np.array([0, 0]), clean), scorer.reward(np.array([0, 0]), dirty))


def test_empty_unknown_and_unseen_captions_score_nothing():
    scorer = CiderReward([[[4, 5], [UNKNOWN]], [[6, UNKNOWN, UNKNOWN]]])
    captions = padded([[], [UNKNOWN], [UNKNOWN, UNKNOWN], [90, 91, 90, 91], [6]])
    captions[0] = PADDING
    np.testing.assert_array_equal(scorer.reward(np.array([0, 0, 1, 0, 0]), captions), np.zeros(5))
    assert scorer.reward(np.array([0, 1]), np.zeros((2, 0), np.int32)).tolist() == [0, 0]
    assert scorer.reward(np.zeros(0, np.int32), np.zeros((0, 5), np.int32)).shape == (0,)


def test_unseen_words_dilute():
    scorer = CiderReward([[[4, 5]], [[6, 7]]], count_end=False)
    once, twice = scorer.reward(np.array([0, 0]), padded([[4, 90, 91], [4, 90, 90]]))
    weight = np.log(2)
    assert once == pytest.approx(10 / 4 * weight**2 / (np.sqrt(3) * np.sqrt(2) * weight**2) * np.exp(-1 / 72), rel=1e-6)
    assert twice == pytest.approx(10 / 4 / (np.sqrt(5) * np.sqrt(2)) * np.exp(-1 / 72), rel=1e-6)


def test_of_captions_counts_what_is_equal_and_cuts_what_is_long():
    texts = [("a red cat", "a  red cat", "a cat"), ("the blue dog runs far away", "a dog")]
    fitted = CaptionPreprocessor.fit(
        [t for ts in texts for t in ts], image_size=(8, 8), vocab_size=50, max_length=5, unit="words"
    )
    ids = [[fitted.encode(text) for text in captions] for captions in texts]
    made = CiderReward.of_captions(texts, fitted)
    assert len(made) == 2

    whole = np.array([[*ids[0][0], END, 0], ids[1][0][:5]])  # as training has them: a long one has no end
    broken = np.array([[*ids[0][0], 0, 0], [*ids[1][0][:4], END]])
    assert (made.reward(np.arange(2), whole) > made.reward(np.arange(2), broken)).all()
    alone = CiderReward([[row] for row in (ids[0][0], ids[1][0])], max_length=5)
    np.testing.assert_allclose(alone.reward(np.arange(2), whole), 10.0, rtol=1e-6)


def test_a_reward_is_ready_before_a_step_is():
    rng = np.random.default_rng(0)
    references = [[rng.integers(4, 300, rng.integers(6, 14)).tolist() for _ in range(5)] for _ in range(1500)]
    scorer = CiderReward(references)
    images = rng.integers(0, 1500, 200)
    captions = padded([references[image][0] for image in rng.permuted(images)], length=24)
    seconds = []
    for _ in range(15):
        start = time.process_time()
        scorer.reward(images, captions)
        seconds.append(time.process_time() - start)
    assert min(seconds) < 0.025


@pytest.mark.parametrize(
    ("references", "counts"),
    [
        ([], None),
        ([[]], None),
        ([[[4]], []], None),
        ([[[4]]], []),
        ([[[4]]], [[1, 1]]),
        ([[[4]]], [[0]]),
        ([[[4, END]]], None),
        ([[[PADDING]]], None),
        ([[[-1]]], None),
    ],
)
def test_bad_references_are_named(references, counts):
    with pytest.raises(DataError, match="CIDEr reward") as error:
        CiderReward(references, counts)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("images", "captions"), [([0], [[4], [5]]), ([0], [4]), ([[0]], [[4]]), ([-1], [[4]]), ([1], [[4]]), ([0], [[-4]])]
)
def test_bad_captions_are_named(images, captions):
    with pytest.raises(DataError, match="reward"):
        CiderReward([[[4]]]).reward(np.array(images), np.array(captions))
