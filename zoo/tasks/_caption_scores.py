"""What captions are judged against, their scores, and the comparison of stored answers.

Where training captions repeat in a split (half of RSICD's validation pictures have one), copying a sentence of the
training set scores well. So the scores are also given for the *novel* part: the pictures none of whose true captions is
a training caption (`normalize_caption`). There CIDEr and BLEU are those of these pictures as a corpus of their own,
with document frequencies counted on them alone, as anybody would compute them who is given these pictures only.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from zoo.datasets import Record, Source
from zoo.errors import DataError, ZooError
from zoo.metrics.bootstrap import Statistic, bootstrap_interval, paired_bootstrap
from zoo.metrics.captions import (
    bleu_of,
    bleu_statistics,
    caption_metrics,
    caption_metrics_per_example,
    normalize_caption,
    standard_error,
)
from zoo.metrics.captions_diversity import caption_diversity, caption_novelty
from zoo.metrics.captions_meteor import meteor
from zoo.tasks._caption_examples import SAMPLED, TrainingCaptions


@dataclass
class CaptionTruth:
    """What captions are judged against; one entry an example.

    Attributes:
        references: True captions.
        groups: Labels of what belongs together (variants of one thing).
        flags: Whether it is a flag, whose name cannot be guessed unless it was seen.
        known: The training captions, normalised; None where nothing asks what is novel.
        looked_at: Training pictures whose captions `known` has, and all there are.
    """

    references: list[tuple[str, ...]]
    groups: list[str]
    flags: list[bool]
    known: frozenset[str] | None = None
    looked_at: tuple[int, int] = (0, 0)

    @classmethod
    def of_records(cls, records: Sequence[Record], training: Source | None = None) -> Self:
        """Take the captions of records, and those of the training split.

        Of over 50,000 training pictures the captions of so many are read, spread evenly and always the same ones.
        """
        truth = cls(
            references=[tuple(record["captions"]) for record in records],
            groups=[str(record.get("group", record["id"])) for record in records],
            flags=[bool(record.get("is_flag", False)) for record in records],
        )
        if training is not None:
            truth.known = frozenset(map(normalize_caption, TrainingCaptions(training)))
            truth.looked_at = min(len(training), SAMPLED), len(training)
        return truth

    @functools.cached_property
    def novel(self) -> np.ndarray | None:
        """Which pictures have no true caption that is a training caption, bool (N,); None where nothing asks."""
        if self.known is None:
            return None
        return np.array([not any(normalize_caption(text) in self.known for text in refs) for refs in self.references])


def score_captions(texts: Sequence[str], truth: CaptionTruth, language: str, *, slow: bool = False) -> dict[str, Any]:
    """Score captions of a split.

    Args:
        texts: N captions.
        truth: Of the same N pictures.
        language: Two-letter code.
        slow: Whether to compute METEOR too.

    Returns:
        `caption_metrics` and `caption_diversity`; with flags among others also ``exact_match``, ``cider`` and
        ``count`` ``_without_flags``; where the training captions are known also `caption_novelty`, and of the novel
        part ``count_novel``, ``bleu4_novel``, ``cider_novel`` and ``cider_novel_se``; if asked for ``meteor``. What is
        missing or bounded has its reason in ``note``.
    """
    groups = truth.groups if len(set(truth.groups)) < len(truth.groups) else None
    result: dict[str, Any] = caption_metrics(texts, truth.references, language, groups)
    notes = []
    if slow:
        try:
            result["meteor"] = meteor(texts, truth.references, language)
        except ZooError as error:
            notes.append(f"METEOR was left out. {error}")
    result |= caption_diversity(texts, language)
    kept = [i for i, flag in enumerate(truth.flags) if not flag]
    if 0 < len(kept) < len(texts):
        plain = caption_metrics([texts[i] for i in kept], [truth.references[i] for i in kept], language)
        for key in ("exact_match", "cider", "count"):
            result[f"{key}_without_flags"] = plain[key]
            if f"{key}_se" in plain:
                result[f"{key}_without_flags_se"] = plain[f"{key}_se"]
    if truth.known is not None and truth.novel is not None:
        result |= caption_novelty(texts, truth.known)
        result["count_novel"] = float(truth.novel.sum())
        if truth.novel.any():
            part = _Part.of(texts, truth.references, np.flatnonzero(truth.novel), language)
            every = np.arange(len(part.ciders))
            result |= {"bleu4_novel": part.bleu4(every), "cider_novel": part.cider(every)}
            result["cider_novel_se"] = standard_error(part.ciders)
        read, total = truth.looked_at
        if read < total:
            notes.append(
                f"Copied and novel look at the captions of {read:,} of {total:,} training pictures: more captions may "
                "be copied, and fewer pictures novel."
            )
    if notes:
        result["note"] = " ".join(notes)
    return result


def caption_answers(
    texts: Sequence[str], scores: np.ndarray, ids: Sequence[str], truth: CaptionTruth
) -> list[dict[str, Any]]:
    """Return one record a picture: `id`, `caption`, `score`, `references`, `group` and `novel` (None if not known)."""
    novel = [None] * len(texts) if truth.novel is None else truth.novel.tolist()
    fields = zip(ids, texts, np.reshape(scores, -1).tolist(), truth.references, truth.groups, novel, strict=True)
    names = ("id", "caption", "score", "references", "group", "novel")
    return [dict(zip(names, values, strict=True)) for values in fields]


def compare_answers(answers: Sequence[Sequence[Mapping[str, Any]]], language: str) -> list[dict[str, Any]]:
    """Compare captions of the same pictures by several systems with the first, by a paired bootstrap.

    The same pictures are drawn for both systems, whole groups where there are some, 2,000 times. Document frequencies
    of CIDEr stay those of all pictures of the part. Novel is what is novel to every system.

    Args:
        answers: For each system what `caption_answers` returns.
        language: Two-letter code.

    Returns:
        For CIDEr and BLEU-4 on the whole and on the novel part: `part`, `metric`, `count`, the systems' `values`, and
        `differences`, one for each system but the first: `difference` to the first with the ends `low` and `high` of
        its 95% interval, and the same `relative` to the first, with `relative_low` and `relative_high`, or None where
        the first is 0. A part without pictures is left out.

    Raises:
        DataError: If the answers are not of the same pictures, or are damaged.
    """
    try:
        asked = [[_question(row) for row in rows] for rows in answers]
        texts = [[row["caption"] for row in rows] for rows in answers]
        novel = [[row["novel"] is True for row in rows] for rows in answers]
    except (KeyError, TypeError) as error:
        raise DataError(f"Stored answers are damaged: {error}; evaluate the runs again.") from error
    if any(rows != asked[0] for rows in asked):
        raise DataError("The answers are not of the same pictures and captions; evaluate the runs on the same split.")
    _, references, groups = zip(*asked[0], strict=True)
    parts = {"whole": np.arange(len(references)), "novel": np.flatnonzero(np.all(novel, axis=0))}
    rows = []
    for name, indices in parts.items():
        if not len(indices):
            continue
        labels = [groups[i] for i in indices]
        options: dict[str, Any] = {"size": len(indices)}
        if len(set(labels)) < len(labels):
            options["groups"] = labels
        systems = [_Part.of(one, references, indices, language) for one in texts]
        for metric in ("cider", "bleu4"):
            functions = [getattr(part, metric) for part in systems]
            rows.append(
                {
                    "part": name,
                    "metric": metric,
                    "count": len(indices),
                    "values": [function(np.arange(len(indices))) for function in functions],
                    "differences": [_difference(functions[0], other, options) for other in functions[1:]],
                }
            )
    return rows


def _question(answer: Mapping[str, Any]) -> tuple[str, tuple[str, ...], str]:
    """Return a picture's id, true captions and group from a stored answer, whose types are checked."""
    references = tuple(answer["references"])
    for text in (answer["id"], answer["caption"], answer["group"], *references):
        if not isinstance(text, str):
            raise TypeError(f"{text!r} is no text")
    if not references:
        raise TypeError("a picture has no true caption")
    return answer["id"], references, answer["group"]


