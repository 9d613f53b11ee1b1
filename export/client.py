"""Clients in other languages, copied to where a user builds them."""

from __future__ import annotations

import os
import re
from pathlib import Path

from zoo.errors import ZooError, require, unknown_name
from zoo.files import write_bytes

_CLIENTS = {"c": ("zoo_edge.c", "Makefile", "README.md")}
_HOME = Path(__file__).parent / "clients"
_SETTING = "LITERT_DIR ?= "


def write_client(language: str, folder: str | os.PathLike[str]) -> list[Path]:
    """Copy the client of a language; its Makefile gets the path of the LiteRT library installed here.

    Args:
        language: "c".
        folder: Where to; made if missing. Other files in it are left alone.

    Returns:
        The written files.

    Raises:
        UnknownNameError: If there is no client in that language.
        MissingExtraError: If `ai-edge-litert` is not installed.
        ZooError: If a file of that name with other content is there, or the folder cannot be written to.
    """
    if language not in _CLIENTS:
        raise unknown_name("client", language, _CLIENTS)
    contents = {name: (_HOME / language / name).read_bytes() for name in _CLIENTS[language]}
    contents["Makefile"] = _with_library(contents["Makefile"].decode()).encode()
    for name, content in contents.items():
        path = Path(folder) / name
        if path.exists() and (not path.is_file() or path.read_bytes() != content):
            raise ZooError(f"'{path}' exists and is something else; give a new folder.")
    for name, content in contents.items():
        write_bytes(Path(folder) / name, content)
    return [Path(folder) / name for name in contents]


def _with_library(makefile: str) -> str:
    """Set the folder of `libLiteRt` in a Makefile."""
    package = require("ai_edge_litert", extra="edge", purpose="Building the C client")
    library = str(Path(str(package.__file__)).parent.resolve())
    if re.search(r"['#\n]", library):
        raise ZooError(f"A Makefile cannot name the folder '{library}'; install ai-edge-litert elsewhere.")
    lines = makefile.splitlines(keepends=True)
    (place,) = (number for number, line in enumerate(lines) if line.startswith(_SETTING))
    lines[place] = f"{_SETTING}{library.replace('$', '$$')}\n"
    return "".join(lines)
