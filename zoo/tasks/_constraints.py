"""What a caption must not hold, and what it must: masks and states of static shape for the searches.

Words are tuples of token ids. A word of several tokens is met, or kept out, as exactly this sequence.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops

from zoo.preprocess.captioning import END, PADDING

Tensor = Any
Word = tuple[int, ...]
_NEVER = -1e9


def block(
    log_probabilities: Tensor, tokens: Tensor, position: Tensor, *, never: Sequence[Word] = (), no_repeat_ngram: int = 0
) -> Tensor:
    """Set tokens that would complete what must not be to -1e9; the others keep their log-probability.

    Args:
        log_probabilities: float32 (R, V), of the tokens that may stand at `position`.
        tokens: int32 (R, T), what was said; padding from `position` on.
        position: int32 scalar.
        never: Words that no caption may hold; of one with several tokens the last may not follow the others.
        no_repeat_ngram: Length of the sequences that no caption holds twice (Paulus et al. 2018, arXiv:1705.04304,
            section 2.5); 0 for no such rule.
    """
    rows, vocab_size = log_probabilities.shape
    alone = [word[0] for word in never if len(word) == 1]
    if alone:
        log_probabilities = ops.where(np.isin(np.arange(vocab_size), alone)[None], _NEVER, log_probabilities)
    completing = []
    if longer := [word for word in never if 1 < len(word) <= tokens.shape[1]]:
        completing.append(_ends_of_words(tokens, position, longer))
    if 0 < no_repeat_ngram <= tokens.shape[1]:
        completing.append(_ends_of_ngrams(tokens, position, no_repeat_ngram))
    if not completing:
        return log_probabilities
    ids = ops.concatenate(completing, axis=1)
    places = ops.expand_dims(np.arange(rows, dtype="int32") * vocab_size, 1) + ids
    hits = ops.scatter(ops.reshape(places, (-1, 1)), ops.ones((rows * ids.shape[1],)), (rows * vocab_size,))
    return ops.where(ops.reshape(hits, (rows, vocab_size)) > 0.5, _NEVER, log_probabilities)


def _ends_of_words(tokens: Tensor, position: Tensor, words: Sequence[Word]) -> Tensor:
    """Return the last token of every word whose others were said just now, else padding, int32 (R, words)."""
    lengths = np.array([len(word) for word in words], np.int32)
    begun = ops.expand_dims(lengths <= position + 1, 0)
    for back in range(1, max(lengths)):
        wanted = np.array([word[-1 - back] if back < len(word) else -1 for word in words], np.int32)
        said = ops.expand_dims(_said(tokens, position, back), 1)
        begun = ops.logical_and(begun, ops.logical_or(said == wanted[None], (wanted < 0)[None]))
    return ops.where(begun, np.array([word[-1] for word in words], np.int32)[None], PADDING)


def _ends_of_ngrams(tokens: Tensor, position: Tensor, size: int) -> Tensor:
    """Return what followed each earlier place of the last `size - 1` tokens, else padding, int32 (R, T - size + 1)."""
    places = tokens.shape[1] - size + 1
    following = tokens[:, size - 1 :]  # padding where a place is not yet a whole n-gram
    for back in range(1, size):
        first = size - 1 - back
        said = ops.expand_dims(_said(tokens, position, back), 1)
        following = ops.where(tokens[:, first : first + places] == said, following, PADDING)
    return following


def _said(tokens: Tensor, position: Tensor, back: int) -> Tensor:
    """Return the token so many places before `position`, or the first one, int32 (R,)."""
    return ops.take(tokens, ops.maximum(position - back, 0), axis=1)


def transitions(must: Sequence[Word], vocab_size: int) -> np.ndarray:
    """Return the automaton of captions that must hold some words (Anderson et al. 2017, arXiv:1612.00576, section 3.2).

    A state is which words are missing, and how much of one has been said just now. State 0 is the beginning, the last
    one that nothing is missing; in all others the caption may not end.

    Args:
        must: The words; without any there is one state.
        vocab_size: V.

    Returns:
        int32 (S, V): the state after each token, -1 where it may not come.
    """
    states: list[tuple[frozenset[Word], Word]] = [(frozenset(must), ())]
    letters = sorted({token for word in must for token in word})
    for state in states:
        states += [after for token in letters if (after := _move(state, token)) not in states]
    states.sort(key=lambda state: -len(state[0]))  # stable: the beginning stays first
    table = np.zeros((len(states), vocab_size), np.int32)
    for number, state in enumerate(states):
        table[number] = states.index((state[0], ()))
        for token in letters:
            table[number, token] = states.index(_move(state, token))
        table[number, END] = -1 if state[0] else number
    return table


def _move(state: tuple[frozenset[Word], Word], token: int) -> tuple[frozenset[Word], Word]:
    missing, said = state[0], (*state[1], token)
    missing = frozenset(word for word in missing if said[-len(word) :] != word)
    while said and not any(word[: len(said)] == said for word in missing):
        said = said[1:]
    return missing, said
