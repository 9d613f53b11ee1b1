"""Caption metrics against pycocoevalcap itself, cases by hand, and what must always hold."""

import math
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge

from zoo.errors import DataError, MissingExtraError
from zoo.metrics.captions import (
    caption_metrics,
    caption_metrics_per_example,
    group_means,
    normalize_caption,
    standard_error,
    tokenize_caption,
)

HYPOTHESES = ["waving hand light skin tone", "a red apple", "dog face", "the cat"]
REFERENCES = [
    ["waving hand: light skin tone"],
    ["green apple", "a red apple on a table"],
    ["Dog  Face"],
    ["flag of France"],
]


@pytest.mark.parametrize(
    ("text", "language", "expected"),
    [
        ("Waving hand: medium-light skin tone.", "en", ["waving", "hand", "medium-light", "skin", "tone"]),
        ("The dog's tail; don't!", "en", ["the", "dog", "'s", "tail", "do", "n't"]),
        ("l'homme d’affaires", "fr", ["l'homme", "d'affaires"]),
        ("1,000 & 3.5 (50%)", "en", ["1,000", "&", "3.5", "50", "%"]),
        ("snake_case --- `x`", "en", ["snake", "case", "x"]),
        ("挥手：较浅 肤色", "zh", list("挥手较浅肤色")),
        ("手を振る、", "ja", list("手を振る")),
        ("...", "en", []),
        ("I cannot; gonna, gimme", "en", ["i", "can", "not", "gon", "na", "gim", "me"]),
        ("White/gray, at 7 p.m. in the U.S.", "en", ["white/gray", "at", "7", "p.m.", "in", "the", "u.s."]),
        ("a dog.A bird", "en", ["a", "dog", "a", "bird"]),
    ],
)
def test_tokens(text, language, expected):
    assert tokenize_caption(text, language) == expected


def test_scores_are_those_of_pycocoevalcap():
    truths = {i: [" ".join(tokenize_caption(r)) for r in refs] for i, refs in enumerate(REFERENCES)}
    candidates = {i: [" ".join(tokenize_caption(h))] for i, h in enumerate(HYPOTHESES)}
    metrics = caption_metrics(HYPOTHESES, REFERENCES)
    bleu, _ = Bleu(4).compute_score(truths, candidates, verbose=0)
    cider, each = Cider().compute_score(truths, candidates)
    assert [metrics[f"bleu{n}"] for n in (1, 2, 3, 4)] == pytest.approx(bleu)
    assert metrics["rouge_l"] == pytest.approx(Rouge().compute_score(truths, candidates)[0])
    assert metrics["cider"] == pytest.approx(cider)
    np.testing.assert_allclose(caption_metrics_per_example(HYPOTHESES, REFERENCES)["cider"], each)


def test_by_hand():
    metrics = caption_metrics(["a b c d", "e f"], [["a b x d"], ["e f"]])
    assert metrics["bleu1"] == pytest.approx(5 / 6)
    assert metrics["bleu2"] == pytest.approx(math.sqrt(5 / 6 * 2 / 4))  # of the bigrams ab, bc, cd, ef two match
    assert metrics["rouge_l"] == pytest.approx((3 / 4 + 1) / 2)  # the longest common subsequence is a b d
    assert metrics["exact_match"] == 0.5
    assert metrics["exact_match_se"] == pytest.approx(math.sqrt(0.5 / 2))
    assert metrics["count"] == 2


def test_cider_by_hand():
    # every n-gram is in one of two references, so all weigh log 2: the score is the mean cosine over n = 1 to 4,
    # times 10. "a b" against "a c": 1/2 for n = 1, 0 for n = 2, nothing for 3 and 4.
    cider = caption_metrics_per_example(["a b", "q r s t"], [["a c"], ["q r s t"]])["cider"]
    np.testing.assert_allclose(cider, [10 * 0.5 / 4, 10.0])


def test_exact_match_takes_any_reference_whatever_case_and_spaces():
    exact = caption_metrics_per_example(HYPOTHESES, REFERENCES)["exact"]
    assert exact.tolist() == [0, 0, 1, 0]  # the colon counts
    assert caption_metrics_per_example(["B"], [["a", " b "]])["exact"].tolist() == [1]
    assert normalize_caption("STRASSE  Cafe\u0301") == normalize_caption("straße café")


def test_groups_are_averaged_first():
    hypotheses, references = ["a", "a", "a", "b"], [["a"], ["a"], ["a"], ["c"]]
    metrics = caption_metrics(hypotheses, references, groups=["x", "x", "x", "y"])
    assert metrics["exact_match"] == 0.75
    assert metrics["exact_match_grouped"] == 0.5
    assert metrics["groups"] == 2
    np.testing.assert_allclose(group_means(np.array([1.0, 2, 6]), ["q", "p", "p"]), [1, 4])


def test_empty_captions_score_nothing():
    metrics = caption_metrics(["", ""], [["a b"], ["c"]])
    assert metrics["cider"] == metrics["exact_match"] == metrics["rouge_l"] == 0
    assert metrics["bleu1"] < 1e-6
    assert caption_metrics(["", "x"], [["..."], ["!"]])["cider"] == 0


@pytest.mark.parametrize(
    ("hypotheses", "references"), [([], []), (["a"], []), (["a"], [[]]), (["a"], ["a"]), (["a", "b"], [["a"]])]
)
def test_bad_input_is_named(hypotheses, references):
    for function in (caption_metrics, caption_metrics_per_example):
        with pytest.raises(DataError) as error:
            function(hypotheses, references)
        assert "\n" not in str(error.value)


def test_wrong_number_of_groups():
    with pytest.raises(DataError, match="groups"):
        caption_metrics(["a"], [["a"]], groups=["x", "y"])


def test_missing_library_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "pycocoevalcap.bleu.bleu", None)
    with pytest.raises(MissingExtraError, match=r"attention-zoo\[eval\]"):
        caption_metrics(["a"], [["a"]])


def test_standard_error():
    assert standard_error(np.array([1.0, 2, 3, 4])) == pytest.approx(np.sqrt(5 / 3) / 2)
    assert standard_error(np.array([3.0])) == 0


words = st.lists(st.sampled_from(["red", "blue", "hand", "face", "of", "the"]), min_size=1, max_size=6).map(" ".join)
pairs = st.lists(st.tuples(words, st.lists(words, min_size=1, max_size=3)), min_size=2, max_size=8)


@settings(max_examples=40, deadline=None)
@given(pairs, st.randoms(use_true_random=False))
def test_bounds_and_order_does_not_matter(examples, random):
    metrics = caption_metrics([h for h, _ in examples], [r for _, r in examples])
    for name in ("exact_match", "bleu1", "bleu2", "bleu3", "bleu4", "rouge_l"):
        assert 0 <= metrics[name] <= 1 + 1e-9
    assert 0 <= metrics["cider"] <= 10 + 1e-9
    shuffled = list(examples)
    random.shuffle(shuffled)
    assert caption_metrics([h for h, _ in shuffled], [r for _, r in shuffled]) == pytest.approx(metrics, abs=1e-9)


@settings(max_examples=30, deadline=None)
@given(st.lists(words, min_size=2, max_size=8))
def test_perfect_captions(captions):
    metrics = caption_metrics(captions, [[c] for c in captions])
    assert metrics["exact_match"] == 1
    assert metrics["exact_match_se"] == 0
    assert metrics["bleu1"] == pytest.approx(1, abs=1e-6)
    assert metrics["rouge_l"] == pytest.approx(1)
