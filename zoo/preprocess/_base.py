"""The interface of preprocessors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np

from zoo.results import Result


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
    def result(self, request: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray]) -> Result:
        """Turn the serving outputs for `request` (batch of one) into a typed result."""
