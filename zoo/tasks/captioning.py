"""Captioning: a picture goes in, a sentence comes out, with a map of attention for each of its words.

A captioning model has a layer `encoder`, `image` (B, H, W, 3) -> (B, h, w, D), and a layer `decoder` with the interface
of `zoo.layers.transformer_decoder.TransformerDecoder`. The serving function adds the search (`zoo.tasks._search`); two
further signatures do it step by step (`zoo.tasks._caption_steps`).
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from zoo.config import BaseConfig
from zoo.datasets import Dataset, Record, Source, sample_indices
from zoo.errors import ConfigError, ZooError
from zoo.preprocess.captioning import SPECIAL, CaptionPreprocessor
from zoo.preprocess.image import load_image
from zoo.tasks._base import Lesson, Requests, Serving, Task
from zoo.tasks._caption_examples import SAMPLED, CaptionExamples, TrainingCaptions
from zoo.tasks._caption_scores import CaptionTruth, caption_answers, compare_answers, score_captions
from zoo.tasks._caption_sets import has_pretrained_encoder
from zoo.tasks._pictures import requested_pictures
from zoo.tasks._search_options import SearchOptions, words_to_ids

if TYPE_CHECKING:
    import keras

_BASELINE_SIZE = (72, 72)
_SHOWN = 24


class CaptioningTask(Task):
    """See the module."""

    name = "captioning"
    summary = "a picture -> a caption, its score, and where the model looked for each word"
    main_metric = "cider"
    higher_is_better = True
    input_help = "a picture: a path (PNG, JPEG, GIF, BMP, WebP, TIFF), bytes, a PIL image or a uint8 array"
    difference_help = "tokens to change, plus the difference of the scores (below 1)"
    difference_steps = (1.0, 2.0, 3.0, 4.0, 6.0)

    def data_options(self, config: Any) -> dict[str, Any]:
        """Return nothing: no dataset option follows from the model."""
        return {}

    def preprocessor(self, config: Any, dataset: Dataset) -> CaptionPreprocessor:
        """Make the vocabulary from the captions of the training split, read one record at a time.

        Of over 50,000 pictures the captions of so many are read, spread evenly and always the same ones.
        """
        return CaptionPreprocessor.fit(
            TrainingCaptions(dataset.split("train")),
            image_size=(config.side, config.side),
            vocab_size=config.vocab_size,
            max_length=config.max_length,
            language=dataset.language,
            unit=config.vocabulary,
        )

    def configure(self, config: Any, preprocessor: Any) -> BaseConfig:
        """Set the numbers of tokens and steps to what the captions need."""
        return config.replace(vocab_size=len(preprocessor.tokens), max_length=preprocessor.max_length)

    def default_preprocessor(self, config: Any) -> CaptionPreprocessor:
        """Return a vocabulary of numbered words."""
        words = [f"▁word{i}" for i in range(len(SPECIAL), config.vocab_size)]
        return CaptionPreprocessor(
            [*SPECIAL, *words],
            image_size=(config.side, config.side),
            max_length=config.max_length,
            unit=config.vocabulary,
        )

    def default_record(self, config: Any) -> Record:
        """Return a black picture with one word."""
        return {"id": "0", "group": "0", "image": np.zeros((8, 8, 3), np.uint8), "captions": ("word4",)}

    def examples(self, source: Source, preprocessor: Any, config: Any) -> CaptionExamples:
        """Return pictures with captions; augmented when drawn for training."""
        return CaptionExamples(source, preprocessor, config.augment)

    def check_stage(self, run: Any, stage: Any, processes: int) -> None:
        """See the base class; there is fine-tuning for pretrained encoders, and self-critical training for all."""
        pretrained = has_pretrained_encoder(run.config)
        if (stage.finetune or stage.goal == "reward") and not hasattr(run.architecture, "cut"):
            super().check_stage(run, stage, processes)
        if stage.finetune and not pretrained:
            raise ConfigError("The encoder cnn learns from the beginning; set train.finetune_epochs to 0.")
        judged = run.train["monitor"] == "val_cider"
        if stage.goal == "reward" and not judged:
            raise ConfigError(
                "Self-critical training is judged by its captions: their likelihood falls while they get better. Set "
                "train.monitor to val_cider and train.monitor_mode to max."
            )
        if processes > 1 and (pretrained or judged):
            raise ConfigError(
                "Pretrained encoders, val_cider and self-critical training are for one process; start one."
            )

    def lesson(self, model: keras.Model, run: Any, source: Source, held_out: Source, *others: Any) -> Lesson:
        """See the base class and `zoo.tasks._caption_lessons`."""
        from zoo.tasks._caption_lessons import caption_lesson

        return caption_lesson(self, model, run, source, held_out, *others)

    def compile_arguments(self, *, label_smoothing: float = 0.0) -> dict[str, Any]:
        """Return cross-entropy and the accuracy of the next token."""
        import keras

        from zoo.tasks._caption_loss import TokenLoss

        return {
            "loss": TokenLoss(label_smoothing),
            "weighted_metrics": [keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
        }

    def serving_options(self, options: Mapping[str, Any], preprocessor: Any) -> dict[str, Any]:
        """Add `token_ids` where words are among the options."""
        chosen = SearchOptions.of(options)
        words = (*chosen.never, *chosen.must)
        return {**options, "token_ids": words_to_ids(words, preprocessor)} if words else dict(options)

    def serving(
        self,
        model: keras.Model,
        *,
        batch_size: int = 1,
        token_ids: Mapping[str, Sequence[int]] | None = None,
        **options: Any,
    ) -> Serving:
        """Return the function from a picture to a caption.

        Args:
            model: A captioning model.
            batch_size: Pictures at once.
            token_ids: The ids of every word in the options `never` and `must` (see `serving_options`).
            **options: The search (see `zoo.tasks._search_options.SearchOptions`).

        Raises:
            ConfigError: If an option does not exist, is out of range or does not fit the model.
        """
        from zoo.tasks._caption_serving import caption_serving

        return caption_serving(model, SearchOptions.of(options), batch_size=batch_size, token_ids=token_ids or {})

    def requests(
        self, source: Source, preprocessor: Any, *, limit: int | None = None, training: Source | None = None
    ) -> Requests:
        """Return the pictures of a split with their captions; `training` tells which of these are novel."""
        records, images, raw = requested_pictures(source, preprocessor.image_size, limit)
        truth = CaptionTruth.of_records(records, training)
        return Requests({"image": images}, truth, [str(record["id"]) for record in records], raw)

    def score(
        self, outputs: Mapping[str, np.ndarray], requests: Requests, preprocessor: Any, *, slow: bool = False
    ) -> dict[str, Any]:
        """Return what `score_captions` says; METEOR is slow."""
        texts = self._texts(outputs, preprocessor)
        return score_captions(texts, requests.truth, preprocessor.language, slow=slow)

    def answers(self, outputs: Mapping[str, np.ndarray], requests: Requests, preprocessor: Any) -> list[dict[str, Any]]:
        """Return captions, scores and true captions; see `caption_answers`."""
        return caption_answers(self._texts(outputs, preprocessor), outputs["score"], requests.ids, requests.truth)

    def compare(self, answers: Sequence[Sequence[Mapping[str, Any]]], preprocessor: Any) -> list[dict[str, Any]]:
        """Compare CIDEr and BLEU-4, on all pictures and on the novel ones; see `compare_answers`."""
        return compare_answers(answers, preprocessor.language)

    def baselines(
        self,
        dataset: Dataset,
        split: str,
        preprocessor: Any,
        requests: Requests,
        *,
        run: Any = None,
        slow: bool = False,
    ) -> dict[str, dict[str, Any]]:
        """Measure the caption of the nearest training picture, and for pictures with skin tones their recolouring.

        Nearest by pixels, and for a run with a pretrained encoder also by that encoder's features.

        Of over 50,000 training pictures so many are looked at, spread evenly.
        """
        from zoo.metrics.baselines_captions import nearest_image, recolour_nearest_paste
        from zoo.metrics.captions import caption_metrics_per_example

        def picture(value: Any) -> np.ndarray:
            return load_image(load_image(value, preprocessor.image_size), _BASELINE_SIZE)

        def cider(texts: Sequence[str]) -> float:
            values = caption_metrics_per_example(texts, requests.truth.references, preprocessor.language)["cider"]
            return float(values.mean())

        source = dataset.split("train")
        known, records = [], []
        kept = sample_indices(len(source), SAMPLED).tolist()
        for i in kept:
            record = source[i]
            known.append(picture(record["image"]))
            records.append({name: value for name, value in record.items() if name != "image"})
        captions = [record["captions"] for record in records]
        asked = np.stack([picture(image) for image in requests.inputs["image"]])
        measure = functools.partial(score_captions, truth=requests.truth, language=preprocessor.language)
        nearest = nearest_image(np.stack(known), captions, asked)
        best = max(nearest, key=lambda pixels: cider(nearest[pixels]))
        result = {"nearest_image": {**measure(nearest[best], slow=slow), "pixels": best}}
        if run is not None and has_pretrained_encoder(run.config):
            from zoo.tasks._caption_neighbours import nearest_by_encoder

            try:
                texts = nearest_by_encoder(run, source, kept, captions, requests.inputs["image"])
            except ZooError as error:  # such as published weights that are not installed here
                print(f"The baseline nearest_features is left out: {error}", file=sys.stderr)
            else:
                result["nearest_features"] = measure(texts, slow=slow)
        if any(record.get("tone") for record in records):
            texts = recolour_nearest_paste(np.stack(known), captions, asked, preprocessor.language)
            result["recolour_nearest_paste"] = measure(texts, slow=slow)
        return result

    def agreement(self, expected: Mapping[str, np.ndarray], actual: Mapping[str, np.ndarray]) -> np.ndarray:
        """Tell which captions are the same, token for token."""
        lengths = np.reshape(expected["length"], -1) == np.reshape(actual["length"], -1)
        return lengths & (np.asarray(expected["tokens"]) == np.asarray(actual["tokens"])).all(-1)

    def difference(self, expected: Mapping[str, np.ndarray], actual: Mapping[str, np.ndarray]) -> np.ndarray:
        """Count the tokens to insert, remove or replace; captions of the same tokens differ by their scores alone."""
        lengths = [np.reshape(outputs["length"], -1) for outputs in (expected, actual)]
        pairs = zip(expected["tokens"], actual["tokens"], *lengths, strict=True)
        edits = [edit_distance(left[:one].tolist(), right[:other].tolist()) for left, right, one, other in pairs]
        scores = [np.reshape(outputs["score"], -1).astype(np.float64) for outputs in (expected, actual)]
        return np.asarray(edits, np.float64) + np.minimum(np.abs(scores[0] - scores[1]), 0.999)

    def example(self, requests: Requests, index: int, preprocessor: Any) -> tuple[np.ndarray, str | None]:
        """Return the picture, uint8 (H, W, 3), and its captions."""
        truth = " / ".join(requests.truth.references[index]) if requests.truth is not None else None
        return requests.inputs["image"][index], truth

    def pictures(
        self, folder: Path, outputs: Mapping[str, np.ndarray], requests: Requests, preprocessor: Any
    ) -> list[Path]:
        """Draw a sheet of captioned pictures with attention."""
        from zoo.explain.captions import caption_sheet

        items = []
        for i in requests.spread(_SHOWN):
            words = self._words(outputs, i, preprocessor)
            items.append(
                {
                    "image": requests.inputs["image"][i],
                    "truth": requests.truth.references[i],
                    "caption": preprocessor.decode(outputs["tokens"][i]),
                    "attention": np.stack([weights for _, weights in words]),
                    "words": [word for word, _ in words],
                }
            )
        path = folder / "captions.png"
        caption_sheet(items, path)
        return [path]

    def samples(
        self, outputs: Mapping[str, np.ndarray], requests: Requests, preprocessor: Any
    ) -> tuple[str, Sequence[np.ndarray]]:
        """Return a table of captions, and for each the picture, once more for each of its words with its attention."""
        from zoo.explain.word_panels import WordPanel, word_panels_array

        lines, sheets = ["| true | caption | score |", "|---|---|---|"], []
        for i, text in enumerate(self._texts(outputs, preprocessor)):
            truth = " / ".join(requests.truth.references[i])
            lines.append(f"| {_cell(truth)} | {_cell(text)} | {float(np.reshape(outputs['score'], -1)[i]):.2f} |")
            panels = [WordPanel(word, weights) for word, weights in self._words(outputs, i, preprocessor)]
            sheets.append(word_panels_array(requests.inputs["image"][i], text, panels))
        return "\n".join(lines), sheets

    def _texts(self, outputs: Mapping[str, np.ndarray], preprocessor: CaptionPreprocessor) -> list[str]:
        return [preprocessor.decode(tokens) for tokens in outputs["tokens"]]

    def _words(
        self, outputs: Mapping[str, np.ndarray], index: int, preprocessor: CaptionPreprocessor
    ) -> list[tuple[str, np.ndarray]]:
        """Return the words of a caption with their attention maps."""
        from zoo.explain.words import caption_words, shown

        caption = preprocessor.result({}, {name: array[[index]] for name, array in outputs.items()})
        return [(shown(word), word.attention) for word in caption_words(caption, preprocessor)]


def edit_distance(left: Sequence[Any], right: Sequence[Any]) -> int:
    """Return how few insertions, removals and replacements make one sequence the other (Levenshtein 1966)."""
    costs = list(range(len(right) + 1))
    for row, one in enumerate(left, 1):
        diagonal, costs[0] = costs[0], row
        for column, other in enumerate(right, 1):
            diagonal, costs[column] = (
                costs[column],
                min(costs[column] + 1, costs[column - 1] + 1, diagonal + (one != other)),
            )
    return costs[-1]


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


TASK = CaptioningTask()
