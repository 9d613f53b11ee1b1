"""Image classification: a picture goes in, a class with its probability comes out, and where the evidence was.

A model has the input `image` (B, H, W, 3), 0 to 255, the output `logits` float32 (B, C), a layer `features` that gives
a map (B, h, w, D), and a dense layer `classifier`, (D, C), of the map's mean. Then the logit of a class is a sum over
places: the class activation map (Zhou et al. 2016, arXiv:1512.04150, equation 2) of the answer is exactly what each
place added to its logit. `attention` is the part of it above 0, as shares.

Its configuration has `num_classes` and `side`; `balance` and `augment` (see `ImageExamples`) and `views` (see
`zoo.training.features.turns_of`) are used where they exist. An architecture with pretrained parts has a method `cut`
(see `zoo.models.image_efficientnet_lite`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from zoo.config import BaseConfig
from zoo.datasets import Dataset, Record, Source
from zoo.errors import ConfigError, DataError
from zoo.preprocess.image import load_image
from zoo.preprocess.image_classification import ImagePreprocessor
from zoo.tasks._base import Examples, Lesson, Requests, Serving, Task
from zoo.tasks._classes import class_compile_arguments, class_difference, class_metrics, same_class, table_cell
from zoo.tasks._pictures import requested_pictures
from zoo.tasks._text_examples import count_labels, label_numbers

if TYPE_CHECKING:
    import keras

    from zoo.run import Run
    from zoo.training.config import TrainConfig
    from zoo.training.stages import Stage

_BASELINE_SIZE = (64, 64)
_SAMPLED = 50_000  # most training pictures that a baseline looks at
_SHOWN = 24
_PANELS = 8
_TINY = 1e-6


class ImageClassificationTask(Task):
    """See the module."""

    name = "image_classification"
    summary = "a picture -> the probability of every class, and where the evidence for the answer was"
    main_metric = "macro_f1"
    higher_is_better = True
    input_help = "a picture: a path (PNG, JPEG, GIF, BMP, WebP, TIFF), bytes, a PIL image or a uint8 array"
    difference_help = "largest change of the probability of a class, plus 1 where the answer is another class"
    difference_steps = (0.001, 0.003, 0.01, 0.03, 0.1, 1.0)

    def data_options(self, config: Any) -> dict[str, Any]:
        """Return nothing: no dataset option follows from the model."""
        return {}

    def preprocessor(self, config: Any, dataset: Dataset) -> ImagePreprocessor:
        """Take the classes from the training split.

        Raises:
            DataError: If it has a single class.
        """
        found = set(count_labels(dataset.split("train")))
        if len(found) < 2:
            raise DataError(
                f"The training split of '{dataset.name}' has {len(found)} class(es); a classifier needs at least two."
            )
        names = tuple(getattr(dataset, "class_names", ())) or tuple(sorted(found))
        return ImagePreprocessor(names, image_size=(config.side, config.side))

    def configure(self, config: Any, preprocessor: Any) -> BaseConfig:
        """Fill in the number of classes."""
        return config.replace(num_classes=len(preprocessor.class_names))

    def default_preprocessor(self, config: Any) -> ImagePreprocessor:
        """Return classes named by number."""
        names = [f"class_{i}" for i in range(config.num_classes)]
        return ImagePreprocessor(names, image_size=(config.side, config.side))

    def default_record(self, config: Any) -> Record:
        """Return a black picture of the first class."""
        return {"id": "0", "group": "0", "image": np.zeros((8, 8, 3), np.uint8), "label": "class_0"}

    def examples(self, source: Source, preprocessor: Any, config: Any) -> Examples:
        """Return `ImageExamples`."""
        from zoo.tasks._image_examples import ImageExamples

        return ImageExamples(source, preprocessor, getattr(config, "balance", 0.0), getattr(config, "augment", 0.0))

    def check_stage(self, run: Any, stage: Any, processes: int) -> None:
        """See the base class; published weights can be fine-tuned, by one process."""
        if processes > 1 and getattr(run.config, "start", None) is not None:
            raise ConfigError("Published weights are trained further by one process; start one.")
        if stage.finetune and getattr(run.config, "start", None) is None:
            raise ConfigError(
                f"'{run.name}' without published weights (start=None) learns all from the beginning; "
                f"set train.{stage.name}_epochs to 0."
            )
        if stage.goal != "likelihood":
            super().check_stage(run, stage, processes)

    def lesson(
        self,
        model: keras.Model,
        run: Run,
        source: Source,
        held_out: Source,
        stage: Stage,
        train: TrainConfig,
        say: Callable[[str], None],
    ) -> Lesson:
        """See the base class. What a pretrained model's frozen part gives is computed once for all pictures."""
        config: Any = run.config
        cut = getattr(run.architecture, "cut", None)
        parts = None if cut is None else cut(model, config, finetune=stage.finetune)
        if parts is None:
            return super().lesson(model, run, source, held_out, stage, train, say)
        from zoo.tasks._image_examples import FeatureExamples, Labels
        from zoo.training.features import stored_features

        extract, learn = parts
        preprocessor: Any = run.preprocessor

        def examples(split: Source, views: str) -> FeatureExamples:
            store = stored_features(extract, split, views, say)
            return FeatureExamples(store, Labels(split, preprocessor, getattr(config, "balance", 0.0)))

        return Lesson(
            model=learn,
            examples=examples(source, getattr(config, "views", "none")),
            held_out=examples(held_out, "none"),
            compile_arguments=self.compile_arguments(label_smoothing=train.label_smoothing),
        )

    def compile_arguments(self, *, label_smoothing: float = 0.0) -> dict[str, Any]:
        """Return cross-entropy for one-hot targets, accuracy and macro-F1."""
        return class_compile_arguments(label_smoothing)

    def serving(self, model: keras.Model, *, batch_size: int = 1, **options: Any) -> Serving:
        """Return the function from a picture to probabilities and attention.

        Raises:
            ConfigError: If an option is given; there is none.
        """
        import keras
        from keras import ops

        if options:
            raise ConfigError(f"Image classification has no serving option '{next(iter(options))}'; it has none.")
        size = tuple(model.inputs[0].shape[1:])
        logits = model.output["logits"] if isinstance(model.output, dict) else model.output
        both = keras.Model(model.inputs, [model.get_layer("features").output, logits], name="explained")
        classifier = model.get_layer("classifier")

        def function(image: Any) -> dict[str, Any]:
            picture = ops.reshape(ops.cast(image, "float32"), (batch_size, *size))
            cells, answer = both([picture], training=False)
            answer, cells = ops.cast(answer, "float32"), ops.cast(cells, "float32")
            # Not argmax: Keras's needs a bitwise operator that LiteRT does not have.
            best = ops.reshape(ops.cast(ops.top_k(answer, 1)[1], "int32"), (batch_size,))
            rows = ops.cast(ops.take(ops.transpose(classifier.kernel), best, axis=0), "float32")
            evidence = ops.relu(ops.sum(cells * rows[:, None, None, :], axis=-1)) + _TINY
            return {
                "probabilities": ops.softmax(answer, axis=-1),
                "attention": evidence / ops.sum(evidence, axis=(1, 2), keepdims=True),
            }

        return Serving(
            function=function,
            inputs={"image": ((batch_size, *size), "uint8")},
            outputs=("probabilities", "attention"),
            model=model,
            batch_size=batch_size,
        )

    def requests(
        self, source: Source, preprocessor: Any, *, limit: int | None = None, training: Source | None = None
    ) -> Requests:
        """Return the pictures of a split; the truth are the labels, int64 (N,)."""
        records, images, raw = requested_pictures(source, preprocessor.image_size, limit)
        labels = label_numbers(records, preprocessor)
        return Requests({"image": images}, labels, [str(record["id"]) for record in records], raw)

    def score(
        self, outputs: Mapping[str, np.ndarray], requests: Requests, preprocessor: Any, *, slow: bool = False
    ) -> dict[str, Any]:
        """Return accuracy, macro-F1 with standard errors, the values of every class and the confusion matrix."""
        return class_metrics(requests.truth, outputs["probabilities"], preprocessor.class_names)

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
        """Return the majority class, the class of the nearest mean colour, and that of the nearest training picture.

        Of over 50,000 training pictures so many are looked at, spread evenly.
        """
        from zoo.metrics.baselines_images import SIZES, mean_colour_classes, nearest_image_classes
        from zoo.metrics.baselines_text import majority_probabilities

        source, names = dataset.split("train"), preprocessor.class_names
        records, known, _ = requested_pictures(source, _BASELINE_SIZE, _SAMPLED)
        labels = label_numbers(records, preprocessor)
        asked = np.stack([load_image(image, _BASELINE_SIZE) for image in requests.inputs["image"]])

        def measure(classes: np.ndarray) -> dict[str, Any]:
            return class_metrics(requests.truth, np.eye(len(names))[classes], names)

        frequencies = majority_probabilities(labels, len(asked), len(names))
        nearest = {size: measure(nearest_image_classes(known, labels, asked, size)) for size in SIZES}
        best = max(nearest, key=lambda size: nearest[size][self.main_metric])
        return {
            "majority": class_metrics(requests.truth, frequencies, names),
            "mean_colour": measure(mean_colour_classes(known, labels, asked)),
            "nearest_image": {**nearest[best], "pixels": best},
        }

    def agreement(self, expected: Mapping[str, np.ndarray], actual: Mapping[str, np.ndarray]) -> np.ndarray:
        """Tell which pictures got the same class."""
        return same_class(expected, actual)

    def difference(self, expected: Mapping[str, np.ndarray], actual: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the change of the class whose probability changed most, and 1 more if the answer changed."""
        return class_difference(expected, actual)

    def example(self, requests: Requests, index: int, preprocessor: Any) -> tuple[np.ndarray, str | None]:
        """Return the picture, uint8 (H, W, 3), and the name of its class."""
        truth = None if requests.truth is None else preprocessor.class_names[requests.truth[index]]
        return requests.inputs["image"][index], truth

    def pictures(
        self, folder: Path, outputs: Mapping[str, np.ndarray], requests: Requests, preprocessor: Any
    ) -> list[Path]:
        """Draw the confusion matrix, and a sheet of pictures with their classes and attention."""
        from zoo.explain.captions import caption_sheet
        from zoo.explain.pictures import confusion_matrix_picture

        matrix, sheet = folder / "confusion_matrix.png", folder / "pictures.png"
        confusion = self.score(outputs, requests, preprocessor)["confusion"]
        confusion_matrix_picture(confusion, preprocessor.class_names, matrix)
        items = []
        for i in requests.spread(_SHOWN).tolist():
            result = self._result(outputs, i, preprocessor)
            items.append(
                {
                    "image": requests.inputs["image"][i],
                    "truth": (preprocessor.class_names[requests.truth[i]],),
                    "caption": str(result),
                    "attention": result.attention[None],
                    "words": [result.label],
                }
            )
        caption_sheet(items, sheet)
        return [matrix, sheet]

    def samples(
        self, outputs: Mapping[str, np.ndarray], requests: Requests, preprocessor: Any
    ) -> tuple[str, Sequence[np.ndarray]]:
        """Return a table of true and predicted classes, and pictures beside their attention."""
        from zoo.explain.word_panels import WordPanel, word_panels_array

        lines, panels = ["| true | predicted |", "|---|---|"], []
        for i in range(min(_PANELS, len(requests))):
            result = self._result(outputs, i, preprocessor)
            cells = (preprocessor.class_names[requests.truth[i]], str(result))
            lines.append("| " + " | ".join(map(table_cell, cells)) + " |")
            panel = WordPanel(result.label, result.attention)
            panels.append(word_panels_array(requests.inputs["image"][i], str(result), [panel]))
        return "\n".join(lines), panels

    def _result(self, outputs: Mapping[str, np.ndarray], index: int, preprocessor: Any) -> Any:
        return preprocessor.result({}, {name: array[[index]] for name, array in outputs.items()})


TASK = ImageClassificationTask()