@dataclass
class _Part:
    """Some pictures' captions as a corpus of their own: per-picture CIDEr (N,), and BLEU statistics (N, 10)."""

    ciders: np.ndarray
    statistics: np.ndarray

    @classmethod
    def of(cls, texts: Sequence[str], references: Sequence[Sequence[str]], indices: np.ndarray, language: str) -> Self:
        """Score the captions at `indices`, at least one, against their references."""
        some, theirs = [texts[i] for i in indices], [references[i] for i in indices]
        ciders = caption_metrics_per_example(some, theirs, language)["cider"]
        return cls(ciders, bleu_statistics(some, theirs, language))

    def cider(self, indices: np.ndarray) -> float:
        """Return the mean over pictures."""
        return float(self.ciders[indices].mean())

    def bleu4(self, indices: np.ndarray) -> float:
        """Return the score of these pictures as a set."""
        return float(bleu_of(self.statistics[indices].sum(0))[3])


def _difference(first: Statistic, other: Statistic, options: Mapping[str, Any]) -> dict[str, float | None]:
    difference, low, high = paired_bootstrap(other, first, **options)
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = bootstrap_interval(lambda i: float(np.divide(other(i), first(i))) - 1.0, **options)
    relative = shares if np.isfinite(shares).all() else (None, None, None)
    names = ("relative", "relative_low", "relative_high")
    return {"difference": difference, "low": low, "high": high, **dict(zip(names, relative, strict=True))}
