"""What the stages of training a captioner need: which part of it learns, on what, and how it is judged."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from keras import ops

from zoo.datasets import Source
from zoo.execution import compile_serving
from zoo.metrics.captions import caption_metrics_per_example
from zoo.metrics.cider_reward import CiderReward
from zoo.tasks._base import Lesson, Serving, Task
from zoo.tasks._caption_rewards import HeldOut, PictureNumbers, SampledBatches
from zoo.tasks._caption_sets import CaptionSets, Pictures, has_pretrained_encoder, speaks_of_sides
from zoo.tasks._reward_loss import PolicyLoss
from zoo.tasks._search import greedy_search, sample_search
from zoo.training.features import stored_features

if TYPE_CHECKING:
    from zoo.run import Run
    from zoo.training.config import TrainConfig
    from zoo.training.stages import Stage

_BATCH = 32


def caption_lesson(
    task: Task,
    model: keras.Model,
    run: Run,
    source: Source,
    held_out: Source,
    stage: Stage,
    train: TrainConfig,
    say: Callable[[str], None],
) -> Lesson:
    """See `Task.lesson`.

    For rewards an architecture has `cut`, as `caption_attn` has; with a pretrained encoder also `views` in its
    configuration: the frozen part is then computed once for all pictures (`zoo.training.features`). With `val_cider` as
    what is monitored, every epoch's greedy captions of the validation split are scored.
    """
    config: Any = run.config
    preprocessor: Any = run.preprocessor
    rewarded = stage.goal == "reward"
    arguments = task.compile_arguments(label_smoothing=train.label_smoothing)
    judged = train.monitor == "val_cider"
    if not (rewarded or has_pretrained_encoder(config)):
        examples, others = (task.examples(split, preprocessor, config) for split in (source, held_out))
        lesson = Lesson(model, examples, others, arguments)
        references = _captions(held_out) if judged else []
        name, shown = "image", others.images  # type: ignore[attr-defined]
    else:
        count = train.reward_samples if rewarded else train.captions
        cut: Any = run.architecture.cut  # type: ignore[attr-defined]
        extract, learn = cut(model, config, captions=count, finetune=stage.finetune)
        captions, references = _captions(source), _captions(held_out)
        pictures: Pictures
        if extract is None:
            name = "image"
            pictures, shown = (task.examples(split, preprocessor, config).images for split in (source, held_out))  # type: ignore[attr-defined]
        else:
            name = "features"
            may_turn = np.array([not speaks_of_sides(texts, preprocessor.language) for texts in captions], np.int64)
            if config.views != "none" and not may_turn.any():
                say(
                    "No picture is mirrored or turned: the captions are not known to be English or Chinese (the data's "
                    "option language), or all speak of sides."
                )
            pictures = functools.partial(stored_features(extract, source, config.views, say).draw, may_turn=may_turn)
            shown = stored_features(extract, held_out, "none", say).draw
        sets = functools.partial(CaptionSets, preprocessor=preprocessor, count=count, repeats=train.repeats)
        others = sets(shown, name, references)
        if rewarded:
            reward = CiderReward.of_captions(captions, preprocessor)
            lesson = _rewarded(learn, name, PictureNumbers(pictures, name, len(source)), others, reward, train)
        else:
            lesson = Lesson(learn, sets(pictures, name, captions), others, arguments)
    if judged:
        judge, more = _judge(lesson.model, name, shown, references, preprocessor), lesson.measure
        lesson.measure = (lambda: {**judge(), **more()}) if more else judge
        lesson.measured += ("val_cider",)
    return lesson


def _captions(source: Source) -> list[Sequence[str]]:
    return [source[i]["captions"] for i in range(len(source))]


def _rewarded(
    learn: keras.Model,
    name: str,
    examples: PictureNumbers,
    held_out: CaptionSets,
    reward: CiderReward,
    train: TrainConfig,
) -> Lesson:
    """Return the lesson whose batches are captions that the model draws."""
    size = min(train.batch_size, len(examples))
    answer = compile_serving(draw_serving(learn, name, size, train.reward_samples, train.reward_baseline))
    drawn: list[SampledBatches] = []

    def wrap(batches: Any) -> SampledBatches:
        drawn.append(
            SampledBatches(
                batches,
                answer,
                reward.reward,
                count=train.reward_samples,
                max_length=learn.get_layer("decoder").max_length,
                baseline=train.reward_baseline,
                scale=train.reward_scale,
                seed=train.seed,
            )
        )
        return drawn[-1]

    return Lesson(
        learn, examples, HeldOut(held_out), {"loss": PolicyLoss()}, wrap, lambda: drawn[-1].mean(), ("reward",)
    )


def draw_serving(learn: keras.Model, name: str, batch_size: int, count: int, baseline: str) -> Serving:
    """Return the function that draws `count` captions of each picture, and the greedy one where it is the baseline."""
    encoder, decoder = learn.get_layer("encoder"), learn.get_layer("decoder")
    length = decoder.max_length

    def function(uniforms: Any, **inputs: Any) -> dict[str, Any]:
        memory = _memory(encoder, inputs[name], batch_size)
        rows = ops.reshape(uniforms, (batch_size * count, length))
        drawn = sample_search(decoder, ops.repeat(memory, count, axis=0), rows, max_length=length)
        outputs = {
            "tokens": ops.reshape(drawn.tokens, (batch_size, count, length)),
            "length": ops.reshape(drawn.length, (batch_size, count)),
        }
        if baseline == "greedy":
            greedy = greedy_search(decoder, memory, max_length=length)
            outputs |= {"greedy": greedy.tokens, "greedy_length": greedy.length}
        return outputs

    inputs = {name: _input(learn, name, batch_size), "uniforms": ((batch_size, count, length), "float32")}
    names = ("tokens", "length", *(("greedy", "greedy_length") if baseline == "greedy" else ()))
    return Serving(function, inputs, names, model=learn, batch_size=batch_size)


def _judge(
    learn: keras.Model, name: str, pictures: Pictures, references: Sequence[Sequence[str]], preprocessor: Any
) -> Callable[[], dict[str, float]]:
    """Return the function that measures the CIDEr-D of greedy captions."""
    encoder, decoder = learn.get_layer("encoder"), learn.get_layer("decoder")
    language, decode = preprocessor.language or "en", preprocessor.decode

    def function(**inputs: Any) -> dict[str, Any]:
        found = greedy_search(decoder, _memory(encoder, inputs[name], _BATCH), max_length=decoder.max_length)
        return {"tokens": found.tokens}

    inputs = {name: _input(learn, name, _BATCH)}
    answer = compile_serving(Serving(function, inputs, ("tokens",), model=learn, batch_size=_BATCH))

    def measure() -> dict[str, float]:
        texts: list[str] = []
        for start in range(0, len(references), _BATCH):
            batch = pictures(np.arange(start, min(start + _BATCH, len(references))), None)
            texts += [decode(tokens) for tokens in answer({name: batch})["tokens"]]
        cider = caption_metrics_per_example(texts, references, language)["cider"]
        return {"val_cider": float(cider.mean())}

    return measure


def _memory(encoder: Any, pictures: Any, batch_size: int) -> Any:
    cells = encoder(ops.reshape(pictures, (batch_size, *encoder.input.shape[1:])), training=False)
    return ops.reshape(cells, (batch_size, cells.shape[1] * cells.shape[2], cells.shape[3]))


def _input(learn: keras.Model, name: str, batch_size: int) -> tuple[tuple[int, ...], str]:
    tensor = next(tensor for tensor in learn.inputs if tensor.name == name)
    return (batch_size, *tensor.shape[1:]), str(tensor.dtype)
