"""The interface of preprocessors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from zoo.results import Result


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
        """Return a text; what UTF-8 cannot hold (lone surrogates) becomes a question mark."""
        return cls("text", text.encode("utf-8", "replace"))

    def value(self) -> Any:
        """Return what `Preprocessor.request` takes: an array, a string, or the bytes of a table.

        Raises:
            ValueError: If the content is not what the kind says.
        """
        if self.kind == "image_rgb":
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
    def made_up(self) -> list[RawInput]:
        """Return invented inputs, always the same, that exercise the rules a client must follow."""

    @abstractmethod
    def result(self, request: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray]) -> Result:
        """Turn the serving outputs for `request` (batch of one) into a typed result."""
