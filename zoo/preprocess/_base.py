"""The interface of preprocessors."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from zoo.errors import ModelFileError
from zoo.results import Result

Dimensions = tuple[int | str, ...]

MAX_TOKENS = 1_000_000
MAX_TOKEN_LENGTH = 256
MAX_LENGTH = 65_536


@dataclass(frozen=True)
class RawInput:
    """What a person gives, as bytes that any client can hold.

    Attributes:
        kind: "image_rgb" (8-bit RGB, rows from the top, height x width x 3 bytes), "text" (UTF-8) or "csv" (UTF-8).
        content: The bytes.
        height: Height of a picture in pixels, else 0.
        width: Width of a picture in pixels, else 0.
    """

    kind: str
    content: bytes
    height: int = 0
    width: int = 0

    @classmethod
    def of_image(cls, image: np.ndarray) -> Self:
        """Return a picture, uint8 (H, W, 3)."""
        return cls("image_rgb", image.tobytes(), *image.shape[:2])

    @classmethod
    def of_text(cls, text: str) -> Self:
        """Return a text; lone surrogates, which UTF-8 cannot hold, become spaces."""
        return cls("text", re.sub("[\ud800-\udfff]", " ", text).encode())

    def value(self) -> Any:
        """Return what `Preprocessor.request` takes: an array, a string, or the bytes of a table.

        Raises:
            ValueError: If the content is not what the kind says.
        """
        if self.kind == "image_rgb":
            if not all(type(side) is int and side > 0 for side in (self.height, self.width)):
                raise ValueError(f"a picture of {self.height} x {self.width} pixels")
            return np.frombuffer(self.content, np.uint8).reshape(self.height, self.width, 3)
        if self.kind not in ("text", "csv"):
            raise ValueError(f"raw inputs of kind {self.kind!r} are not known")
        return self.content.decode("utf-8") if self.kind == "text" else self.content


class Preprocessor(ABC):
    """Turns one user input into the serving graph's inputs, and its outputs into a typed result.

    Attributes:
        kind: Name of the task it serves, stored in `preprocessor.json`.
    """

    kind: ClassVar[str]

    @abstractmethod
    def files(self) -> dict[str, bytes]:
        """Return everything needed to rebuild it: `preprocessor.json` (with "kind") and, for text, `vocab.txt`."""

    @classmethod
    @abstractmethod
    def from_files(cls, files: Mapping[str, bytes]) -> Self:
        """Rebuild from `files()`; may raise KeyError, ValueError or TypeError on damaged content."""

    @abstractmethod
    def request(self, value: Any) -> dict[str, np.ndarray]:
        """Turn one user input (path, picture, string, table, array) into the serving inputs, batch of one.

        Raises:
            DataError: If the input cannot be used; the message says why.
        """

    @abstractmethod
    def interface(self) -> tuple[dict[str, tuple[str, Dimensions]], dict[str, tuple[str, Dimensions]]]:
        """Return the inputs and outputs it needs of a model: name -> (dtype, dimensions).

        A dimension that is a letter may be any number, the same wherever the letter stands; "B" is the batch.
        """

    def check(self, signatures: Mapping[str, Any]) -> None:
        """Check that a model fits.

        Args:
            signatures: Name -> `{"inputs": {name: {"shape", "dtype"}}, "outputs": ...}`.

        Raises:
            ModelFileError: If it lacks an input or output, has other inputs, or one of another shape or type.
        """
        found: dict[str, int] = {}
        for side, expected in zip(("inputs", "outputs"), self.interface(), strict=True):
            tensors = signatures["serving_default"][side]
            if not set(expected) <= set(tensors) or (side == "inputs" and set(expected) != set(tensors)):
                raise ModelFileError(
                    f"The model's {side} are {', '.join(sorted(tensors)) or 'none'}; a {self.kind} model has "
                    f"{', '.join(sorted(expected))}: export it again."
                )
            for name, (dtype, dimensions) in expected.items():
                shape = tuple(tensors[name]["shape"])
                if dimensions == ("B",) and found.get("B") == 1 and not shape:
                    shape = (1,)  # a scalar
                if tensors[name]["dtype"] != dtype or not _match(shape, dimensions, found):
                    raise ModelFileError(
                        f"The model's '{name}' is {tensors[name]['dtype']} {tensors[name]['shape']}, which does not "
                        f"fit its preprocessor: {dtype} {list(dimensions)}; export it again."
                    )

    @abstractmethod
    def made_up(self) -> list[RawInput]:
        """Return invented inputs, always the same, that exercise the rules a client must follow."""

    @abstractmethod
    def result(self, request: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray]) -> Result:
        """Turn the serving outputs for `request` (batch of one) into a typed result."""


def _match(shape: tuple[int, ...], dimensions: Dimensions, found: dict[str, int]) -> bool:
    """Whether a shape has the given dimensions; letters seen for the first time are put into `found`."""
    return len(shape) == len(dimensions) and all(
        size == (found.setdefault(one, size) if isinstance(one, str) else one)
        for size, one in zip(shape, dimensions, strict=True)
    )


def whole(value: Any, name: str, low: int, high: int) -> int:
    """Return a whole number from JSON.

    Raises:
        ValueError: If it is not one, or out of range.
    """
    if type(value) is not int or not low <= value <= high:
        raise ValueError(f"{name} is {str(value)[:40]!r}, not a whole number from {low} to {high}")
    return value


def vocabulary_lines(content: bytes) -> list[str]:
    """Return the tokens of a `vocab.txt`: one a line; only a line feed ends one.

    Raises:
        ValueError: If there are too many, one is too long, or it is not UTF-8.
    """
    if content.count(b"\n") > MAX_TOKENS:
        raise ValueError(f"the vocabulary has more than {MAX_TOKENS} tokens")
    tokens = content.decode("utf-8").removesuffix("\n").split("\n")
    if max(map(len, tokens)) > MAX_TOKEN_LENGTH:
        raise ValueError(f"a token is longer than {MAX_TOKEN_LENGTH} characters")
    return tokens
