"""The evaluations that a run folder keeps: their names, and the answers they were made of.

An evaluation is called after its split and the serving options that were given, `valid` or `valid-beam_width=3`. Under
that name `metrics.json` has its results, and `answers/<name>.jsonl` one answer a line with all that a comparison with
another run's needs, so that neither model nor data is asked for then.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from zoo.errors import DataError, ModelFileError
from zoo.files import strict_json, to_json, write_text

_LONGEST_NAME = 100


def evaluation_name(split: str, options: Mapping[str, Any]) -> str:
    """Return what an evaluation is called; it is a file name too. Long ones end in a digest of what is cut off."""
    given = ",".join(f"{name}={value}" for name, value in sorted(options.items()))
    name = re.sub(r"[^\w.,=-]+", "_", f"{split}-{given}" if given else split)
    if len(name.encode()) <= _LONGEST_NAME:
        return name
    digest = hashlib.sha256(given.encode()).hexdigest()[:8]
    return name.encode()[: _LONGEST_NAME - 9].decode(errors="ignore") + f"-{digest}"


def write_answers(folder: Path, name: str, answers: Sequence[Mapping[str, Any]]) -> None:
    """Write the answers of an evaluation into a run's folder."""
    write_text(_path(folder, name), "".join(to_json(dict(answer), indent=None) for answer in answers))


def read_answers(folder: Path, name: str) -> list[dict[str, Any]]:
    """Read the answers of an evaluation.

    Raises:
        DataError: If the run has none of that name.
        ModelFileError: If they cannot be read.
    """
    path = _path(folder, name)
    if path.name != f"{name}.jsonl" or not path.is_file():
        known = ", ".join(sorted(other.stem for other in path.parent.glob("*.jsonl"))) or "none"
        raise DataError(f"'{folder}' has no answers of '{name}' (it has: {known}); run: zoo evaluate {folder}.")
    try:
        answers = [strict_json(line) for line in path.read_bytes().splitlines()]
    except OSError as error:
        raise ModelFileError(f"Cannot read '{path}': {error.strerror or error}.") from error
    except ValueError as error:
        raise ModelFileError(f"'{path}' is damaged: {error}; evaluate the run again.") from error
    if not answers or not all(isinstance(answer, dict) for answer in answers):
        raise ModelFileError(f"'{path}' is damaged: not every line is an answer; evaluate the run again.")
    return answers


def _path(folder: Path, name: str) -> Path:
    return folder / "answers" / f"{Path(name).name}.jsonl"
