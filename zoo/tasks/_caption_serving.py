"""Captioning in one graph: encoder, search, and what the caption looked at."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
from keras import ops

from zoo.tasks._base import Serving, Signature
from zoo.tasks._caption_steps import step_signatures
from zoo.tasks._sampling import uniform_numbers
from zoo.tasks._search import Found, beam_search, consensus_search, greedy_search, sample_search
from zoo.tasks._search_options import Plan, SearchOptions, plan_search

Tensor = Any
_OUTPUTS = ("tokens", "length", "score", "attention")


def caption_serving(
    model: keras.Model,
    options: SearchOptions,
    *,
    batch_size: int,
    token_ids: Mapping[str, Sequence[int]],
) -> Serving:
    """Return the function from pictures to captions.

    A search that draws has a signature more, `sample`: it takes `seed` int32 () beside the picture, so that one file
    gives any number of captions of a picture. The numbers drawn depend on the seed and the step alone: a picture has
    the same caption in every place of a batch.

    Args:
        model: A captioning model (see `zoo.tasks.captioning`).
        options: The search.
        batch_size: B, pictures at once.
        token_ids: The ids of every word in the options.

    Raises:
        ConfigError: If the options do not fit the model.
    """
    encoder, decoder = model.get_layer("encoder"), model.get_layer("decoder")
    plan = plan_search(options, token_ids, vocab_size=decoder.vocab_size, max_length=decoder.max_length)
    steps, search = plan.steps, _search_of(plan, decoder)
    height, width = next(tensor.shape[1:3] for tensor in model.inputs if tensor.name == "image")

    def sample(image: Tensor, seed: Tensor) -> dict[str, Tensor]:
        pixels = ops.reshape(ops.cast(image, "float32"), (batch_size, height, width, 3))
        cells = encoder(pixels, training=False)
        rows, columns, dim = cells.shape[1:]
        found = search(ops.reshape(cells, (batch_size, rows * columns, dim)), seed)
        return {
            "tokens": found.tokens,
            "length": ops.reshape(found.length, () if batch_size == 1 else (batch_size,)),
            "score": found.score,
            "attention": ops.reshape(found.attention, (batch_size, steps, rows, columns)),
        }

    def function(image: Tensor) -> dict[str, Tensor]:
        return sample(image, plan.options.seed)

    inputs: dict[str, tuple[tuple[int, ...], str]] = {"image": ((batch_size, height, width, 3), "uint8")}
    signatures = step_signatures(encoder, decoder, image=(height, width), batch_size=batch_size, max_length=steps)
    if plan.options.kind == "sample":
        signatures["sample"] = Signature(sample, {**inputs, "seed": ((), "int32")}, _OUTPUTS)
    return Serving(
        function=function,
        inputs=inputs,
        outputs=_OUTPUTS,
        model=model,
        batch_size=batch_size,
        options=plan.described(),
        signatures=signatures,
    )


def _search_of(plan: Plan, decoder: Any) -> Callable[[Tensor, Tensor | None], Found]:
    """Return the search as a function of the memory (B, N, D) and of a seed, which only drawing looks at."""
    options = plan.options
    rules: dict[str, Any] = {
        "max_length": plan.steps,
        "never": plan.never,
        "no_repeat_ngram": options.no_repeat_ngram,
    }

    def search(memory: Tensor, seed: Tensor | None) -> Found:
        if options.kind == "greedy":
            return greedy_search(decoder, memory, **rules)
        if options.kind == "beam":
            penalty = options.length_penalty
            return beam_search(decoder, memory, width=plan.width, length_penalty=penalty, must=plan.must, **rules)
        if options.kind == "consensus":
            return consensus_search(decoder, memory, width=plan.width, **rules)
        uniforms = ops.expand_dims(uniform_numbers(ops.convert_to_tensor(seed, "int32"), plan.steps), 0)
        return sample_search(
            decoder,
            memory,
            uniforms,
            temperature=options.temperature,
            top_k=options.top_k,
            top_p=options.top_p,
            **rules,
        )

    return search
