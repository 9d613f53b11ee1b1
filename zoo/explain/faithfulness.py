"""Whether the attention of a captioner's words tells what they rest on: deletion.

A part of the picture is hidden, the model is told the same caption again, and the fall of a word's log-probability is
the drop. Were a word's map faithful, hiding the cells it attends to most would cost the word more than hiding as many
that it attends to least, or a region of the same shape anywhere. Deletion is the metric of Petsiuk et al. 2018 (RISE,
arXiv:1806.07421, section 4.3), here at one share of the picture; why attention needs such a test: Jain and Wallace 2019
(Attention is not Explanation, arXiv:1902.10186).

Any patch has edges, which cost something by themselves: compare the drops with each other, not with zero.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from zoo.errors import DataError
from zoo.explain.deletion import DROPS, Deletion, extremes, hide, moved_regions
from zoo.explain.steps import CaptionSteps
from zoo.explain.words import caption_words, shown, token_ids
from zoo.files import read_json, write_json
from zoo.preprocess.captioning import PADDING, CaptionPreprocessor
from zoo.results import Caption

if TYPE_CHECKING:
    from zoo.run import Run

_STORED = "faithfulness.json"
_TOGETHER = 8  # pictures of a split that are measured at once


@dataclass(frozen=True)
class WordEvidence:
    """A word of a caption, and what hiding parts of the picture does to it.

    Attributes:
        text: The word.
        log_probability: Sum over its pieces, given the picture and the words before; at most 0.
        attention: float32 (h, w): where the model looked for it; sums to 1.
        hidden: bool (h, w): its most attended cells.
        drops: Kind (see `zoo.explain.deletion.DROPS`) -> log-probability with the whole picture minus that without the
            part, in nats. There is no "other" for a caption of one word.
    """

    text: str
    log_probability: float
    attention: np.ndarray
    hidden: np.ndarray
    drops: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Return what is measured, ready for JSON."""
        drops = {f"drop_{kind}": value for kind, value in self.drops.items()}
        return {"word": self.text, "log_probability": self.log_probability, **drops, "attention": self.attention}


def measure_captions(
    steps: CaptionSteps, images: np.ndarray, captions: Sequence[Caption], deletion: Deletion | None = None
) -> list[tuple[WordEvidence, ...]]:
    """Measure every word of captions by deletion. The random regions are the same for all words of a picture.

    Args:
        steps: The model.
        images: uint8 (N, H, W, 3), of the model's size.
        captions: What the model says of them, N.
        deletion: How parts are hidden; the defaults when not given.

    Returns:
        For each caption its words in order.

    Raises:
        DataError: If the model's attention has one cell only.
    """
    deletion = deletion or Deletion()
    probes = [
        _Probe(image, caption, steps.preprocessor, deletion) for image, caption in zip(images, captions, strict=True)
    ]
    tokens = np.full((sum(len(probe) for probe in probes), max(len(probe.ids) for probe in probes)), PADDING, np.int32)
    edges = np.cumsum([0, *map(len, probes)]).tolist()
    for probe, start, stop in zip(probes, edges[:-1], edges[1:], strict=True):
        tokens[start:stop, : len(probe.ids)] = probe.ids
    found = steps.log_probabilities(np.concatenate([probe.pictures for probe in probes]), tokens)
    return [probe.evidence(found[start:stop]) for probe, start, stop in zip(probes, edges[:-1], edges[1:], strict=True)]


class _Probe:
    """A caption's picture, whole and with parts hidden; equal parts are hidden once."""

    def __init__(
        self, image: np.ndarray, caption: Caption, preprocessor: CaptionPreprocessor, deletion: Deletion
    ) -> None:
        self.ids = token_ids(caption, preprocessor)
        self.words = caption_words(caption, preprocessor)
        maps = np.stack([word.attention for word in self.words])
        self.most, least = extremes(maps, deletion.cells(maps.shape[1:]))
        rng = np.random.default_rng(deletion.seed)
        nothing = np.zeros((1, *maps.shape[1:]), bool)
        regions = np.concatenate([nothing, self.most, least, moved_regions(self.most, deletion.draws, rng)])
        different, self.places = np.unique(regions, axis=0, return_inverse=True)
        self.pictures = hide(image, different, deletion.fill)

    def __len__(self) -> int:
        return len(self.pictures)

    def evidence(self, log_probabilities: np.ndarray) -> tuple[WordEvidence, ...]:
        """Return the words, given log-probabilities (pictures, T) of the pieces."""
        count = len(self.words)
        starts = np.cumsum([0, *(len(word.tokens) for word in self.words[:-1])])
        by_word = np.add.reduceat(log_probabilities[:, : len(self.ids)].astype(np.float64), starts, axis=1)
        whole, rest = by_word[self.places[0]], by_word[self.places[1:]]
        drops = whole - rest  # (regions, words)
        most, least, random = drops[:count], drops[count : 2 * count], drops[2 * count :]
        words = []
        for i, word in enumerate(self.words):
            own = {"most": most[i, i], "random": random[:, i].mean(), "least": least[i, i]}
            if count > 1:
                own["other"] = np.delete(most[:, i], i).mean()
            found = {kind: float(own[kind]) for kind in DROPS if kind in own}
            words.append(WordEvidence(shown(word), float(whole[i]), word.attention, self.most[i], found))
        return tuple(words)


