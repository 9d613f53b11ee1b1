"""Scores of a split and of its novel part, and the comparison of stored answers."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from zoo.datasets import Record
from zoo.errors import DataError
from zoo.files import to_json
from zoo.metrics.captions import caption_metrics
from zoo.tasks import _caption_scores
from zoo.tasks._caption_scores import CaptionTruth, caption_answers, compare_answers, score_captions

COLOURS, THINGS = ("red", "blue", "green", "white"), ("car", "boat", "tree", "house", "road")


def records(count: int, seed: int = 0) -> list[Record]:
    """Return pictures with two captions each; every third shares a caption with `TRAINING`."""
    rng = np.random.default_rng(seed)

    def sentence(tail: str) -> str:
        return f"a {rng.choice(COLOURS)} {rng.choice(THINGS)} near a {rng.choice(THINGS)} {tail}"

    made: list[Record] = []
    for i in range(count):
        captions = (sentence(f"number {i % 7}"), sentence("here") if i % 3 else "A Known  sentence .")
        made.append({"id": f"p{i}", "captions": captions})
    return made


TRAINING: list[Record] = [{"id": "t0", "captions": ("a known sentence .", "another one")}, {"id": "t1", "captions": ()}]


def noisy(truth: CaptionTruth, share: float, seed: int) -> list[str]:
    """Return a true caption of each picture, with a share of its words replaced."""
    rng = np.random.default_rng(seed)
    texts = []
    for refs in truth.references:
        words = refs[0].split()
        texts.append(" ".join("thing" if rng.random() < share else word for word in words))
    return texts


def test_the_novel_part_is_scored_as_a_corpus_of_its_own() -> None:
    rows = records(30)
    truth = CaptionTruth.of_records(rows, TRAINING)
    assert truth.known == {"a known sentence .", "another one"} and truth.looked_at == (2, 2)
    assert truth.novel is not None and truth.novel.tolist() == [i % 3 != 0 for i in range(30)]
    texts = ["another one" if i < 6 else text for i, text in enumerate(noisy(truth, 0.3, 1))]
    metrics = score_captions(texts, truth, "en")
    kept = [i for i in range(30) if i % 3]
    part = caption_metrics([texts[i] for i in kept], [truth.references[i] for i in kept])
    assert metrics["count_novel"] == 20 and metrics["count"] == 30
    for name in ("cider", "cider_se", "bleu4"):
        new = f"{name.removesuffix('_se')}_novel" + ("_se" if name.endswith("_se") else "")
        assert metrics[new] == pytest.approx(part[name], rel=1e-9) and metrics[new] != metrics[name]
    assert metrics["copied"] == pytest.approx(6 / 30) and metrics["novel_captions"] == pytest.approx(24 / 30)
    assert metrics["vocabulary"] > 5 and 0 < metrics["distinct1"] < metrics["distinct2"] < 1
    assert "note" not in metrics and "meteor" not in metrics


def test_without_training_captions_nothing_is_said_of_novelty() -> None:
    truth = CaptionTruth.of_records(records(5))
    metrics = score_captions(noisy(truth, 0.2, 0), truth, "en")
    assert truth.novel is None and not {"copied", "count_novel", "cider_novel", "note"} & set(metrics)
    assert [answer["novel"] for answer in caption_answers(["x"] * 5, np.zeros(5), list("abcde"), truth)] == [None] * 5


def test_a_split_with_no_novel_picture_has_no_scores_of_them() -> None:
    truth = CaptionTruth.of_records([{"id": "0", "captions": ("another one", "b")}], TRAINING)
    metrics = score_captions(["c"], truth, "en")
    assert metrics["count_novel"] == 0 and "cider_novel" not in metrics and metrics["copied"] == 0


def test_of_very_many_training_pictures_it_says_that_some_were_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_caption_scores, "SAMPLED", 2)
    training = [*TRAINING, {"id": "t2", "captions": ("c",)}]
    metrics = score_captions(["x"], CaptionTruth.of_records(records(1), training), "en")
    assert "2 of 3 training pictures" in metrics["note"]


def test_meteor_that_cannot_be_had_is_a_note() -> None:
    truth = CaptionTruth.of_records([{"id": "0", "captions": ("红色的猫",)}])
    metrics = score_captions(["红色的狗"], truth, "zh", slow=True)
    assert "meteor" not in metrics and metrics["note"].startswith("METEOR was left out. METEOR knows English only")
    assert metrics["bleu1"] > 0


def stored(texts: list[str], truth: CaptionTruth, ids: list[str]) -> list[dict[str, Any]]:
    answers = caption_answers(texts, np.full((len(texts), 1), -0.5, np.float32), ids, truth)
    return [json.loads(to_json(answer, indent=None)) for answer in answers]


def test_answers_are_compared_with_the_first_on_both_parts() -> None:
    rows = records(60)
    truth, ids = CaptionTruth.of_records(rows, TRAINING), [row["id"] for row in rows]
    texts = [noisy(truth, share, seed) for share, seed in ((0.5, 1), (0.2, 2), (0.5, 3))]
    answers = [stored(one, truth, ids) for one in texts]
    assert answers[0][1] == {
        "id": "p1",
        "caption": texts[0][1],
        "score": -0.5,
        "references": list(rows[1]["captions"]),
        "group": "p1",
        "novel": True,
    }
    results = compare_answers(answers, "en")
    assert [(row["part"], row["metric"], row["count"]) for row in results] == [
        ("whole", "cider", 60),
        ("whole", "bleu4", 60),
        ("novel", "cider", 40),
        ("novel", "bleu4", 40),
    ]
    for row in results:
        name = row["metric"] + ("_novel" if row["part"] == "novel" else "")
        scores = [score_captions(one, truth, "en")[name] for one in texts]
        np.testing.assert_allclose(row["values"], scores, rtol=1e-9)
        better, alike = row["differences"]
        assert better["difference"] == pytest.approx(scores[1] - scores[0])
        assert better["relative"] == pytest.approx(scores[1] / scores[0] - 1)
        assert 0 < better["low"] < better["difference"] < better["high"]
        assert 0 < better["relative_low"] < better["relative"] < better["relative_high"]
        assert alike["low"] < 0 < alike["high"]
    assert compare_answers(answers, "en") == results


def test_the_interval_is_as_wide_as_the_values_say() -> None:
    """For a mean of paired differences the bootstrap interval is the normal one, nearly."""
    rows = records(300)
    truth, ids = CaptionTruth.of_records(rows, TRAINING), [row["id"] for row in rows]
    texts = [noisy(truth, share, seed) for share, seed in ((0.4, 1), (0.3, 2))]
    row = compare_answers([stored(one, truth, ids) for one in texts], "en")[0]
    parts = [_caption_scores._Part.of(one, truth.references, np.arange(300), "en").ciders for one in texts]
    differences = parts[1] - parts[0]
    half = 1.96 * differences.std(ddof=1) / np.sqrt(300)
    found = row["differences"][0]
    np.testing.assert_allclose([found["low"], found["high"]], differences.mean() + half * np.array([-1, 1]), atol=0.03)


def test_groups_are_drawn_whole() -> None:
    rows = [{**row, "group": f"g{i // 10}"} for i, row in enumerate(records(60))]
    truth, ids = CaptionTruth.of_records(rows, TRAINING), [row["id"] for row in rows]
    good = [refs[0] if i < 30 else "x" for i, refs in enumerate(truth.references)]
    answers = [stored(one, truth, ids) for one in (["x"] * 60, good)]
    alone = [[{**answer, "group": answer["id"]} for answer in one] for one in answers]
    wide, narrow = (compare_answers(one, "en")[0]["differences"][0] for one in (answers, alone))
    assert wide["high"] - wide["low"] > 1.5 * (narrow["high"] - narrow["low"])
    assert wide["relative"] is None  # the first has no right word


def test_novel_is_what_is_novel_to_all() -> None:
    rows = records(9)
    first, other = (CaptionTruth.of_records(rows, training) for training in (TRAINING, []))
    ids = [row["id"] for row in rows]
    results = compare_answers([stored(noisy(first, 0.5, 0), truth, ids) for truth in (first, other)], "en")
    assert [row["count"] for row in results] == [9, 9, 6, 6]
    unknown = CaptionTruth.of_records(rows)
    results = compare_answers([stored(noisy(first, 0.5, 0), truth, ids) for truth in (first, unknown)], "en")
    assert [row["part"] for row in results] == ["whole", "whole"]


@pytest.mark.parametrize("change", [{"id": "q"}, {"references": ["else"]}, {"group": "q"}])
def test_answers_to_other_pictures_cannot_be_compared(change: dict[str, Any]) -> None:
    rows = records(4)
    truth = CaptionTruth.of_records(rows, TRAINING)
    answers = stored(["a"] * 4, truth, [row["id"] for row in rows])
    with pytest.raises(DataError, match="not of the same pictures"):
        compare_answers([answers, [{**answers[0], **change}, *answers[1:]]], "en")
    with pytest.raises(DataError, match="not of the same pictures"):
        compare_answers([answers, answers[:3]], "en")


@pytest.mark.parametrize("change", [{"references": 3}, {"references": []}, {"references": [1]}, {"caption": None}])
def test_damaged_answers_are_named(change: dict[str, Any]) -> None:
    answers = stored(["a", "b"], CaptionTruth.of_records(records(2), TRAINING), ["0", "1"])
    with pytest.raises(DataError, match="damaged.*evaluate"):
        compare_answers([[{**answer, **change} for answer in answers]] * 2, "en")
    with pytest.raises(DataError, match="damaged.*'novel'"):
        compare_answers([[{"id": "0", "caption": "a", "references": ["a"], "group": "0"}]] * 2, "en")
