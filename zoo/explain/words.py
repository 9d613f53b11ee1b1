"""The words of a caption, each with its pieces and where the model looked for it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from zoo.errors import DataError
from zoo.preprocess import Preprocessor
from zoo.preprocess._stream import Token, join_words
from zoo.preprocess.captioning import CaptionPreprocessor
from zoo.results import Caption, StreamedWord


def caption_words(
    caption: Caption, preprocessor: Preprocessor, scores: Sequence[float] | np.ndarray | None = None
) -> list[StreamedWord]:
    """Merge the pieces of a caption to words; a word's map is the mean of its pieces'.

    In a language without spaces every piece is a word. What a stream says of a picture is the same.

    Args:
        caption: The caption, T pieces.
        preprocessor: Holds the vocabulary it was made with.
        scores: Log-probability of every piece, (T,); NaN when not given.

    Returns:
        The words in order; the numbers of their pieces sum to T.
    """
    assert isinstance(preprocessor, CaptionPreprocessor)
    scores = np.full(len(caption.tokens), np.nan) if scores is None else scores
    pieces = zip(token_ids(caption, preprocessor), scores, caption.attention, strict=True)
    return list(join_words((Token(int(i), float(score), weights) for i, score, weights in pieces), preprocessor))


def token_ids(caption: Caption, preprocessor: Preprocessor) -> np.ndarray:
    """Return the numbers of a caption's pieces in the vocabulary, int32 (T,).

    Raises:
        DataError: If a piece is not in it: the caption is another model's.
    """
    assert isinstance(preprocessor, CaptionPreprocessor)
    numbers = {token: i for i, token in enumerate(preprocessor.tokens)}
    unknown = next((token for token in caption.tokens if token not in numbers), None)
    if unknown is not None:
        raise DataError(f"The caption has the piece '{unknown}', which its vocabulary lacks; take that of its model.")
    return np.array([numbers[token] for token in caption.tokens], np.int32)


def shown(word: StreamedWord) -> str:
    """Return a word without the space around it; of a lone word sign a mark is left."""
    return word.text.strip() or "␣"
