"""Our scores are the field's: pycocoevalcap from text to number, and the numbers it published for its example."""

import json
import os
import shutil
import stat
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocoevalcap.bleu.bleu import Bleu

from zoo.errors import DataError, ZooError
from zoo.metrics.captions import (
    bleu_of,
    bleu_statistics,
    caption_metrics,
    caption_metrics_per_example,
    tokenize_caption,
)
from zoo.metrics.captions_meteor import meteor

FIXTURE = Path(__file__).resolve().parents[1] / "fixtures" / "caption_scores"
ROWS = [json.loads(line) for line in (FIXTURE / "captions.jsonl").read_text().splitlines()]
CAPTIONS, REFERENCES = [row["caption"] for row in ROWS], [row["references"] for row in ROWS]
EXPECTED = json.loads((FIXTURE / "expected.json").read_text())


def test_tokens_are_those_of_the_scorers_tokeniser():
    tokens = [[" ".join(tokenize_caption(text)) for text in (row["caption"], *row["references"])] for row in ROWS]
    assert tokens == EXPECTED["tokens"]


def test_scores_are_those_of_the_scorer_from_text_on():
    metrics = caption_metrics(CAPTIONS, REFERENCES)
    for name in ("bleu1", "bleu2", "bleu3", "bleu4", "rouge_l", "cider"):
        assert metrics[name] == pytest.approx(EXPECTED["scores"][name], abs=1e-12), name
    np.testing.assert_allclose(caption_metrics_per_example(CAPTIONS, REFERENCES)["cider"], EXPECTED["cider"])


def test_bleu_is_what_the_scorer_published_for_its_example():
    """The example files hold 1,000 captions and 5,000 references (of COCO, not here); published with the scorer are
    the counts of words and matches, and the scores. BLEU depends on these counts alone, so captions made to have them
    must get the published scores."""
    words, closest, matches = 9893, 9855, (5732, 2510, 1043, 423)
    runs = [4] * 423 + [3] * (matches[2] - 2 * 423) + [2] * (matches[1] - 2 * matches[2] + 423)
    runs += [1] * (matches[0] - sum(runs))
    lengths = [10] * (words - 9 * 1000) + [9] * (1000 - (words - 9 * 1000))
    pairs: list[list[list[str]]] = [[[], []] for _ in lengths]
    for number, run in enumerate(runs):  # the longest first, each where most room is left
        place = max(range(1000), key=lambda i: lengths[i] - len(pairs[i][0]))
        caption, reference = pairs[place]
        if caption:
            caption.append("wrong")
            reference.append("right")
        shared = [f"w{number}x{k}" for k in range(run)]
        caption += shared
        reference += shared
    missing = closest - words
    for length, (caption, reference) in zip(lengths, pairs, strict=True):
        assert len(caption) <= length
        reference += ["right"] * (length - len(caption))
        caption += ["wrong"] * (length - len(caption))
        if missing and reference[-1] == "right":
            reference.pop()
            missing += 1
    captions, references = ([" ".join(pair[side]) for pair in pairs] for side in (0, 1))
    total = bleu_statistics(captions, [[text] for text in references]).sum(0)
    assert total.tolist() == [words, words - 1000, words - 2000, words - 3000, *matches, words, closest]
    metrics = caption_metrics(captions, [[text] for text in references])
    assert [round(metrics[f"bleu{n}"], 3) for n in (1, 2, 3, 4)] == [0.579, 0.404, 0.279, 0.191]


sentences = st.lists(st.sampled_from("abcde"), max_size=9).map(" ".join)
examples = st.lists(st.tuples(sentences, st.lists(sentences, min_size=1, max_size=4)), min_size=1, max_size=8)


@settings(max_examples=100, deadline=None)
@given(examples, st.randoms(use_true_random=False))
def test_bleu_of_any_draw_is_the_scorers(pairs, random):
    captions, references = [c for c, _ in pairs], [refs for _, refs in pairs]
    statistics = bleu_statistics(captions, references)
    drawn = [random.randrange(len(pairs)) for _ in range(random.randint(1, 12))]
    truths = {i: [" ".join(tokenize_caption(text)) for text in references[j]] for i, j in enumerate(drawn)}
    texts = {i: [" ".join(tokenize_caption(captions[j]))] for i, j in enumerate(drawn)}
    expected, _ = Bleu(4).compute_score(truths, texts, verbose=0)
    np.testing.assert_allclose(bleu_of(statistics[drawn].sum(0)), expected, rtol=1e-9, atol=1e-15)


def children():
    """Return the processes that this one has started and not waited for."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == os.getpid():
            found.add(path.parent.name)
    return found


def test_meteor_is_the_scorers_or_says_what_it_needs():
    before = children()
    if shutil.which("java"):
        assert meteor(CAPTIONS, REFERENCES) == pytest.approx(EXPECTED["scores"]["meteor"], abs=1e-12)
    else:
        with pytest.raises(ZooError, match="METEOR needs Java"):
            meteor(CAPTIONS, REFERENCES)
    assert children() == before


def test_meteor_without_java_or_of_another_language():
    with pytest.raises(ZooError, match="needs Java.*'no-such-java'.*install"):
        meteor(["a cat"], [["a cat"]], java="no-such-java")
    with pytest.raises(ZooError, match="English only.*'zh'"):
        meteor(["猫"], [["猫"]], "zh")
    with pytest.raises(ZooError, match="not stated"):
        meteor(["a cat"], [["a cat"]], "")
    with pytest.raises(DataError):
        meteor([], [])


@pytest.mark.parametrize("script", ["exit 1", "echo oops; exit 0", "read line; echo stats; read line; echo x; echo y"])
def test_meteor_survives_a_broken_java(tmp_path, script):
    before = children()
    with pytest.raises(ZooError, match="Java program failed") as error:
        meteor(["a cat"], [["a cat"]], java=str(program(tmp_path, script)))
    assert "\n" not in str(error.value) and children() == before


def test_meteor_stops_a_java_that_hangs(tmp_path):
    before, start = children(), time.monotonic()
    with pytest.raises(ZooError, match=r"took over 0\.3 s"):
        meteor(["a cat"], [["a cat"]], java=str(program(tmp_path, "exec sleep 60")), seconds=0.3)
    assert time.monotonic() - start < 30 and children() == before


def program(folder, script):
    path = folder / "java"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path
