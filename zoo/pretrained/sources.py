"""Where a weights file comes from. What is read is what was checked: the SHA-256 is that of the bytes returned."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path, PurePosixPath

from zoo.datasets._package import package_file
from zoo.errors import ConfigError, ModelFileError, require
from zoo.pretrained.torch_file import MAX_BYTES

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}")
_FORMS = "package:NAME/FILE, file:PATH or hf://USER/REPOSITORY/FILE[@REVISION]"


def read_source(source: str, sha256: str) -> bytes:
    """Return the content of a weights file.

    Args:
        source: `package:NAME/FILE`, a file that an installed package carries; `file:PATH`; or
            `hf://USER/REPOSITORY/FILE[@REVISION]`, fetched through huggingface_hub, which keeps it in its cache.
        sha256: What the SHA-256 of the content must be, 64 hexadecimal digits.

    Raises:
        ConfigError: If the source or the SHA-256 is not written so.
        MissingExtraError: If the package, or huggingface_hub, is not installed.
        ModelFileError: If the file cannot be got, is too large or is another file.
    """
    if not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise ConfigError(f"The SHA-256 of the weights '{source}' is '{sha256}'; it must be 64 hexadecimal digits.")
    path = locate(source)
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ModelFileError(f"Cannot read the weights '{source}': {error.strerror or error}.") from error
    if len(content) > MAX_BYTES:
        raise ModelFileError(f"The weights '{source}' have over {MAX_BYTES >> 20} MiB, which is not read.")
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise ModelFileError(
            f"The weights '{source}' are damaged or not the ones expected: their SHA-256 is {found}, not {sha256}; "
            "get the file again."
        )
    return content


def locate(source: str) -> Path:
    """Return the path of the file that a source names; one of the hub is fetched first. See `read_source`."""
    scheme, _, rest = source.partition(":")
    if scheme == "file" and rest:
        return Path(rest).expanduser()
    if scheme == "package" and rest.count("/"):
        package, _, relative = rest.partition("/")
        if package.isidentifier() and _plain(relative):
            return package_file(package, relative, distribution=package)
    if scheme == "hf" and rest.startswith("//"):
        rest, _, revision = rest.removeprefix("//").partition("@")
        parts = rest.split("/", 2)
        if len(parts) == 3 and all(map(_HUB_NAME.fullmatch, parts[:2])) and _plain(parts[2]):
            return _from_hub(source, f"{parts[0]}/{parts[1]}", parts[2], revision or None)
    raise ConfigError(f"The source of weights '{source}' is not one of {_FORMS}.")


def _plain(relative: str) -> bool:
    path = PurePosixPath(relative)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts and "\\" not in relative


def _from_hub(source: str, repository: str, file: str, revision: str | None) -> Path:
    hub = require("huggingface_hub", extra="tf", purpose=f"Fetching '{source}'")
    try:
        return Path(hub.hf_hub_download(repository, file, revision=revision))
    except Exception as error:  # the library raises its own and its network library's errors
        raise ModelFileError(f"Cannot fetch the weights '{source}': {type(error).__name__}: {error}") from error
