"""Captioning: a picture goes in, a sentence comes out, with a map of attention for each of its words.

A captioning model has a layer `encoder`, `image` (B, H, W, 3) -> (B, h, w, D), and a layer `decoder` with the interface
of `zoo.layers.transformer_decoder.TransformerDecoder`. The serving function adds the search (`zoo.tasks._search`); two
further signatures do it step by step (`zoo.tasks._caption_steps`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from zoo.config import BaseConfig
from zoo.datasets import Dataset, Record, Source, sample_indices
from zoo.errors import ConfigError
from zoo.preprocess import RawInput
from zoo.preprocess.captioning import SPECIAL, CaptionPreprocessor
from zoo.preprocess.image import decode_image, load_image
from zoo.tasks._base import Requests, Serving, Task, spread
from zoo.tasks._caption_examples import SAMPLED, CaptionExamples, TrainingCaptions

if TYPE_CHECKING:
    import keras

_BASELINE_SIZE = (72, 72)
_RAW_PIXELS = 128 * 128  # golden pictures with more pixels are stored in the model's size
_SHOWN = 24
_SHOWN_WORDS = 8


@dataclass
class CaptionTruth:
    """What captions are judged against; one entry an example.

    Attributes:
        references: True captions.
        groups: Labels of what belongs together (variants of one thing).
        flags: Whether it is a flag, whose name cannot be guessed unless it was seen.
    """

    references: list[tuple[str, ...]]
    groups: list[str]
    flags: list[bool]


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
            image_size=(config.image_size, config.image_size),
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
            image_size=(config.image_size, config.image_size),
            max_length=config.max_length,
            unit=config.vocabulary,
        )

    def default_record(self, config: Any) -> Record:
        """Return a black picture with one word."""
        return {"id": "0", "group": "0", "image": np.zeros((8, 8, 3), np.uint8), "captions": ("word4",)}

    def examples(self, source: Source, preprocessor: Any, config: Any) -> CaptionExamples:
        """Return pictures with captions; augmented when drawn for training."""
        return CaptionExamples(source, preprocessor, config.augment)

    def compile_arguments(self, *, label_smoothing: float = 0.0) -> dict[str, Any]:
        """Return cross-entropy and the accuracy of the next token."""
        import keras

        from zoo.tasks._caption_loss import TokenLoss

        return {
            "loss": TokenLoss(label_smoothing),
            "weighted_metrics": [keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
        }

    def serving(
        self,
        model: keras.Model,
        *,
        batch_size: int = 1,
        beam_width: int = 1,
        length_penalty: float = 1.0,
        max_length: int | None = None,
        **options: Any,
    ) -> Serving:
        """Return the function from a picture to a caption.

        Args:
            model: A captioning model.
            batch_size: Pictures at once.
            beam_width: Captions kept during the search; 1 is greedy search.
            length_penalty: Exponent of the length by which a beam's log-probability is divided.
            max_length: Most tokens, at most the model's; the model's when not given.
            **options: Refused; named so that the error is ours.

        Raises:
            ConfigError: If an option does not exist or is out of range.
        """
        from zoo.tasks._caption_steps import step_signatures

        if options:
            known = "beam_width, length_penalty, max_length"
            raise ConfigError(f"Captioning has no serving option '{next(iter(options))}'; it has {known}.")
        encoder, decoder = model.get_layer("encoder"), model.get_layer("decoder")
        steps = decoder.max_length if max_length is None else max_length
        for option, value, high in (("beam_width", beam_width, 64), ("max_length", steps, decoder.max_length)):
            if not 1 <= value <= high:
                raise ConfigError(f"Serving option {option} is {value}; it must be 1 to {high}.")
        if beam_width > decoder.vocab_size - len(SPECIAL):
            raise ConfigError(f"Serving option beam_width is {beam_width}; the vocabulary has fewer words.")
        if not 0.0 <= length_penalty <= 5.0:
            raise ConfigError(f"Serving option length_penalty is {length_penalty}; it must be 0 to 5.")
        height, width = next(tensor.shape[1:3] for tensor in model.inputs if tensor.name == "image")

        def function(image: Any) -> dict[str, Any]:
            from keras import ops

            from zoo.tasks._search import beam_search, greedy_search

            pixels = ops.reshape(ops.cast(image, "float32"), (batch_size, height, width, 3))
            cells = encoder(pixels, training=False)
            rows, columns, dim = cells.shape[1:]
            memory = ops.reshape(cells, (batch_size, rows * columns, dim))
            if beam_width == 1:
                found = greedy_search(decoder, memory, max_length=steps)
            else:
                found = beam_search(decoder, memory, max_length=steps, width=beam_width, length_penalty=length_penalty)
            return {
                "tokens": found.tokens,
                "length": ops.reshape(found.length, () if batch_size == 1 else (batch_size,)),
                "score": found.score,
                "attention": ops.reshape(found.attention, (batch_size, steps, rows, columns)),
            }

        return Serving(
            function=function,
            inputs={"image": ((batch_size, height, width, 3), "uint8")},
            outputs=("tokens", "length", "score", "attention"),
            model=model,
            batch_size=batch_size,
            options={"beam_width": beam_width, "length_penalty": length_penalty, "max_length": steps},
            signatures=step_signatures(
                encoder, decoder, image=(height, width), batch_size=batch_size, max_length=steps
            ),
        )

    def requests(self, source: Source, preprocessor: Any, *, limit: int | None = None) -> Requests:
        """Return the pictures of a split with their captions."""
        kept = spread(len(source), limit).tolist()
        records = [source[i] for i in kept]
        images = np.zeros((len(records), *preprocessor.image_size, 3), np.uint8)
        for row, record in enumerate(records):
            images[row] = load_image(record["image"], preprocessor.image_size)
        truth = CaptionTruth(
            references=[tuple(record["captions"]) for record in records],
            groups=[str(record.get("group", record["id"])) for record in records],
            flags=[bool(record.get("is_flag", False)) for record in records],
        )

        def raw(index: int) -> RawInput:
            image = decode_image(source[kept[index]]["image"])
            small = image.width * image.height <= max(_RAW_PIXELS, images[index].size // 3)
            return RawInput.of_image(np.asarray(image) if small else images[index])

        return Requests({"image": images}, truth, [str(record["id"]) for record in records], raw)

    def score(self, outputs: Mapping[str, np.ndarray], requests: Requests, preprocessor: Any) -> dict[str, Any]:
        """Return exact match, BLEU, ROUGE-L and CIDEr; with flags among others also the values without them."""
        return _metrics(self._texts(outputs, preprocessor), requests.truth, preprocessor.language)

    def baselines(
        self, dataset: Dataset, split: str, preprocessor: Any, requests: Requests
    ) -> dict[str, dict[str, Any]]:
        """Measure the caption of the nearest training picture, and for pictures with skin tones their recolouring.

        Of over 50,000 training pictures so many are looked at, spread evenly.
        """
        from zoo.metrics.baselines_captions import nearest_image, recolour_nearest_paste

        def picture(value: Any) -> np.ndarray:
            return load_image(load_image(value, preprocessor.image_size), _BASELINE_SIZE)

        source = dataset.split("train")
        known, records = [], []
        for i in sample_indices(len(source), SAMPLED).tolist():
            record = source[i]
            known.append(picture(record["image"]))
            records.append({name: value for name, value in record.items() if name != "image"})
        captions = [record["captions"] for record in records]
        asked = np.stack([picture(image) for image in requests.inputs["image"]])
        nearest = {
            pixels: _metrics(texts, requests.truth, preprocessor.language)
            for pixels, texts in nearest_image(np.stack(known), captions, asked).items()
        }
        best = max(nearest, key=lambda pixels: nearest[pixels]["cider"])
        result = {"nearest_image": {**nearest[best], "pixels": best}}
        if any(record.get("tone") for record in records):
            texts = recolour_nearest_paste(np.stack(known), captions, asked, preprocessor.language)
            result["recolour_nearest_paste"] = _metrics(texts, requests.truth, preprocessor.language)
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
            words, maps = self._words(outputs, i, preprocessor)
            items.append(
                {
                    "image": requests.inputs["image"][i],
                    "truth": requests.truth.references[i],
                    "caption": preprocessor.decode(outputs["tokens"][i]),
                    "attention": maps,
                    "words": words,
                }
            )
        path = folder / "captions.png"
        caption_sheet(items, path)
        return [path]

    def samples(
        self, outputs: Mapping[str, np.ndarray], requests: Requests, preprocessor: Any
    ) -> tuple[str, Sequence[np.ndarray]]:
        """Return a table of captions, and for each the picture followed by the attention of its first words."""
        from zoo.explain.captions import attention_overlay

        lines, strips = ["| true | caption | score |", "|---|---|---|"], []
        for i, text in enumerate(self._texts(outputs, preprocessor)):
            truth = " / ".join(requests.truth.references[i])
            lines.append(f"| {_cell(truth)} | {_cell(text)} | {float(np.reshape(outputs['score'], -1)[i]):.2f} |")
            image = requests.inputs["image"][i]
            _, maps = self._words(outputs, i, preprocessor)
            shown = [image, *(attention_overlay(image, weights) for weights in maps[:_SHOWN_WORDS])]
            shown += [np.full_like(image, 255)] * (_SHOWN_WORDS + 1 - len(shown))
            strips.append(np.concatenate(shown, axis=1))
        return "\n".join(lines), strips

    def _texts(self, outputs: Mapping[str, np.ndarray], preprocessor: CaptionPreprocessor) -> list[str]:
        return [preprocessor.decode(tokens) for tokens in outputs["tokens"]]

    def _words(
        self, outputs: Mapping[str, np.ndarray], index: int, preprocessor: CaptionPreprocessor
    ) -> tuple[list[str], np.ndarray]:
        """Return the pieces of a caption without word marks and their attention maps."""
        pieces = preprocessor.pieces(outputs["tokens"][index])
        return [piece.replace("▁", " ").strip() for piece in pieces], outputs["attention"][index][: len(pieces)]


def _metrics(texts: Sequence[str], truth: CaptionTruth, language: str) -> dict[str, Any]:
    from zoo.metrics.captions import caption_metrics

    groups = truth.groups if len(set(truth.groups)) < len(truth.groups) else None
    result: dict[str, Any] = caption_metrics(texts, truth.references, language, groups)
    kept = [i for i, flag in enumerate(truth.flags) if not flag]
    if 0 < len(kept) < len(texts):
        part = caption_metrics([texts[i] for i in kept], [truth.references[i] for i in kept], language)
        for key in ("exact_match", "cider", "count"):
            result[f"{key}_without_flags"] = part[key]
            if f"{key}_se" in part:
                result[f"{key}_without_flags_se"] = part[f"{key}_se"]
    return result


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