def mean_drops(words: Sequence[WordEvidence]) -> dict[str, float]:
    """Return the mean of every kind of drop over the words of a caption; words that lack a kind do not count in it."""
    found = {kind: [word.drops[kind] for word in words if kind in word.drops] for kind in DROPS}
    return {kind: float(np.mean(values)) for kind, values in found.items() if values}


def measure_split(
    run: Run,
    split: str = "valid",
    *,
    limit: int | None = 100,
    deletion: Deletion | None = None,
    progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Measure the captions of a split by deletion.

    The result is kept in the run's `faithfulness.json`, unless the folder is read-only.

    Args:
        run: A trained captioner.
        split: Name of the split.
        limit: At most so many pictures, spread evenly.
        deletion: How parts are hidden; the defaults when not given.
        progress: Is told what is done next.

    Returns:
        `{"split", "pictures", "words", "grid", "cells", "deletion", "drops", "contrasts", "most_above"}`. `drops` has
        for every kind the `mean` over pictures of the mean over a caption's words, and its standard error
        `se` over pictures (None for a single one). `contrasts` has the same for "most" minus each other kind, of the
        pictures that have both; `most_above` the share of words for which "most" is the larger.

    Raises:
        ConfigError: If it is no captioner.
        DataError: If the run has no data or the split no pictures.
    """
    deletion = deletion or Deletion()
    steps = CaptionSteps(run)
    requests = run.task.requests(run.dataset().split(split), run.preprocessor, limit=limit)
    if not len(requests):
        raise DataError(f"The split '{split}' has no pictures to measure; choose another split.")
    images = requests.inputs["image"]
    outputs = run.serving_outputs(requests.inputs)
    captions = []
    for row in range(len(requests)):
        caption = run.preprocessor.result({}, {name: array[[row]] for name, array in outputs.items()})
        assert isinstance(caption, Caption)
        captions.append(caption)
    found: list[tuple[WordEvidence, ...]] = []
    for start in range(0, len(captions), _TOGETHER):
        if progress is not None:
            progress(
                f"Hide parts of pictures {start + 1} to {min(start + _TOGETHER, len(captions))} of {len(captions)}"
            )
        part = slice(start, start + _TOGETHER)
        found += measure_captions(steps, images[part], captions[part], deletion)
    grid = captions[0].attention.shape[1:]
    result = {
        "split": split,
        "pictures": len(captions),
        "words": sum(map(len, found)),
        "grid": list(grid),
        "cells": deletion.cells(grid),
        "deletion": deletion.to_dict(),
        **_summary(found),
    }
    if run.folder is not None and not run.read_only:
        write_json(run.folder / _STORED, {**stored_faithfulness(run), split: result})
    return result


def stored_faithfulness(run: Run) -> dict[str, Any]:
    """Return what `measure_split` has measured of a run, by split; empty if nothing."""
    path = run.folder / _STORED if run.folder else None
    return read_json(path) if path is not None and path.exists() else {}


def faithfulness_rows(result: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return what `measure_split` found as the rows of a table."""
    names = {
        "most": "most attended",
        "other": "attended by the other words",
        "random": "as large a region at random",
        "least": "least attended",
    }
    rows = []
    for kind, drop in result["drops"].items():
        contrast = result["contrasts"].get(kind)
        above = result["most_above"].get(kind)
        rows.append(
            {
                "hidden": names[kind],
                "drop (nats)": _with_error(drop),
                "most minus it": "" if contrast is None else _with_error(contrast),
                "words with most above": "" if above is None else f"{above:.0%}",
            }
        )
    return rows


def _summary(pictures: Sequence[Sequence[WordEvidence]]) -> dict[str, Any]:
    means = [mean_drops(words) for words in pictures]
    words = [word.drops for found in pictures for word in found]
    others = [kind for kind in DROPS if kind != "most" and any(kind in drops for drops in words)]
    return {
        "drops": {kind: _mean([drops[kind] for drops in means if kind in drops]) for kind in ("most", *others)},
        "contrasts": {
            kind: _mean([drops["most"] - drops[kind] for drops in means if kind in drops]) for kind in others
        },
        "most_above": {
            kind: float(np.mean([drops["most"] > drops[kind] for drops in words if kind in drops])) for kind in others
        },
    }


def _mean(values: Sequence[float]) -> dict[str, float | None]:
    error = float(np.std(values, ddof=1) / len(values) ** 0.5) if len(values) > 1 else None
    return {"mean": float(np.mean(values)), "se": error}


def _with_error(value: Mapping[str, float | None]) -> str:
    return f"{value['mean']:.3f}" + ("" if value["se"] is None else f" ± {value['se']:.3f}")
