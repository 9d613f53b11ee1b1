"""Pictures to arrays and probabilities to labels.

The files are `preprocessor.json` and `labels.txt`, which has one label a line; the line's number (from 0) is the class.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np

from zoo.files import strict_json
from zoo.preprocess._base import Preprocessor, RawInput, vocabulary_lines
from zoo.preprocess.image import checked_size, describe_input, described_size, load_image, made_up_picture
from zoo.results import ImageClassification

SHOWN = 10
"""Most classes an answer names."""

_FORMAT_VERSION = 1


class ImagePreprocessor(Preprocessor):
    """The image size and the labels of an image classifier.

    Attributes:
        class_names: The labels, in class order.
        image_size: (height, width) in pixels.
    """

    kind: ClassVar[str] = "image_classification"

    def __init__(self, class_names: Sequence[str], *, image_size: tuple[int, int]) -> None:
        """Check and keep the parts.

        Raises:
            ValueError: If one of them cannot be.
        """
        if len(class_names) < 2 or len(set(class_names)) != len(class_names):
            raise ValueError("there must be at least two labels, each once")
        if not all(name and name.isprintable() for name in class_names):
            raise ValueError("a label is empty or has characters that cannot be printed")
        self.class_names = tuple(class_names)
        self.image_size = checked_size(image_size)

    def request(self, value: Any) -> dict[str, np.ndarray]:
        """Turn a picture (path, bytes, PIL image, array) into `image` uint8 (1, H, W, 3); see `load_image`."""
        return {"image": load_image(value, self.image_size)[None]}

    def interface(self) -> Any:
        """See the base class."""
        outputs: dict[str, Any] = {
            "probabilities": ("float32", ("B", len(self.class_names))),
            "attention": ("float32", ("B", "h", "w")),
        }
        return {"image": ("uint8", ("B", *self.image_size, 3))}, outputs

    def made_up(self) -> list[RawInput]:
        """Return a disc on stripes in the model's size, and in two others that must be resized."""
        return [RawInput.of_image(made_up_picture(*size)) for size in (self.image_size, (100, 60), (40, 130))]

    def result(self, request: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray]) -> ImageClassification:
        """Turn the serving outputs of one picture into a class; of equal probabilities the first counts more."""
        probabilities = np.asarray(outputs["probabilities"], np.float64).reshape(-1)
        attention = np.asarray(outputs["attention"], np.float32)
        order = np.argsort(-probabilities, kind="stable")[:SHOWN]
        return ImageClassification(
            label=self.class_names[order[0]],
            probabilities={self.class_names[i]: float(probabilities[i]) for i in order},
            attention=attention.reshape(attention.shape[-2:]),
        )

    def files(self) -> dict[str, bytes]:
        """Return `preprocessor.json` and `labels.txt`."""
        description = {
            "kind": self.kind,
            "format_version": _FORMAT_VERSION,
            "image": describe_input(self.image_size),
        }
        text = json.dumps(description, ensure_ascii=False, indent=2) + "\n"
        return {"preprocessor.json": text.encode(), "labels.txt": ("\n".join(self.class_names) + "\n").encode()}

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> Self:
        """Rebuild from `files()`."""
        description = strict_json(files["preprocessor.json"])
        if description["format_version"] != _FORMAT_VERSION:
            raise ValueError(f"format version {str(description['format_version'])[:40]!r} is not known")
        return cls(vocabulary_lines(files["labels.txt"]), image_size=described_size(description["image"]))
