"""What a reference to a model means, and the folders of weights that ship with this package.

`zoo.load`, `zoo predict` and the rest take one kind of reference, resolved in this order: an existing path (a run
folder or a `.tflite` file), else `NAME` or `NAME/WEIGHTS` from the registry. Nothing here imports Keras or LiteRT.

Weights that ship are run folders, `zoo/shipped/<architecture>/<weights>/`:

manifest.json        format version, what they are, length and SHA-256 of every other file
run.json             as in every run, without the time it was made
preprocessor/        the preprocessor's files
model.safetensors    the weights, tables and matrices in float16
metrics.json         evaluations by split with these weights, baselines beside the model
model.tflite         the whole task in one file, 8-bit weights
card.json            what the model card says beside this: splits, every exported variant, ...
LICENCE.txt DATA.txt
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from zoo.errors import ModelFileError, unknown_name
from zoo.files import strict_json, write_json
from zoo.registry import architectures

SHIPPED = Path(__file__).resolve().parent / "shipped"
MANIFEST = "manifest.json"
FORMAT = "attention-zoo weights"
FORMAT_VERSION = 1
TFLITE = "model.tflite"

_MAX_MANIFEST_BYTES = 2**20

Kind = Literal["file", "folder", "shipped", "pretrained", "untrained"]


@dataclass(frozen=True)
class Reference:
    """What a reference stands for.

    Attributes:
        kind: "file": a path that is no folder; "folder": a run folder of the user's; "shipped": weights of this
            package; "pretrained": weights that the architecture gets itself; "untrained": a bare model.
        path: The file or folder; None for the last two kinds.
        name: Registered name of the architecture; "" for the first two kinds.
        weights: Name of the weights; "" if there are none.
    """

    kind: Kind
    path: Path | None = None
    name: str = ""
    weights: str = ""


def shipped() -> dict[str, Path]:
    """Return the folders of all weights that ship with this package, by reference (`caption_attn/emoji-en`)."""
    # A folder that is still being packed has a name with a dot in front.
    folders = sorted(path.parent for path in SHIPPED.glob(f"*/[!.]*/{MANIFEST}"))
    return {folder.relative_to(SHIPPED).as_posix(): folder for folder in folders}


def weights_of(name: str) -> tuple[str, ...]:
    """Return the names of an architecture's weights: those that ship, then those it gets itself."""
    own = [reference.partition("/")[2] for reference in shipped() if reference.startswith(f"{name}/")]
    cls = architectures().get(name)
    return (*own, *(cls.pretrained_weights if cls is not None else ()))


def describe_weights(name: str) -> dict[str, dict[str, Any]]:
    """Return what `zoo show` says of an architecture's weights, by their name.

    Raises:
        ModelFileError: If a manifest cannot be read.
    """
    folders = {weights: shipped().get(f"{name}/{weights}") for weights in weights_of(name)}
    return {
        weights: {"source": "an installed package"} if folder is None else read_manifest(folder)["about"]
        for weights, folder in folders.items()
    }


def find_weights(name: str, weights: str) -> Reference:
    """Return the reference of an architecture's weights.

    Raises:
        UnknownNameError: If it has no weights of that name; the message has the nearest names.
    """
    folder = shipped().get(f"{name}/{weights}")
    if folder is not None:
        return Reference("shipped", folder, name, weights)
    if weights not in weights_of(name):
        raise unknown_name(f"set of weights for {name}", weights, weights_of(name))
    return Reference("pretrained", None, name, weights)


def resolve(reference: str | Path) -> Reference:
    """Return what a reference stands for; no file is read.

    Raises:
        UnknownNameError: If it is neither an existing path nor a name; the message has the nearest names.
    """
    path = Path(reference)
    if path.is_dir():
        return Reference("folder", path)
    if path.is_file() or path.suffix == ".tflite":
        return Reference("file", path)
    known = architectures()
    name, slash, weights = path.as_posix().partition("/")
    if name not in known:
        raise unknown_name("run folder or model", str(reference), [*known, *shipped()])
    if slash:
        return find_weights(name, weights)
    first = known[name].pretrained_weights[:1]
    return Reference("pretrained", None, name, first[0]) if first else Reference("untrained", None, name)


def tflite_path(reference: str | Path) -> Path:
    """Return the path of a `.tflite` file: that of weights which ship, checked, where their name is given.

    Raises:
        ModelFileError: If the weights' folder is damaged, or what is named has no such file.
        UnknownNameError: If it is neither an existing path nor a name.
    """
    found = resolve(reference)
    if found.kind == "file" and found.path is not None:
        return found.path
    if found.kind != "shipped" or found.path is None:
        raise ModelFileError(f"'{reference}' is no .tflite file; write one: zoo export {reference}.")
    check_shipped(found.path)
    return found.path / TFLITE


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of a folder of weights that ship.

    Raises:
        ModelFileError: If it cannot be read, is not ours, or was made by a newer version.
    """
    path = folder / MANIFEST
    try:
        if path.stat().st_size > _MAX_MANIFEST_BYTES:
            raise _damaged(folder, f"{MANIFEST} is too large")
        manifest = strict_json(path.read_bytes())
    except OSError as error:
        raise ModelFileError(f"Cannot read '{path}': {error.strerror or error}.") from error
    except ValueError as error:
        raise _damaged(folder, f"{MANIFEST} cannot be read ({error})") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise _damaged(folder, f"{MANIFEST} is not that of weights")
    version = manifest.get("format_version")
    if type(version) is not int or version < 1:
        raise _damaged(folder, "its format_version is not a number")
    if version > FORMAT_VERSION:
        raise ModelFileError(
            f"The weights '{folder}' were made by a newer version (format {version}, this version reads up to "
            f"{FORMAT_VERSION}); upgrade attention-zoo."
        )
    if not isinstance(manifest.get("files"), dict) or not isinstance(manifest.get("about"), dict):
        raise _damaged(folder, f"{MANIFEST} does not list its files")
    return manifest


def check_shipped(folder: Path) -> dict[str, Any]:
    """Compare every file of a folder with its manifest, which is returned.

    Raises:
        ModelFileError: If a file is missing, is not listed, or does not match its SHA-256.
    """
    manifest = read_manifest(folder)
    found = _files(folder)
    if set(found) != set(manifest["files"]):
        odd = ", ".join(sorted(set(found) ^ set(manifest["files"])))
        raise _damaged(folder, f"its files are not those of its manifest: {odd}")
    for name, path in found.items():
        if _digest(path) != manifest["files"][name]:
            raise _damaged(folder, f"'{name}' does not match its SHA-256")
    return manifest


def write_manifest(folder: Path, name: str, about: Mapping[str, Any]) -> None:
    """Write the manifest of a complete folder.

    Args:
        folder: The folder.
        name: Reference of the weights.
        about: What `zoo show` says of them.
    """
    digests = {file: _digest(path) for file, path in _files(folder).items()}
    content = {"format": FORMAT, "format_version": FORMAT_VERSION, "name": name, "about": dict(about), "files": digests}
    write_json(folder / MANIFEST, content)


def _files(folder: Path) -> dict[str, Path]:
    """Return all files but the manifest, by their name below the folder."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {name: path for path in paths if (name := path.relative_to(folder).as_posix()) != MANIFEST}


def _digest(path: Path) -> dict[str, Any]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelFileError(f"Cannot read '{path}': {error.strerror or error}.") from error
    return {"length": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def _damaged(folder: Path, why: str) -> ModelFileError:
    return ModelFileError(f"The weights '{folder}' are damaged or were changed: {why}; install the package again.")
