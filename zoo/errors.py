"""Errors a user can act on.

Every error this project raises on purpose derives from `ZooError`. Its message is one line that names the thing, says
what is wrong and what to do. The command line prints that line, never a traceback.
"""

from __future__ import annotations

import difflib
import importlib
import re
from collections.abc import Iterable
from importlib import util
from types import ModuleType

_LONGEST = 1200


def printable(text: str) -> str:
    """Return a text that is safe on a terminal: line breaks become spaces, other control characters are escaped.

    Names and contents of files may come from anywhere.
    """
    text = re.sub(r"\s*[\r\n\v\f\x1c-\x1e\x85\u2028\u2029]\s*", " ", text)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def one_line(text: str) -> str:
    """Return a message that is safe on a terminal; of one over 1,200 characters the middle is left out."""
    if len(text) > _LONGEST:
        text = f"{text[: _LONGEST - 300]} ... {text[-295:]}"
    return printable(text)


class ZooError(Exception):
    """Base of all errors raised on purpose."""

    def __init__(self, message: str) -> None:
        """Keep the message as one line."""
        super().__init__(one_line(message))


class UnknownNameError(ZooError):
    """A name that is in no registry."""


class ConfigError(ZooError):
    """A configuration field that does not exist or holds a value out of range."""


class DataError(ZooError):
    """Input data that cannot be used: missing, corrupt, of the wrong shape, too short."""


class ModelFileError(ZooError):
    """A run folder, bundle or weights file that cannot be read or trusted."""


class ExportError(ZooError):
    """An export that failed or did not pass the export gate."""


class TrainingError(ZooError):
    """Training that cannot go on, for example because the loss is not a number."""


class PreemptedError(TrainingError):
    """Training was asked to stop by SIGTERM, and has written a checkpoint."""


class MissingExtraError(ZooError):
    """An optional dependency is not installed."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UnknownNameError:
    """Build the error for an unknown name; it lists the nearest known names and then all of them."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    return UnknownNameError(f"No {kind} is named '{name}'.{hint} Known: {', '.join(known) or 'none'}.")


def is_installed(module: str) -> bool:
    """Tell whether a top-level module could be imported, without importing it."""
    try:
        return util.find_spec(module) is not None
    except (ModuleNotFoundError, ValueError):
        return False


def not_installed(module: str, *, extra: str, purpose: str) -> MissingExtraError:
    """Build the error for an optional module that is missing (arguments as in `require`)."""
    return MissingExtraError(
        f"{purpose} needs '{module}', which is not installed; run: pip install 'attention-zoo[{extra}]'."
    )


def require(module: str, *, extra: str, purpose: str) -> ModuleType:
    """Import an optional module, or say which extra brings it.

    Args:
        module: Dotted name of the module to import.
        extra: The extra of this distribution that installs it.
        purpose: What it is needed for, as the subject of the message ("Training").

    Returns:
        The imported module.

    Raises:
        MissingExtraError: If the module is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise not_installed(str(error.name), extra=extra, purpose=purpose) from error
