"""Captions word by word: greedy search outside the graph, one call of the signature `step` a token."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from zoo.errors import ModelFileError
from zoo.preprocess.captioning import END, START, UNSPACED_LANGUAGES, WORD_SIGN, CaptionPreprocessor
from zoo.results import StreamedWord

Arrays = dict[str, np.ndarray]
Run = Callable[[Mapping[str, np.ndarray], str], Arrays]
Tensors = Mapping[str, tuple[tuple[int, ...], np.dtype[Any]]]


class Token(NamedTuple):
    """A generated token.

    Attributes:
        id: Its number in the vocabulary.
        score: Its log-probability.
        attention: float32 (h, w).
    """

    id: int
    score: float
    attention: np.ndarray


def stream_tokens(run: Run, inputs: Mapping[str, np.ndarray], takes: Tensors, max_length: int) -> Iterator[Token]:
    """Yield the tokens of the first picture's caption without the end, as the model gives them.

    Args:
        run: Runs the signature it is given by name.
        inputs: `image` uint8 (B, H, W, 3).
        takes: Name -> (shape, dtype) of the inputs of `step`.
        max_length: Most tokens.
    """
    empty = {name: np.zeros(*tensor) for name, tensor in takes.items() if name.startswith("cache_")}
    state = {**empty, **run(inputs, "encode")}
    token = np.full(len(inputs["image"]), START, np.int32)
    for position in range(max_length):
        outputs = run({"token": token, "position": np.array(position, np.int32), **state}, "step")
        token = outputs["next_token"]
        if token[0] == END:
            return
        if not 0 <= token[0] < outputs["log_probabilities"].shape[1]:
            raise ModelFileError(f"The model gives the token {token[0]}, which does not exist; export it again.")
        yield Token(int(token[0]), float(outputs["log_probabilities"][0, token[0]]), outputs["attention"][0])
        state |= {name: array for name, array in outputs.items() if name in state}


def join_words(tokens: Iterator[Token], preprocessor: CaptionPreprocessor) -> Iterator[StreamedWord]:
    """Yield words as soon as the next one begins, and the last at the end.

    In a language without spaces every token is final when it comes.
    """
    ids: list[int] = []
    waiting: list[Token] = []
    said = ""
    for token in tokens:
        if waiting and _begins_word(token.id, preprocessor):
            text = preprocessor.decode(ids)
            if len(text) > len(said):  # not so after a lone word sign
                yield _word(text[len(said) :], waiting, preprocessor)
                said, waiting = text, []
        ids.append(token.id)
        waiting.append(token)
    if waiting:
        yield _word(preprocessor.decode(ids)[len(said) :], waiting, preprocessor)


def _begins_word(token: int, preprocessor: CaptionPreprocessor) -> bool:
    return preprocessor.language in UNSPACED_LANGUAGES or "".join(preprocessor.pieces([token])).startswith(WORD_SIGN)


def _word(text: str, tokens: list[Token], preprocessor: CaptionPreprocessor) -> StreamedWord:
    return StreamedWord(
        text=text,
        score=float(np.mean([token.score for token in tokens])),
        tokens=preprocessor.pieces(token.id for token in tokens),
        attention=np.stack([token.attention for token in tokens]).mean(axis=0, dtype=np.float32),
    )
