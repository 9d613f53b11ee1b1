"""Text classification: a text goes in, a class with its probability comes out, with the weight of every token.

A model has the input `tokens` int32 (B, L), 0 = padding, the output `logits` float32 (B, C) and a layer `pooling`
(`zoo.layers.AttentionPooling`) whose second output are the weights of the tokens, (B, L).

Its configuration has `vocab_size`, `num_classes` and `max_length`; `head_fraction` (which part of a text that is too
long is read from its start) and `balance` (see `TextExamples`) are used where they exist.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from zoo.config import BaseConfig
from zoo.datasets import Dataset, Record, Source, sample_indices
from zoo.errors import ConfigError, DataError
from zoo.preprocess import RawInput
from zoo.preprocess.text import SPECIAL, TextPreprocessor
from zoo.tasks._base import Examples, Requests, Serving, Task, spread
from zoo.tasks._classes import class_compile_arguments, class_difference, class_metrics, same_class, table_cell
from zoo.tasks._text_examples import TextExamples, count_labels, label_numbers, text_examples

if TYPE_CHECKING:
    import keras

_SHOWN = 8
_FITTED = 200_000  # most texts that a vocabulary, or a baseline, is learned from


class TextClassificationTask(Task):
    """See the module."""

    name = "text_classification"
    summary = "a text -> the probability of every class, and the weight of every token"
    main_metric = "macro_f1"
    higher_is_better = True
    input_help = "a text, in quotes"
    difference_help = "largest change of the probability of a class, plus 1 where the answer is another class"
    difference_steps = (0.001, 0.003, 0.01, 0.03, 0.1, 1.0)

    def data_options(self, config: Any) -> dict[str, Any]:
        """Return nothing: no dataset option follows from the model."""
        return {}

    def preprocessor(self, config: Any, dataset: Dataset) -> TextPreprocessor:
        """Learn the vocabulary from the texts of the training split, one held at a time.

        Of over 200,000 texts so many are read, spread evenly and always the same ones.

        Raises:
            DataError: If the training split is empty or has a single class.
        """
        source = dataset.split("train")
        found = set(count_labels(source))
        if len(found) < 2:
            raise DataError(
                f"The training split of '{dataset.name}' has {len(found)} class(es); a classifier needs at least two."
            )
        names = tuple(getattr(dataset, "class_names", ())) or tuple(sorted(found))
        return TextPreprocessor.fit(
            (source[int(i)]["text"] for i in sample_indices(len(source), _FITTED)),
            names,
            vocab_size=config.vocab_size,
            max_length=config.max_length,
            head_fraction=getattr(config, "head_fraction", 1.0),
        )

    def configure(self, config: Any, preprocessor: Any) -> BaseConfig:
        """Fill in the sizes of the vocabulary and of the output."""
        return config.replace(
            vocab_size=len(preprocessor.vocabulary),
            num_classes=len(preprocessor.class_names),
            max_length=preprocessor.max_length,
        )

    def default_preprocessor(self, config: Any) -> TextPreprocessor:
        """Return a vocabulary of letters and stand-ins, and classes named by number."""
        letters = "abcdefghijklmnopqrstuvwxyz0123456789.,!?'\"-:;()"
        pieces = [*letters, *(f"##{letter}" for letter in letters if letter.isalnum())]
        pieces += [f"[unused{i}]" for i in range(config.vocab_size)]
        return TextPreprocessor(
            [*SPECIAL, *pieces][: config.vocab_size],
            [f"class_{i}" for i in range(config.num_classes)],
            max_length=config.max_length,
            head=round(getattr(config, "head_fraction", 1.0) * config.max_length),
        )

    def default_record(self, config: Any) -> Record:
        """Return one letter of the first class."""
        return {"id": "0", "text": "a", "label": "class_0"}

    def examples(self, source: Source, preprocessor: Any, config: Any) -> Examples:
        """Return `TextExamples`, the texts encoded once, or `StreamedTexts` where they are many.

        Raises:
            DataError: If a label is not among the classes of the training split.
        """
        return text_examples(source, preprocessor, getattr(config, "balance", 0.0))

    def compile_arguments(self, *, label_smoothing: float = 0.0) -> dict[str, Any]:
        """Return cross-entropy for one-hot targets, accuracy and macro-F1."""
        return class_compile_arguments(label_smoothing)

    def serving(self, model: keras.Model, *, batch_size: int = 1, **options: Any) -> Serving:
        """Return the function from token ids to probabilities and token weights.

        Raises:
            ConfigError: If an option is given; there is none.
        """
        import keras

        if options:
            raise ConfigError(f"Text classification has no serving option '{next(iter(options))}'; it has none.")
        length = int(model.inputs[0].shape[1])
        logits = model.output["logits"] if isinstance(model.output, dict) else model.output
        both = keras.Model(model.inputs, [logits, model.get_layer("pooling").output[1]], name="explained")

        def function(tokens: Any) -> dict[str, Any]:
            from keras import ops

            answer, weights = both([ops.reshape(ops.cast(tokens, "int32"), (batch_size, length))], training=False)
            return {
                "probabilities": ops.softmax(ops.cast(answer, "float32"), axis=-1),
                "token_weights": ops.cast(weights, "float32"),
            }

        return Serving(
            function=function,
            inputs={"tokens": ((batch_size, length), "int32")},
            outputs=("probabilities", "token_weights"),
            model=model,
            batch_size=batch_size,
        )

    def requests(
        self, source: Source, preprocessor: Any, *, limit: int | None = None, training: Source | None = None
    ) -> Requests:
        """Return the token ids of a split; the truth is (texts, labels int64)."""
        records = [source[i] for i in spread(len(source), limit).tolist()]
        texts = [record["text"] for record in records]
        return Requests(
            {"tokens": preprocessor.encode_all(texts)},
            (texts, label_numbers(records, preprocessor)),
            [str(record["id"]) for record in records],
            raw=lambda index: RawInput.of_text(texts[index]),
        )

    def score(
        self, outputs: Mapping[str, np.ndarray], requests: Requests, preprocessor: Any, *, slow: bool = False
    ) -> dict[str, Any]:
        """Return accuracy, macro-F1 with standard errors, the values of every class and the confusion matrix."""
        return class_metrics(requests.truth[1], outputs["probabilities"], preprocessor.class_names)

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
        """Return the majority class and TF-IDF with logistic regression, without and with balanced classes.

        Of over 200,000 training texts so many are used, spread evenly.
        """
        from zoo.metrics.baselines_text import majority_probabilities, tfidf_logistic

        source = dataset.split("train")
        records = [source[int(i)] for i in sample_indices(len(source), _FITTED)]
        train, labels = [record["text"] for record in records], label_numbers(records, preprocessor)
        texts, truth = requests.truth
        names = preprocessor.class_names
        result = {"majority": class_metrics(truth, majority_probabilities(labels, len(texts), len(names)), names)}
        for name, balanced in (("tfidf_logistic", False), ("tfidf_logistic_balanced", True)):
            probabilities = tfidf_logistic(
                train, labels, texts, language=dataset.language or "en", balanced=balanced, num_classes=len(names)
            )
            result[name] = class_metrics(truth, probabilities, names)
        return result

    def agreement(self, expected: Mapping[str, np.ndarray], actual: Mapping[str, np.ndarray]) -> np.ndarray:
        """Tell which texts got the same class."""
        return same_class(expected, actual)

    def difference(self, expected: Mapping[str, np.ndarray], actual: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the change of the class whose probability changed most, and 1 more if the answer changed."""
        return class_difference(expected, actual)

    def example(self, requests: Requests, index: int, preprocessor: Any) -> tuple[str, str | None]:
        """Return the text (of made-up tokens their pieces) and the name of its class."""
        if requests.truth is None:
            return " ".join(preprocessor.vocabulary[i] for i in requests.inputs["tokens"][index] if i), None
        texts, labels = requests.truth
        return texts[index], preprocessor.class_names[labels[index]]

    def pictures(
        self, folder: Path, outputs: Mapping[str, np.ndarray], requests: Requests, preprocessor: Any
    ) -> list[Path]:
        """Draw the confusion matrix."""
        from zoo.explain.pictures import confusion_matrix_picture

        path = folder / "confusion_matrix.png"
        confusion = self.score(outputs, requests, preprocessor)["confusion"]
        confusion_matrix_picture(confusion, preprocessor.class_names, path)
        return [path]

    def samples(
        self, outputs: Mapping[str, np.ndarray], requests: Requests, preprocessor: Any
    ) -> tuple[str, Sequence[np.ndarray]]:
        """Return a table of texts with true and predicted class and their heaviest words; no pictures."""
        texts, labels = requests.truth
        lines = ["| text | true | predicted | heaviest words |", "|---|---|---|---|"]
        for i in range(min(_SHOWN, len(texts))):
            result = preprocessor.result(
                {"tokens": requests.inputs["tokens"][i : i + 1]},
                {name: array[i : i + 1] for name, array in outputs.items()},
            )
            words = sorted(result.token_weights, key=lambda pair: -pair[1])[:4]
            cells = (texts[i][:160], preprocessor.class_names[labels[i]], str(result), ", ".join(w for w, _ in words))
            lines.append("| " + " | ".join(table_cell(cell) for cell in cells) + " |")
        return "\n".join(lines), []


__all__ = ["TASK", "TextClassificationTask", "TextExamples"]

TASK = TextClassificationTask()
