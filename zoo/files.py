"""Atomic output: everything is written beside its destination and then renamed.

A crash, a full disk or an interrupt leaves what the user had; a half-written file never has the final name.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from zoo.errors import ZooError


@contextlib.contextmanager
def write_beside(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path in the same folder; on success it replaces `path`, on error it is removed.

    Args:
        path: Destination file. Missing parent folders are made.

    Yields:
        The path to write to. It has the destination's suffix, since some writers look at it.

    Raises:
        ZooError: If the destination is a folder or cannot be written (permission, full disk, ...).
    """
    target = Path(path)
    if target.is_dir():
        raise ZooError(f"Cannot write '{target}': it is a folder; give a file name.")
    beside: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{target.stem}-", suffix=target.suffix, dir=target.parent)
        os.close(handle)
        beside = Path(name)
        yield beside
        with beside.open("rb") as file:
            os.fsync(file.fileno())
        mask = os.umask(0)
        os.umask(mask)
        beside.chmod(0o666 & ~mask)
        beside.replace(target)
    except OSError as error:
        raise ZooError(f"Cannot write '{target}': {error.strerror or error}.") from error
    finally:
        if beside is not None:
            with contextlib.suppress(OSError):
                beside.unlink(missing_ok=True)


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write `data` to `path` atomically."""
    with write_beside(path) as beside:
        beside.write_bytes(data)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write `text` to `path` as UTF-8, atomically."""
    write_bytes(path, text.encode("utf-8"))


def to_json(value: Any, indent: int | None = 2) -> str:
    """Serialise to readable JSON; numpy scalars and arrays become numbers and lists, NaN becomes null.

    With `indent=None` it is one line.
    """
    return json.dumps(_plain(value), ensure_ascii=False, indent=indent, allow_nan=False) + "\n"


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write `value` as JSON (see `to_json`), atomically."""
    write_text(path, to_json(value))


def read_json(path: str | os.PathLike[str]) -> Any:
    """Read a JSON file.

    Raises:
        ZooError: If the file is missing or not JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ZooError(f"Cannot read '{path}': {error.strerror or error}.") from error
    except (ValueError, RecursionError) as error:
        raise ZooError(f"Cannot read '{path}': it is not valid JSON ({error}).") from error


def cache_folder(name: str = "") -> Path:
    """Return where this user keeps what can be got again: `ZOO_CACHE`, or our folder in the platform's cache.

    Args:
        name: A folder in it, which is made if it is missing, readable by this user alone; "" for the whole, not made.

    Raises:
        ZooError: If the folder cannot be made.
    """
    folder = Path(os.environ["ZOO_CACHE"]) if os.environ.get("ZOO_CACHE") else _platform_cache() / "attention-zoo"
    if not name:
        return folder
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / name).mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise ZooError(
            f"Cannot make the cache folder '{folder / name}': {error.strerror or error}; set ZOO_CACHE to another."
        ) from error
    return folder / name


def _platform_cache() -> Path:
    if os.environ.get("XDG_CACHE_HOME"):
        return Path(os.environ["XDG_CACHE_HOME"])
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    if os.environ.get("LOCALAPPDATA"):
        return Path(os.environ["LOCALAPPDATA"])
    return Path.home() / ".cache"


def check_writable(folder: Path, failure: str) -> None:
    """Refuse a folder that cannot be written to, or made, before long work.

    Args:
        folder: The folder; where it does not exist yet, the nearest above it is looked at.
        failure: How the message begins, such as "Cannot write 'x'".

    Raises:
        ZooError: If it is no folder, or may not be written to.
    """
    nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        raise ZooError(f"{failure}: '{nearest}' is not a folder that can be written to.")


def strict_json(content: bytes) -> Any:
    """Parse JSON from anywhere, so that any other parser would read the same.

    Raises:
        ValueError: If it is not UTF-8, not JSON, nested too deeply, names a key twice, or holds NaN, an infinity, an
            integer of over 64 bits, or text that is no Unicode.
    """
    text = content.decode("utf-8")
    try:
        value = json.loads(
            text, object_pairs_hook=_unique, parse_constant=_not_a_number, parse_float=_finite, parse_int=_whole
        )
        if "\\ud" in text.lower():  # an escaped half of a surrogate pair
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("it names a key twice")
    return found


def _not_a_number(text: str) -> float:
    raise ValueError(f"{text} is not a number")


def _whole(text: str) -> int:
    if len(text) > 20 or not -(2**63) <= (value := int(text)) < 2**63:
        raise ValueError(f"{text[:40]} is too large")
    return value


def _finite(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"{text[:40]} is too large")
    return value


def replace_folder(path: str | os.PathLike[str], fill: Callable[[Path], object]) -> None:
    """Let `fill` write into a fresh folder, then put it in the place of `path` (whose old content is removed last).

    Raises:
        ZooError: If `path` is a file or the folder cannot be written.
    """
    target = Path(path)
    if target.is_file():
        raise ZooError(f"Cannot write the folder '{target}': a file has that name.")
    beside: Path | None = None
    old: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
        mask = os.umask(0)
        os.umask(mask)
        beside.chmod(0o777 & ~mask)
        fill(beside)
        if target.exists():
            old = target.with_name(f".{target.name}-old-{os.getpid()}")
            target.rename(old)
        beside.rename(target)
    except OSError as error:
        if old is not None and old.exists() and not target.exists():
            old.rename(target)
        raise ZooError(f"Cannot write the folder '{target}': {error.strerror or error}.") from error
    finally:
        if beside is not None and beside.exists():
            shutil.rmtree(beside, ignore_errors=True)
        if old is not None and target.exists():
            shutil.rmtree(old, ignore_errors=True)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return value
