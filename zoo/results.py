"""What a prediction returns: small typed records, the same from a run and from a `.tflite` file."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np


class Result:
    """Base of the typed results."""

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a dictionary ready for JSON (arrays stay arrays; `zoo.files.to_json` converts them)."""
        return dataclasses.asdict(self)  # type: ignore[call-overload]


@dataclass(frozen=True)
class Caption(Result):
    """A caption.

    Attributes:
        text: The caption.
        score: Mean log-probability of its tokens (including the end), at most 0.
        tokens: The pieces of the caption, one per generated step, without start and end.
        attention: float32 (len(tokens), h, w): where the model looked for each piece; each map sums to 1.
    """

    text: str
    score: float
    tokens: tuple[str, ...]
    attention: np.ndarray

    def __str__(self) -> str:
        """Return the text with its score."""
        return f"{self.text}  ({self.score:.2f})"


@dataclass(frozen=True)
class StreamedWord(Result):
    """A word of a caption that is still being made.

    Attributes:
        text: The word, with the space before it that the caption has: the texts of all words joined are the caption.
        score: Mean log-probability of its tokens, at most 0.
        tokens: Its pieces.
        attention: float32 (h, w): where the model looked for it, the mean over its pieces; sums to 1.
    """

    text: str
    score: float
    tokens: tuple[str, ...]
    attention: np.ndarray

    def __str__(self) -> str:
        """Return the text."""
        return self.text


@dataclass(frozen=True)
class Classification(Result):
    """A class with its probability.

    Attributes:
        label: The most probable class.
        probabilities: Probability of every class, in class order.
        token_weights: (token, weight) pairs, weights sum to 1 over the tokens of the text.
    """

    label: str
    probabilities: dict[str, float]
    token_weights: tuple[tuple[str, float], ...]

    def __str__(self) -> str:
        """Return the label with its probability."""
        return f"{self.label}  ({self.probabilities[self.label]:.3f})"


@dataclass(frozen=True)
class ImageClassification(Result):
    """A picture's class with its probability.

    Attributes:
        label: The most probable class.
        probabilities: Probabilities of the most probable classes, at most ten, the highest first.
        attention: float32 (h, w): what share of the evidence for the class each place of the picture gave; sums to 1.
    """

    label: str
    probabilities: dict[str, float]
    attention: np.ndarray

    def __str__(self) -> str:
        """Return the label with its probability."""
        return f"{self.label}  ({self.probabilities[self.label]:.3f})"


@dataclass(frozen=True)
class Forecast(Result):
    """A forecast in the series' own unit.

    Attributes:
        mean: float32 (horizon,).
        quantiles: float32 (horizon, len(levels)).
        levels: The quantile levels, ascending.
        last: The last known value.
        step_weights: float32 (window,): weight of every step of the window; sums to 1.
        target: Name of the forecast column.
    """

    mean: np.ndarray
    quantiles: np.ndarray
    levels: tuple[float, ...]
    last: float
    step_weights: np.ndarray
    target: str

    def __str__(self) -> str:
        """Return last value and the forecast with its outer band at the end of the horizon."""
        low, high = self.quantiles[-1, 0], self.quantiles[-1, -1]
        return (
            f"{self.target}: {self.last:.6g} -> {self.mean[-1]:.6g} in {len(self.mean)} steps "
            f"({self.levels[0]:.0%}-{self.levels[-1]:.0%}: {low:.6g} to {high:.6g})"
        )
