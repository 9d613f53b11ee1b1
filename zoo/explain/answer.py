"""One picture for one answer: what the model attended to, whatever the task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from zoo.errors import ZooError
from zoo.explain.deletion import DROPS, Deletion
from zoo.preprocess import Preprocessor
from zoo.results import Caption, Classification, Forecast, ImageClassification, Result

if TYPE_CHECKING:
    from zoo.explain.faithfulness import WordEvidence
    from zoo.explain.word_panels import WordPanel
    from zoo.export.runtime import Edge
    from zoo.run import Run


@dataclass(frozen=True)
class Explanation:
    """An answer with what can be said of it.

    Attributes:
        result: The answer.
        words: The words of a caption with what deletion says of each; empty where it was not measured.
        deletion: How parts of the picture were hidden; None where it was not measured.
        note: Why deletion was not measured, or "".
    """

    result: Result
    words: tuple[WordEvidence, ...] = ()
    deletion: Deletion | None = None
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return everything ready for JSON: the answer's fields, and for a measured caption `words` and `faithfulness`.

        `faithfulness` has the mean of every kind of drop over the words, `cells` (how many were hidden), `grid` (h, w)
        and the fields of `deletion`.
        """
        answer = self.result.to_dict()
        if self.note:
            answer["note"] = self.note
        if not self.deletion:
            return answer
        from zoo.explain.faithfulness import mean_drops

        grid = self.words[0].attention.shape
        means = {f"drop_{kind}": value for kind, value in mean_drops(self.words).items()}
        about = {"cells": self.deletion.cells(grid), "grid": list(grid), **self.deletion.to_dict()}
        return {**answer, "words": [word.to_dict() for word in self.words], "faithfulness": {**means, **about}}

    def rows(self) -> list[dict[str, str]]:
        """Return the words of a measured caption as the rows of a table, their mean last; drops are in nats."""
        if not self.words:
            return []
        from zoo.explain.faithfulness import mean_drops

        lines = [(word.text, f"{np.exp(word.log_probability):.3f}", word.drops) for word in self.words]
        lines.append(("mean", "", mean_drops(self.words)))
        return [
            {
                "word": text,
                "probability": chance,
                **{f"hide {name}": f"{drops[kind]:+.2f}" if kind in drops else "" for kind, name in DROPS.items()},
            }
            for text, chance, drops in lines
        ]


def explain(
    predictor: Run | Edge, value: Any, path: Path, *, deletion: Deletion | None = None, measure: bool = True
) -> Explanation:
    """Answer an input and draw what the model attended to; the words of a caption are measured by deletion.

    Args:
        predictor: A run or an open file; of a file made before the signatures `encode` and `step` words are drawn only.
        value: What `predict` takes.
        path: The PNG to write.
        deletion: How parts of a picture are hidden; the defaults when not given.
        measure: Whether to measure captions.

    Raises:
        DataError: If the input cannot be used.
        MissingExtraError: If matplotlib is not installed.
    """
    from zoo.explain.gallery import takes_pictures
    from zoo.preprocess.image import decode_image

    if takes_pictures(predictor.preprocessor):
        value = decode_image(value)
    explanation = Explanation(predictor.predict(value))
    if isinstance(explanation.result, Caption) and measure:
        explanation = _measured(predictor, value, explanation.result, deletion or Deletion())
    explanation_picture(predictor.preprocessor, value, explanation.result, path, explanation)
    return explanation


def explanation_picture(
    preprocessor: Preprocessor, value: Any, result: Result, path: Path, explanation: Explanation | None = None
) -> None:
    """Draw the attention of a caption's words or a picture's class, the weights of a text's tokens, or a forecast.

    Args:
        preprocessor: What turned `value` into the request.
        value: The input that was answered.
        result: The answer.
        path: The PNG to write.
        explanation: What was measured of a caption; only the attention is drawn when not given.

    Raises:
        MissingExtraError: If matplotlib is not installed.
    """
    if isinstance(result, (Caption, ImageClassification)):
        from zoo.explain.word_panels import word_panels
        from zoo.preprocess.image import decode_image

        explanation = explanation or Explanation(result)
        panels = _panels(result, preprocessor, explanation.words)
        word_panels(np.asarray(decode_image(value)), str(result), panels, path, _notes(explanation))
    elif isinstance(result, Classification):
        from zoo.explain.pictures import token_weights_picture

        tokens, weights = zip(*result.token_weights, strict=True)
        token_weights_picture(tokens, weights, str(result), path)
    elif isinstance(result, Forecast):
        from zoo.explain.pictures import forecast_fan_picture

        window = preprocessor.request(value)["window"][0]
        history = window[:, preprocessor.target_index]  # type: ignore[attr-defined]
        forecast_fan_picture(history, None, result.mean, result.quantiles, result.levels, None, str(result), path)
    else:
        raise ZooError(f"There is no picture for a {type(result).__name__}.")


def _measured(predictor: Run | Edge, value: Any, caption: Caption, deletion: Deletion) -> Explanation:
    from zoo.explain.faithfulness import measure_captions
    from zoo.explain.steps import CaptionSteps, has_steps

    if not has_steps(predictor):
        return Explanation(caption, note="This file is too old to be measured by deletion; export it again.")
    image = predictor.preprocessor.request(value)["image"]
    (words,) = measure_captions(CaptionSteps(predictor), image, [caption], deletion)
    return Explanation(caption, words, deletion)


def _panels(
    result: Caption | ImageClassification, preprocessor: Preprocessor, measured: Sequence[WordEvidence]
) -> list[WordPanel]:
    from zoo.explain.word_panels import WordPanel
    from zoo.explain.words import caption_words, shown

    if isinstance(result, ImageClassification):
        return [WordPanel(result.label, result.attention, result.probabilities[result.label])]
    if not measured:
        return [WordPanel(shown(word), word.attention) for word in caption_words(result, preprocessor)]
    return [
        WordPanel(word.text, word.attention, float(np.exp(word.log_probability)), word.hidden, word.drops)
        for word in measured
    ]


def _notes(explanation: Explanation) -> Sequence[str]:
    """Return what stands below the picture: how to read the bars, and their means."""
    if not explanation.deletion:
        return [explanation.note] if explanation.note else []
    from zoo.explain.faithfulness import mean_drops
    from zoo.explain.word_panels import signed

    grid = explanation.words[0].attention.shape
    cells, total = explanation.deletion.cells(grid), grid[0] * grid[1]
    means = ", ".join(f"{DROPS[kind]} {signed(value)}" for kind, value in mean_drops(explanation.words).items())
    fill = {"mean": "filled with the picture's mean colour", "blur": "blurred"}[explanation.deletion.fill]
    return [
        f"Bars: by how much the word's log-probability (nats) falls when {cells} of {total} cells are {fill}: those it "
        "attends to most (outlined), those the other words attend to most, a region of such a shape at random, and "
        "those it attends to least.",
        f"Mean over the words: {means}. A map tells what words rest on only where “most” is clearly above the others.",
    ]
