"""From what a person has (a picture, a sentence, a price table) to arrays, and from arrays back to an answer.

The very same code runs in training and on the device, so it needs numpy and Pillow only; fitting a
vocabulary needs `tokenizers`. A preprocessor is fitted on the training split alone and is stored as plain files (JSON
and text).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from zoo.errors import ModelFileError
from zoo.files import strict_json
from zoo.preprocess._base import Preprocessor, RawInput

__all__ = ["Preprocessor", "RawInput", "load", "load_folder", "save_folder"]


def load(files: Mapping[str, bytes]) -> Preprocessor:
    """Rebuild a preprocessor from its files.

    Args:
        files: Name -> content, as `Preprocessor.files` gave them.

    Raises:
        ModelFileError: If a file is missing or damaged, or the kind is unknown.
    """
    try:
        kind = strict_json(files["preprocessor.json"])["kind"]
    except (KeyError, ValueError, TypeError) as error:
        raise ModelFileError("The preprocessor is missing or damaged; export or train the model again.") from error
    if kind == "captioning":
        from zoo.preprocess.captioning import CaptionPreprocessor as cls
    elif kind == "text_classification":
        from zoo.preprocess.text import TextPreprocessor as cls  # type: ignore[assignment]
    elif kind == "image_classification":
        from zoo.preprocess.image_classification import ImagePreprocessor as cls  # type: ignore[assignment]
    elif kind == "forecasting":
        from zoo.preprocess.series import SeriesPreprocessor as cls  # type: ignore[assignment]
    else:
        raise ModelFileError(f"The preprocessor is of kind {kind!r}, which this version does not know; upgrade.")
    try:
        return cls.from_files(files)
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise ModelFileError(f"The {kind} preprocessor is damaged ({error}); export or train again.") from error


def load_folder(folder: Path) -> Preprocessor:
    """Read a preprocessor from a folder (see `save_folder`).

    Raises:
        ModelFileError: If the folder or a file in it cannot be read.
    """
    try:
        return load({path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()})
    except OSError as error:
        raise ModelFileError(f"Cannot read the preprocessor in '{folder}': {error.strerror or error}.") from error


def save_folder(preprocessor: Preprocessor, folder: Path) -> None:
    """Write a preprocessor's files into an existing folder."""
    for name, content in preprocessor.files().items():
        (folder / name).write_bytes(content)
