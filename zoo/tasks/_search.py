"""Greedy search, sampling, beam search and consensus in the graph: a `while_loop` over a key-value cache, `keras.ops`.

All take a decoder with `start(memory, max_length)` and `step(tokens, position, cache)` (see
`zoo.layers.transformer_decoder`). The graph converts to LiteRT's built-in operators.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from keras import ops

from zoo.preprocess.captioning import END, PADDING, START, UNKNOWN
from zoo.tasks._consensus import expected_similarity
from zoo.tasks._constraints import Word, block, transitions
from zoo.tasks._sampling import draw, truncate

Tensor = Any
_NEVER = -1e9
_LACKING = 1e5  # below any log-probability of a caption


class Found(NamedTuple):
    """What a search returns.

    Attributes:
        tokens: int32 (B, T), after the end all padding; the end itself is left out.
        length: int32 (B,), number of tokens, 1 to T.
        score: float32 (B,), mean log-probability of the tokens and the end.
        attention: float32 (B, T, N), weights over the memory for each token; 0 after the last.
    """

    tokens: Tensor
    length: Tensor
    score: Tensor
    attention: Tensor


def greedy_search(
    decoder: Any, memory: Tensor, *, max_length: int, never: Sequence[Word] = (), no_repeat_ngram: int = 0
) -> Found:
    """Take the most probable token at every step, until all captions have ended.

    Args:
        decoder: The decoder, built.
        memory: (B, N, D), B and N static.
        max_length: T, most steps.
        never: Words that no caption may hold (see `zoo.tasks._constraints.block`).
        no_repeat_ngram: Length of the sequences that no caption holds twice; 0 for no such rule.
    """

    def choose(log_probabilities: Tensor, tokens: Tensor, position: Tensor) -> Tensor:
        return next_token(block(log_probabilities, tokens, position, never=never, no_repeat_ngram=no_repeat_ngram))

    return _walk(decoder, memory, max_length, choose)


def sample_search(
    decoder: Any,
    memory: Tensor,
    uniforms: Tensor,
    *,
    max_length: int,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    never: Sequence[Word] = (),
    no_repeat_ngram: int = 0,
) -> Found:
    """Draw the token of every step from the model's distribution, until all captions have ended.

    Nothing in the graph is random: the same `uniforms` draw the same captions on every backend and in a file, up to
    the rounding of the probabilities. `score` is under the model's own distribution, before all of the following.

    Args:
        decoder: The decoder, built.
        memory: (B, N, D), B and N static.
        uniforms: float32 (B, T) or (1, T), from 0 to below 1: one number for every caption and step.
        max_length: T, most steps.
        temperature: What log-probabilities are divided by, above 0; below 1 the probable tokens come more often.
        top_k: Draw from so many most probable tokens; 0 for all.
        top_p: Draw from the fewest most probable tokens with this share (see `zoo.tasks._sampling.truncate`).
        never: Words that no caption may hold.
        no_repeat_ngram: Length of the sequences that no caption holds twice; 0 for no such rule.
    """

    def choose(log_probabilities: Tensor, tokens: Tensor, position: Tensor) -> Tensor:
        allowed = block(log_probabilities, tokens, position, never=never, no_repeat_ngram=no_repeat_ngram)
        scaled = allowed if temperature == 1.0 else allowed * (1.0 / temperature)
        return draw(truncate(scaled, top_k=top_k, top_p=top_p), ops.take(uniforms, position, axis=1))

    return _walk(decoder, memory, max_length, choose)


def _walk(decoder: Any, memory: Tensor, max_length: int, choose: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Found:
    """Go on with one token for each caption.

    `choose` gets log-probabilities (B, V), the tokens so far (B, T) and the position, and returns int32 (B,).
    """
    state = _beginning(decoder, memory, max_length, ops.zeros((memory.shape[0],), "float32"))

    def step(position: Tensor, last: Tensor, alive: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        tokens, total, steps, attention, *cache = rest
        log_probs, cache, weights = step_log_probabilities(decoder, last, position, tuple(cache))
        token = choose(log_probs, tokens, position)
        chosen = ops.expand_dims(token, -1) == ops.expand_dims(ops.arange(log_probs.shape[-1], dtype="int32"), 0)
        total = total + alive * ops.sum(ops.where(chosen, log_probs, 0.0), axis=-1)
        said = _say(position, token, weights, alive, tokens, total, steps, attention)
        return (*said, *cache)

    _, _, alive, tokens, total, steps, attention, *_ = ops.while_loop(_goes_on(max_length), step, state)
    return _found(tokens, alive, total, steps, attention)


def beam_search(
    decoder: Any,
    memory: Tensor,
    *,
    max_length: int,
    width: int,
    length_penalty: float = 1.0,
    never: Sequence[Word] = (),
    no_repeat_ngram: int = 0,
    must: Sequence[Word] = (),
) -> Found:
    """Keep the `width` most probable captions at every step; ended ones keep their place and their probability.

    The answer is the caption with the highest `log_probability / steps ** length_penalty`, the end being a step.

    With words that must come there are as many beams in each state of their automaton (see
    `zoo.tasks._constraints.transitions`), and the answer is the best caption that has all of them. Where the other
    rules keep them out, it is one that lacks the fewest. All T steps are run then.

    Args:
        decoder: The decoder, built.
        memory: (B, N, D), B and N static.
        max_length: T, most steps.
        width: K, captions kept, in each state.
        length_penalty: 0 prefers short captions, 1 compares means.
        never: Words that no caption may hold.
        no_repeat_ngram: Length of the sequences that no caption holds twice; 0 for no such rule.
        must: Words that every caption must hold.
    """
    rules: dict[str, Any] = {"never": never, "no_repeat_ngram": no_repeat_ngram, "must": must}
    kept = _keep(decoder, memory, max_length=max_length, width=width, **rules)
    ranked = kept.total / ops.power(ops.maximum(kept.steps, 1.0), length_penalty)
    ranked = ops.where(kept.total > 0.5 * _NEVER, ranked, _NEVER)
    lacking = np.arange(ranked.shape[1] // width)[::-1].repeat(width).astype("float32")
    return _answer(kept, ranked - _LACKING * lacking)


def consensus_search(
    decoder: Any,
    memory: Tensor,
    *,
    max_length: int,
    width: int,
    never: Sequence[Word] = (),
    no_repeat_ngram: int = 0,
) -> Found:
    """Keep the `width` most probable captions as beam search does, and take the one that the others agree with most.

    See `zoo.tasks._consensus`; `score` is the model's own mean log-probability of that caption.

    Args:
        decoder: The decoder, built.
        memory: (B, N, D), B and N static.
        max_length: T, most steps.
        width: K, captions kept.
        never: Words that no caption may hold.
        no_repeat_ngram: Length of the sequences that no caption holds twice; 0 for no such rule.
    """
    kept = _keep(decoder, memory, max_length=max_length, width=width, never=never, no_repeat_ngram=no_repeat_ngram)
    agreed = expected_similarity(kept.tokens, 1.0 - kept.alive, kept.total)
    return _answer(kept, ops.where(kept.total > 0.5 * _NEVER, agreed, _NEVER))


class _Kept(NamedTuple):
    """The captions that a search has kept, K of each picture.

    Attributes:
        tokens: int32 (B, K, T), after the end all padding.
        alive: float32 (B, K), 1 where the caption has no end.
        total: float32 (B, K), log-probability; -1e9 and less for what is none.
        steps: float32 (B, K), number of tokens and the end.
        attention: float32 (B, K, T, N), weights over the memory for each token.
    """

    tokens: Tensor
    alive: Tensor
    total: Tensor
    steps: Tensor
    attention: Tensor


def _answer(kept: _Kept, value: Tensor) -> Found:
    """Take the caption of the highest value (B, K) of each picture."""
    batch, beams = value.shape
    best = next_token(value) + ops.arange(batch, dtype="int32") * beams
    return _found(*(ops.take(ops.reshape(every, (batch * beams, *every.shape[2:])), best, axis=0) for every in kept))


def _keep(
    decoder: Any,
    memory: Tensor,
    *,
    max_length: int,
    width: int,
    never: Sequence[Word] = (),
    no_repeat_ngram: int = 0,
    must: Sequence[Word] = (),
) -> _Kept:
    """Run beam search to its end; with words that must come, `width` captions in each state, the last has them all."""
    batch, cells, dim = memory.shape
    after = transitions(must, decoder.vocab_size) if must else np.zeros((1, 1), np.int32)
    states = len(after)
    beams = states * width
    rows = batch * beams
    memory = ops.reshape(ops.repeat(ops.expand_dims(memory, 1), beams, axis=1), (rows, cells, dim))
    first_rows = ops.reshape(ops.arange(batch, dtype="int32") * beams, (batch, 1))
    # At first all beams are equal: only the first one of each picture counts.
    total = ops.tile(ops.concatenate([ops.zeros((1,)), ops.full((beams - 1,), _NEVER)]), (batch,))
    state = _beginning(decoder, memory, max_length, total)

    def step(position: Tensor, last: Tensor, alive: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        tokens, total, steps, attention, *before = rest
        log_probs, cache, weights = step_log_probabilities(decoder, last, position, tuple(before))
        log_probs = block(log_probs, tokens, position, never=never, no_repeat_ngram=no_repeat_ngram)
        vocab_size = log_probs.shape[-1]
        # An ended caption goes on with padding, at no cost and with nothing else possible.
        stay = ops.where(ops.arange(vocab_size, dtype="int32") == PADDING, 0.0, _NEVER)
        going = ops.expand_dims(alive, -1)
        totals = ops.expand_dims(total, -1) + going * log_probs + (1.0 - going) * ops.expand_dims(stay, 0)
        totals = ops.reshape(totals, (batch, 1, beams * vocab_size))
        if must:
            reached = np.repeat(after, width, axis=0).reshape(1, 1, -1)
            there = ops.equal(reached, np.arange(states, dtype="int32").reshape(1, -1, 1))
            totals = ops.where(there, totals, 2 * _NEVER)
        total, best = ops.top_k(totals, width)
        best = ops.reshape(ops.cast(best, "int32"), (batch, beams))
        token = ops.reshape(best % vocab_size, (rows,))
        parent = ops.reshape(best // vocab_size + first_rows, (rows,))
        tokens, alive, steps, attention, weights = (
            ops.take(kept, parent, axis=0) for kept in (tokens, alive, steps, attention, weights)
        )
        # What a step leaves as it is belongs to the picture and is the same in all of its beams.
        cache = [now if now is old else ops.take(now, parent, axis=0) for now, old in zip(cache, before, strict=True)]
        said = _say(position, token, weights, alive, tokens, ops.reshape(total, (rows,)), steps, attention)
        return (*said, *cache)

    _, _, alive, tokens, total, steps, attention, *_ = ops.while_loop(_goes_on(max_length), step, state)
    alive, total, steps = (ops.reshape(every, (batch, beams)) for every in (alive, total, steps))
    tokens = ops.reshape(tokens, (batch, beams, max_length))
    return _Kept(tokens, alive, total, steps, ops.reshape(attention, (batch, beams, max_length, cells)))


def _goes_on(max_length: int) -> Callable[..., Tensor]:
    def goes_on(position: Tensor, _: Tensor, alive: Tensor, *rest: Tensor) -> Tensor:
        return ops.logical_and(position < max_length, ops.max(alive) > 0.5)

    return goes_on


def step_log_probabilities(
    decoder: Any, last: Tensor, position: Tensor, cache: tuple[Tensor, ...]
) -> tuple[Tensor, Any, Tensor]:
    """Return log-probabilities (B, V) of the tokens that may follow, the new cache, and the weights (B, N).

    Args:
        decoder: The decoder, built.
        last: int32 (B,), the tokens at `position`.
        position: int32 scalar.
        cache: What `decoder.start` or the last step gave.
    """
    logits, cache, weights = decoder.step(last, position, cache)
    logits = only_possible(ops.cast(logits, "float32"), position)
    return ops.log_softmax(logits, axis=-1), cache, ops.cast(weights, "float32")


def only_possible(logits: Tensor, position: Tensor) -> Tensor:
    """Set the logits of what may never follow to -1e9: padding, start and unknown, and at position 0 the end.

    Args:
        logits: float32 (..., V), or (..., T, V) with as many positions.
        position: int32 scalar, or int32 (T,).
    """
    ids = ops.arange(logits.shape[-1], dtype="int32")
    never = ops.logical_or(ops.logical_or(ids == PADDING, ids == START), ids == UNKNOWN)
    first = ops.expand_dims(ops.equal(position, 0), -1)
    never = ops.logical_or(never, ops.logical_and(ids == END, first))  # no caption is empty
    # Chosen, not added: a sum would be quantised with a range that leaves nothing for the logits.
    return ops.where(never, _NEVER, logits)


def next_token(log_probabilities: Tensor) -> Tensor:
    """Return the most probable token, (B, V) -> int32 (B,)."""
    # Not argmax: Keras's needs a bitwise operator that LiteRT does not have.
    return ops.cast(ops.squeeze(ops.top_k(log_probabilities, 1)[1], -1), "int32")


def _is_not_end(token: Tensor) -> Tensor:
    return ops.cast(ops.not_equal(token, END), "float32")


def _beginning(decoder: Any, memory: Tensor, max_length: int, total: Tensor) -> tuple[Tensor, ...]:
    """Return the state of a search before its first step: what `_say` returns, and the decoder's cache.

    `total` (rows,) are the log-probabilities that captions begin with; there is one caption for each row of the memory.
    """
    rows, cells = memory.shape[0], memory.shape[1]
    return (
        ops.zeros((), "int32"),
        ops.full((rows,), START, "int32"),
        ops.ones((rows,), "float32"),  # 1 while the caption goes on
        ops.zeros((rows, max_length), "int32"),
        total,
        ops.zeros((rows,), "float32"),
        ops.zeros((rows, max_length, cells), "float32"),
        *decoder.start(memory, max_length),
    )


def _say(
    position: Tensor,
    token: Tensor,
    weights: Tensor,
    alive: Tensor,
    tokens: Tensor,
    total: Tensor,
    steps: Tensor,
    attention: Tensor,
) -> tuple[Tensor, ...]:
    """Put `token` (rows,) and `weights` (rows, N) at `position`, which holds 0 so far, of captions that go on.

    Returns:
        The next position, and of every caption its last token, whether it goes on, tokens, log-probability, steps and
        attention.
    """
    steps = steps + alive
    alive = alive * _is_not_end(token)
    token = token * ops.cast(alive, "int32")  # padding (0) from the end on
    weights = weights * ops.expand_dims(alive, -1)
    here = ops.equal(ops.arange(tokens.shape[1], dtype="int32"), position)
    tokens = tokens + ops.expand_dims(token, -1) * ops.expand_dims(ops.cast(here, "int32"), 0)
    slot = ops.reshape(ops.cast(here, "float32"), (1, -1, 1))
    return position + 1, token, alive, tokens, total, steps, attention + ops.expand_dims(weights, 1) * slot


def _found(tokens: Tensor, alive: Tensor, total: Tensor, steps: Tensor, attention: Tensor) -> Found:
    """Return one caption a picture as a search's answer."""
    length = ops.cast(steps - (1.0 - alive), "int32")
    return Found(tokens, length, total / ops.maximum(steps, 1.0), attention)
