"""What the stages of training a captioner need: which part of it learns, on what, and how it is judged."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from keras import ops

from zoo.datasets import Source
from zoo.execution import compile_serving
from zoo.metrics.captions import caption_metrics_per_example
from zoo.metrics.cider_reward import CiderReward
from zoo.preprocess.image import load_image
from zoo.tasks._base import Lesson, Serving, Task
from zoo.tasks._caption_rewards import HeldOut, PictureNumbers, SampledBatches
from zoo.tasks._caption_sets import CaptionSets, Pictures, speaks_of_sides
from zoo.tasks._reward_loss import PolicyLoss
from zoo.tasks._search import greedy_search, sample_search
from zoo.training.features import FrozenFeatures, turns_of

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

    A pretrained encoder's frozen part is computed once for all pictures (`zoo.training.features`). With `val_cider` as
    what is monitored, every epoch's greedy captions of the validation split are scored.
    """
    config: Any = run.config
    preprocessor: Any = run.preprocessor
    rewarded = stage.goal == "reward"
    if config.encoder == "cnn" and not rewarded:
        learn, name = model, "image"
        examples: Any = task.examples(source, preprocessor, config)
        others: Any = task.examples(held_out, preprocessor, config)
        pictures = [_images(examples), _images(others)]
    else:
        count = train.reward_samples if rewarded else train.captions
        extract, learn = run.architecture.cut(model, config, captions=count, finetune=stage.finetune)  # type: ignore[attr-defined]
        captions = [[source[i]["captions"] for i in range(len(source))] for source in (source, held_out)]
        if extract is None:
            name = "image"
            pictures = [_images(task.examples(split, preprocessor, config)) for split in (source, held_out)]
        else:
            name = "features"
            views = [_safe_views(captions[0], config.views, preprocessor.language), None]
            pictures = [
                _features(extract, split, run, config.views if safe is not None else "none", safe, say)
                for split, safe in zip((source, held_out), views, strict=True)
            ]
        examples, others = (
            CaptionSets(shown, name, texts, preprocessor, count, repeats=train.repeats)
            for shown, texts in zip(pictures, captions, strict=True)
        )
    lesson = Lesson(learn, examples, others, task.compile_arguments(label_smoothing=train.label_smoothing))
    means: Callable[[], dict[str, float]] = dict
    if rewarded:
        reward = CiderReward.of_captions(captions[0], preprocessor)
        size = min(train.batch_size, len(source))
        answer = compile_serving(draw_serving(learn, name, size, train.reward_samples, train.reward_baseline))
        lesson.examples, lesson.held_out = PictureNumbers(pictures[0], name, len(source)), HeldOut(others)
        lesson.compile_arguments = {"loss": PolicyLoss()}
        drawn: list[SampledBatches] = []

        def wrap(batches: Any) -> SampledBatches:
            drawn.append(
                SampledBatches(
                    batches,
                    answer,
                    reward.reward,
                    count=train.reward_samples,
                    max_length=config.max_length,
                    baseline=train.reward_baseline,
                    scale=train.reward_scale,
                    seed=train.seed,
                )
            )
            return drawn[-1]

        def means() -> dict[str, float]:
            return drawn[-1].mean()

        lesson.wrap = wrap
    if train.monitor == "val_cider":
        lesson.measure = _judge(learn, name, pictures[1], held_out, run, means)
    elif rewarded:
        lesson.measure = means
    return lesson


def _images(examples: Any) -> Pictures:
    def images(indices: np.ndarray, rng: np.random.Generator | None) -> np.ndarray:
        return examples.images(indices, rng)

    return images


def _features(
    extract: keras.Model, source: Source, run: Run, kind: str, safe: np.ndarray | None, say: Callable[[str], None]
) -> Pictures:
    """Return the stored features; of pictures that are safe to turn, in a view at random in training."""
    preprocessor: Any = run.preprocessor
    size = preprocessor.image_size
    store = FrozenFeatures(extract, source, lambda image: load_image(image, size), turns_of(kind), say)

    def features(indices: np.ndarray, rng: np.random.Generator | None) -> np.ndarray:
        views = np.zeros(len(indices), np.int64)
        if rng is not None and safe is not None:
            views = rng.integers(len(store.views), size=len(indices)) * safe[indices]
        return store.rows(indices, views)

    return features


def _safe_views(captions: list[Any], kind: str, language: str) -> np.ndarray | None:
    """Return int (N,), 1 where a picture may be mirrored and turned; None where none is to be."""
    if kind == "none":
        return None
    return np.array([not speaks_of_sides(texts, language) for texts in captions], np.int64)


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
    learn: keras.Model,
    name: str,
    pictures: Pictures,
    held_out: Source,
    run: Run,
    more: Callable[[], dict[str, float]],
) -> Callable[[], dict[str, float]]:
    """Return the function that measures the CIDEr-D of greedy captions."""
    encoder, decoder = learn.get_layer("encoder"), learn.get_layer("decoder")
    references = [held_out[i]["captions"] for i in range(len(held_out))]
    preprocessor: Any = run.preprocessor
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
        return {"val_cider": float(cider.mean()), **more()}

    return measure


def _memory(encoder: Any, pictures: Any, batch_size: int) -> Any:
    cells = encoder(ops.reshape(pictures, (batch_size, *encoder.input.shape[1:])), training=False)
    return ops.reshape(cells, (batch_size, cells.shape[1] * cells.shape[2], cells.shape[3]))


def _input(learn: keras.Model, name: str, batch_size: int) -> tuple[tuple[int, ...], str]:
    tensor = next(tensor for tensor in learn.inputs if tensor.name == name)
    return (batch_size, *tensor.shape[1:]), str(tensor.dtype)
