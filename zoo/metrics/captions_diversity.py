"""How varied captions are, and whether they are new.

The scores against references say nothing of it: a model that repeats the most common training caption can have a good
CIDEr and tell nothing of a picture. Distinct n-grams: Li et al. 2016 (arXiv:1510.03055), section 5. Novel captions:
Vinyals et al. 2015 (arXiv:1411.4555), section 4.3.4.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from zoo.errors import DataError
from zoo.metrics.captions import normalize_caption, tokenize_caption


def caption_diversity(hypotheses: Sequence[str], language: str = "en") -> dict[str, float]:
    """Measure a set of captions against itself.

    Args:
        hypotheses: N captions.
        language: Two-letter code, see `tokenize_caption`.

    Returns:
        ``distinct1`` and ``distinct2``: different words (pairs of neighbours) in all captions as a share of all words
        (pairs), 0 to 1; it falls with N, so compare it on the same pictures only. ``vocabulary``: different words.
        ``mean_length``: words a caption.

    Raises:
        DataError: If there is no caption.
    """
    if not len(hypotheses):
        raise DataError("Caption diversity got no caption; give at least one.")
    captions = [tokenize_caption(text, language) for text in hypotheses]
    words = [word for caption in captions for word in caption]
    pairs = [pair for caption in captions for pair in zip(caption, caption[1:], strict=False)]
    return {
        "distinct1": len(set(words)) / max(len(words), 1),
        "distinct2": len(set(pairs)) / max(len(pairs), 1),
        "vocabulary": float(len(set(words))),
        "mean_length": len(words) / len(captions),
    }


def caption_novelty(hypotheses: Sequence[str], known: Collection[str]) -> dict[str, float]:
    """Measure how many captions were copied from training.

    Args:
        hypotheses: N captions.
        known: The training captions in the form of `normalize_caption`; a set, for speed.

    Returns:
        ``copied``: share of the captions that are a training caption, in that form, and ``novel_captions``: of the
        others.

    Raises:
        DataError: If there is no caption.
    """
    if not len(hypotheses):
        raise DataError("Caption novelty got no caption; give at least one.")
    copied = sum(normalize_caption(text) in known for text in hypotheses) / len(hypotheses)
    return {"copied": copied, "novel_captions": 1.0 - copied}
