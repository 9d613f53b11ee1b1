"""Diversity and novelty, by hand."""

import pytest

from zoo.errors import DataError
from zoo.metrics.captions import normalize_caption
from zoo.metrics.captions_diversity import caption_diversity, caption_novelty


def test_diversity_by_hand():
    # 8 words: a(2) red(1) cat(2) sat(1) the(1) dog(1), 6 different; pairs: a red, red cat, cat sat | a cat | the dog
    captions = ["A red cat sat.", "a cat", "", "the dog"]
    assert caption_diversity(captions) == {"distinct1": 6 / 8, "distinct2": 1, "vocabulary": 6, "mean_length": 2}
    # "a cat" once more: 10 words, 6 different; 6 pairs, 5 different
    again = caption_diversity([*captions, "a cat"])
    assert again["distinct1"] == 6 / 10 and again["distinct2"] == 5 / 6 and again["mean_length"] == 10 / 5
    assert caption_diversity(["猫猫狗"], "zh") == {
        "distinct1": 2 / 3,
        "distinct2": 1,
        "vocabulary": 2,
        "mean_length": 3,
    }
    assert caption_diversity(["", "..."]) == {"distinct1": 0, "distinct2": 0, "vocabulary": 0, "mean_length": 0}


def test_novelty_by_hand():
    known = {normalize_caption(text) for text in ("A  red cat.", "straße")}
    found = caption_novelty(["a red cat.", "a red cat", "STRASSE", "dog"], known)
    assert found == {"copied": 0.5, "novel_captions": 0.5}


def test_no_captions():
    with pytest.raises(DataError, match="diversity"):
        caption_diversity([])
    with pytest.raises(DataError, match="novelty"):
        caption_novelty([], set())
