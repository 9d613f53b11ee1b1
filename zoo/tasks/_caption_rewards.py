"""Self-critical sequence training (Rennie et al. 2017, arXiv:1612.00563): batches of captions that the model draws.

Of each picture captions are drawn from the model as it is. A caption's advantage is its reward less a baseline: the
reward of the greedy caption (equation 8), or the mean reward of the picture's other samples (Luo 2020,
arXiv:2003.09971).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from zoo.preprocess.captioning import END, PADDING, UNKNOWN
from zoo.tasks._caption_sets import shifted

Answer = Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]
_LEAST_SPREAD = 0.1
"""Added to a standard deviation of rewards: what differs less hardly counts."""

Reward = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""From positions of pictures int (N,) and captions int32 (N, T), ended and padded, to rewards float32 (N,)."""


class PictureNumbers:
    """Training examples that are pictures alone, with their positions as targets.

    Args:
        pictures: See `zoo.tasks._caption_sets`.
        name: The model's input.
        total: Number of pictures.
    """

    def __init__(self, pictures: Any, name: str, total: int) -> None:
        """Keep the parts."""
        self._pictures, self._name, self._total = pictures, name, total

    def __len__(self) -> int:
        """Return the number of pictures."""
        return self._total

    def batch(
        self, indices: np.ndarray, rng: np.random.Generator | None
    ) -> tuple[dict[str, np.ndarray], np.ndarray, None]:
        """Return inputs and positions int64 (B,)."""
        return {self._name: self._pictures(indices, rng)}, np.asarray(indices, np.int64), None


class SampledBatches:
    """Batches for `PolicyLoss`, drawn from the model when they are asked for.

    What is drawn depends on the seed, the number of the batch and the weights alone.

    Args:
        batches: Of `PictureNumbers`.
        answer: From the pictures' input and `uniforms` float32 (B, K, T) to `tokens` int32 (B, K, T) with `length`
            (B, K) and, for the baseline "greedy", `greedy` int32 (B, T) with `greedy_length` (B,). A caption of T
            tokens has no end.
        reward: Scores captions.
        count: K, captions drawn for a picture.
        max_length: T.
        baseline: "greedy" or "mean".
        scale: Whether a picture's advantages are divided by the standard deviation of its rewards (Shao et al. 2024,
            arXiv:2402.03300, section 4.1.2).
        seed: Decides what is drawn.
    """

    def __init__(
        self,
        batches: Any,
        answer: Answer,
        reward: Reward,
        *,
        count: int,
        max_length: int,
        baseline: str,
        scale: bool = False,
        seed: int,
    ) -> None:
        """Keep the parts."""
        self._batches, self._answer, self._reward = batches, answer, reward
        self._count, self._length, self._baseline = count, max_length, baseline
        self._scale, self._seed = scale, seed
        self._step = 0
        self._seen: list[float] = []

    def __iter__(self) -> Iterator[Any]:
        """Return itself."""
        return self

    def __next__(self) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
        """Return inputs, targets float32 (B, K, T, 2) and weights float32 (B, K, T), 0 after the end."""
        inputs, numbers, _ = next(self._batches)
        rng = np.random.default_rng([self._seed, 0, self._step])
        self._step += 1
        uniforms = rng.random((len(numbers), self._count, self._length), np.float32)
        found = self._answer({**inputs, "uniforms": uniforms})
        tokens = ended(found["tokens"], found["length"])
        rewards = self._reward(np.repeat(numbers, self._count), tokens.reshape(-1, self._length))
        rewards = rewards.reshape(-1, self._count)
        if self._baseline == "greedy":
            advantage = rewards - self._reward(numbers, ended(found["greedy"], found["greedy_length"]))[:, None]
        else:
            advantage = rewards - mean_of_others(rewards)
        if self._scale:
            advantage = advantage / (rewards.std(axis=1, keepdims=True) + _LEAST_SPREAD)
        self._seen.append(float(rewards.mean()))
        targets = np.stack([tokens, np.broadcast_to(advantage[..., None], tokens.shape)], axis=-1, dtype=np.float32)
        return {**inputs, "tokens": shifted(tokens)}, targets, (tokens != PADDING).astype(np.float32)

    def mean(self) -> dict[str, float]:
        """Return the mean `reward` of what was drawn since the last call."""
        mean = float(np.mean(self._seen)) if self._seen else np.nan
        self._seen.clear()
        return {"reward": mean}

    def get_state(self) -> dict[str, Any]:
        """Return where in the stream this is."""
        return {"step": self._step, "batches": self._batches.get_state(), "seen": self._seen.copy()}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self._step = state["step"]
        self._batches.set_state(state["batches"])
        self._seen = list(state["seen"])


class HeldOut:
    """Examples of given captions in the form of `SampledBatches`, each with advantage 1: the loss is their likelihood.

    Unknown words do not count: the search never says them.

    Args:
        examples: Of `CaptionSets`.
    """

    def __init__(self, examples: Any) -> None:
        """Keep the examples."""
        self._examples = examples

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self._examples)

    def batch(self, indices: np.ndarray, rng: np.random.Generator | None) -> tuple[Any, np.ndarray, np.ndarray]:
        """See `Examples`."""
        inputs, tokens, weights = self._examples.batch(indices, rng)
        targets = np.stack([tokens, np.ones_like(tokens)], axis=-1).astype(np.float32)
        return inputs, targets, weights * (tokens != UNKNOWN)


def ended(tokens: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Return a copy of tokens int32 (..., T), padded after `lengths` (...), with the end put where there is room."""
    at_end = np.arange(tokens.shape[-1]) == np.asarray(lengths)[..., None]
    return np.where(at_end, np.int32(END), tokens)


def mean_of_others(rewards: np.ndarray) -> np.ndarray:
    """Return for each of the rewards (B, K) the mean of the others of its row."""
    return (rewards.sum(axis=1, keepdims=True) - rewards) / (rewards.shape[1] - 1)
