"""Greedy and beam search in the graph: one `while_loop` over a key-value cache, static shapes, `keras.ops` only.

Both take a decoder with `start(memory, max_length)` and `step(tokens, position, cache)` (see
`zoo.layers.transformer_decoder`). The graph converts to LiteRT's built-in operators.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from keras import ops

from zoo.preprocess.captioning import END, PADDING, START, UNKNOWN

Tensor = Any
_NEVER = -1e9


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


def greedy_search(decoder: Any, memory: Tensor, *, max_length: int) -> Found:
    """Take the most probable token at every step, until all captions have ended.

    Args:
        decoder: The decoder, built.
        memory: (B, N, D), B and N static.
        max_length: T, most steps.
    """
    batch, cells = memory.shape[0], memory.shape[1]
    state = (
        ops.zeros((), "int32"),
        ops.full((batch,), START, "int32"),
        ops.ones((batch,), "float32"),  # 1 while the caption goes on
        ops.zeros((batch, max_length), "int32"),
        ops.zeros((batch,), "float32"),
        ops.zeros((batch,), "float32"),
        ops.zeros((batch, max_length, cells), "float32"),
        *decoder.start(memory, max_length),
    )

    def goes_on(position: Tensor, _: Tensor, alive: Tensor, *rest: Tensor) -> Tensor:
        return ops.logical_and(position < max_length, ops.max(alive) > 0.5)

    def step(position: Tensor, last: Tensor, alive: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        tokens, total, steps, attention, *cache = rest
        log_probs, cache, weights = step_log_probabilities(decoder, last, position, tuple(cache))
        token = next_token(log_probs)
        total = total + alive * ops.max(log_probs, axis=-1)
        steps = steps + alive
        alive = alive * _is_not_end(token)
        token = token * ops.cast(alive, "int32")  # padding (0) from the end on
        tokens, attention = _write(tokens, attention, position, token, weights * ops.expand_dims(alive, -1))
        return (position + 1, token, alive, tokens, total, steps, attention, *cache)

    _, _, alive, tokens, total, steps, attention, *_ = ops.while_loop(goes_on, step, state)
    length = ops.cast(steps - (1.0 - alive), "int32")
    return Found(tokens, length, total / ops.maximum(steps, 1.0), attention)


def beam_search(decoder: Any, memory: Tensor, *, max_length: int, width: int, length_penalty: float = 1.0) -> Found:
    """Keep the `width` most probable captions at every step; ended ones keep their place and their probability.

    The answer is the caption with the highest `log_probability / steps ** length_penalty`, the end being a step.

    Args:
        decoder: The decoder, built.
        memory: (B, N, D), B and N static.
        max_length: T, most steps.
        width: K, captions kept.
        length_penalty: 0 prefers short captions, 1 compares means.
    """
    batch, cells, dim = memory.shape
    rows = batch * width
    memory = ops.reshape(ops.repeat(ops.expand_dims(memory, 1), width, axis=1), (rows, cells, dim))
    first_rows = ops.reshape(ops.arange(batch, dtype="int32") * width, (batch, 1))
    state = (
        ops.zeros((), "int32"),
        ops.full((rows,), START, "int32"),
        ops.ones((rows,), "float32"),
        ops.zeros((rows, max_length), "int32"),
        # At first all beams are equal: only the first one of each picture counts.
        ops.tile(ops.concatenate([ops.zeros((1,)), ops.full((width - 1,), _NEVER)]), (batch,)),
        ops.zeros((rows,), "float32"),
        ops.zeros((rows, max_length, cells), "float32"),
        *decoder.start(memory, max_length),
    )

    def goes_on(position: Tensor, _: Tensor, alive: Tensor, *rest: Tensor) -> Tensor:
        return ops.logical_and(position < max_length, ops.max(alive) > 0.5)

    def step(position: Tensor, last: Tensor, alive: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        tokens, total, steps, attention, *cache = rest
        log_probs, cache, weights = step_log_probabilities(decoder, last, position, tuple(cache))
        vocab_size = log_probs.shape[-1]
        # An ended caption goes on with padding, at no cost and with nothing else possible.
        stay = ops.where(ops.arange(vocab_size, dtype="int32") == PADDING, 0.0, _NEVER)
        going = ops.expand_dims(alive, -1)
        totals = ops.expand_dims(total, -1) + going * log_probs + (1.0 - going) * ops.expand_dims(stay, 0)
        total, best = ops.top_k(ops.reshape(totals, (batch, width * vocab_size)), width)
        best = ops.cast(best, "int32")
        token = ops.reshape(best % vocab_size, (rows,))
        parent = ops.reshape(best // vocab_size + first_rows, (rows,))
        tokens, alive, steps, attention, weights, *cache = (
            ops.take(kept, parent, axis=0) for kept in (tokens, alive, steps, attention, weights, *cache)
        )
        steps = steps + alive
        alive = alive * _is_not_end(token)
        token = token * ops.cast(alive, "int32")
        tokens, attention = _write(tokens, attention, position, token, weights * ops.expand_dims(alive, -1))
        return (position + 1, token, alive, tokens, ops.reshape(total, (rows,)), steps, attention, *cache)

    _, _, alive, tokens, total, steps, attention, *_ = ops.while_loop(goes_on, step, state)
    ranked = ops.reshape(total / ops.power(ops.maximum(steps, 1.0), length_penalty), (batch, width))
    best = ops.cast(ops.squeeze(ops.top_k(ranked, 1)[1], -1), "int32") + ops.reshape(first_rows, (batch,))
    tokens, alive, total, steps, attention = (
        ops.take(kept, best, axis=0) for kept in (tokens, alive, total, steps, attention)
    )
    length = ops.cast(steps - (1.0 - alive), "int32")
    return Found(tokens, length, total / ops.maximum(steps, 1.0), attention)


def step_log_probabilities(
    decoder: Any, last: Tensor, position: Tensor, cache: tuple[Tensor, ...]
) -> tuple[Tensor, Any, Tensor]:
    """Return log-probabilities (B, V) of the tokens that may follow, the new cache, and the weights (B, N).

    Padding, start and unknown may never follow, and the end not at position 0: their logits are -1e9.
    """
    logits, cache, weights = decoder.step(last, position, cache)
    ids = ops.arange(logits.shape[-1], dtype="int32")
    never = ops.logical_or(ops.logical_or(ids == PADDING, ids == START), ids == UNKNOWN)
    never = ops.logical_or(never, ops.logical_and(ids == END, position == 0))  # no caption is empty
    # Chosen, not added: a sum would be quantised with a range that leaves nothing for the logits.
    logits = ops.where(ops.expand_dims(never, 0), _NEVER, ops.cast(logits, "float32"))
    return ops.log_softmax(logits, axis=-1), cache, ops.cast(weights, "float32")


def next_token(log_probabilities: Tensor) -> Tensor:
    """Return the most probable token, (B, V) -> int32 (B,)."""
    # Not argmax: Keras's needs a bitwise operator that LiteRT does not have.
    return ops.cast(ops.squeeze(ops.top_k(log_probabilities, 1)[1], -1), "int32")


def _is_not_end(token: Tensor) -> Tensor:
    return ops.cast(ops.not_equal(token, END), "float32")


def _write(
    tokens: Tensor, attention: Tensor, position: Tensor, token: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor]:
    """Put `token` (B,) and `weights` (B, N) at `position`, which holds 0 so far."""
    here = ops.equal(ops.arange(tokens.shape[1], dtype="int32"), position)
    tokens = tokens + ops.expand_dims(token, -1) * ops.expand_dims(ops.cast(here, "int32"), 0)
    slot = ops.reshape(ops.cast(here, "float32"), (1, -1, 1))
    return tokens, attention + ops.expand_dims(weights, 1) * slot
