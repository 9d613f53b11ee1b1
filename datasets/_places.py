"""Where shards lie: a folder, or a bucket (`gs://...`) whose files are copied to a cache and checked before use.

A copy is named after the SHA-256 of its content, is written beside and renamed once size and hash are right, and so is
never half there, whatever stops the copying and however many processes copy at once.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from zoo.datasets._shard_files import MANIFEST, MAX_MANIFEST_BYTES, StoredFile
from zoo.errors import DataError, MissingExtraError, ZooError, require
from zoo.files import cache_folder, write_beside

_PART = 8 << 20
_SPARE = 1 << 30  # bytes of the disk that a cache leaves free


def is_remote(reference: str) -> bool:
    """Tell whether a reference is a URL (`gs://bucket/folder`) and not a path or a name."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", reference) is not None


class LocalFolder:
    """Shards in a folder."""

    def __init__(self, folder: Path) -> None:
        """Keep the folder."""
        self._folder = folder

    def manifest(self) -> bytes:
        """Return the content of `shards.json`, at most one byte more than is allowed.

        Raises:
            DataError: If it cannot be read.
        """
        try:
            with (self._folder / MANIFEST).open("rb") as file:
                return file.read(MAX_MANIFEST_BYTES + 1)
        except OSError as error:
            raise DataError(f"Cannot read '{self._folder / MANIFEST}': {error.strerror or error}.") from error

    def bring(self, files: Sequence[StoredFile]) -> list[Path]:
        """Return the paths of files, each there and of the size it should have.

        Raises:
            DataError: If one is missing or has another size.
        """
        paths = [self._folder / item.file for item in files]
        for path, item in zip(paths, files, strict=True):
            if not path.is_file():
                raise DataError(f"The shard '{path}' is missing; copy it, or prepare the shards again.")
            if path.stat().st_size != item.bytes:
                raise DataError(
                    f"The shard '{path}' has {path.stat().st_size:,} bytes instead of {item.bytes:,}; copy it again, "
                    "or prepare the shards again."
                )
        return paths


class Bucket:
    """Shards at a URL, read with fsspec.

    Args:
        url: The folder, `gs://bucket/folder`.
        cache: Folder for copies; the user's cache when not given.
        limit: Most bytes of one split.

    Raises:
        DataError: If nothing reads that kind of URL.
        MissingExtraError: If the package that reads it is not installed.
    """

    def __init__(self, url: str, cache: Path | None, limit: int) -> None:
        fsspec = require("fsspec", extra="tf", purpose=f"Reading '{url}'")
        self._url = url.rstrip("/")
        self._cache = cache or _user_cache()
        self._limit = limit
        try:
            self._system, self._root = fsspec.core.url_to_fs(self._url)
        except ImportError as error:  # its message names the package, such as gcsfs
            raise MissingExtraError(f"Cannot read '{url}': {error}.") from error
        except Exception as error:  # the systems behind fsspec have errors of their own
            raise _failed(self._url, error) from error

    def manifest(self) -> bytes:
        """See `LocalFolder`."""
        try:
            with self._system.open(f"{self._root}/{MANIFEST}", "rb") as file:
                return bytes(file.read(MAX_MANIFEST_BYTES + 1))
        except Exception as error:
            raise _failed(f"{self._url}/{MANIFEST}", error) from error

    def bring(self, files: Sequence[StoredFile]) -> list[Path]:
        """Copy the files that the cache has not yet, and return the paths of all copies.

        Raises:
            DataError: If they are too large for the limit or the disk, cannot be read, or are not what `shards.json`
                says.
        """
        paths = [self._cache / f"{item.sha256}{Path(item.file).suffix}" for item in files]
        wanted = {
            path: item
            for path, item in zip(paths, files, strict=True)
            if not path.is_file() or path.stat().st_size != item.bytes
        }
        needed = sum(item.bytes for item in wanted.values())
        total = sum(item.bytes for item in files)
        if total > self._limit:
            raise DataError(
                f"A split at '{self._url}' has {total / 1e9:.1f} GB, and copies may have {self._limit / 1e9:.1f} GB; "
                "raise the option cache_gb."
            )
        if wanted:
            self._check_room(needed)
            self._copy(wanted, needed)
        return paths

    def _check_room(self, needed: int) -> None:
        try:
            self._cache.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(self._cache).free
        except OSError as error:
            raise DataError(f"Cannot copy shards to '{self._cache}': {error.strerror or error}.") from error
        if needed + _SPARE > free:
            raise DataError(
                f"The shards at '{self._url}' need {needed / 1e9:.1f} GB more in '{self._cache}', which has "
                f"{free / 1e9:.1f} GB free; make room, or name another folder with the option cache_dir."
            )

    def _copy(self, wanted: dict[Path, StoredFile], needed: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

        console = Console(stderr=True)
        columns = (TextColumn("Copying shards"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
            bar = progress.add_task("", total=needed)
            for path, item in wanted.items():
                self._copy_one(path, item, lambda size: progress.advance(bar, size))

    def _copy_one(self, path: Path, item: StoredFile, advance: Any) -> None:
        where = f"{self._url}/{item.file}"
        digest, size = hashlib.sha256(), 0
        with write_beside(path) as beside:
            try:
                with self._system.open(f"{self._root}/{item.file}", "rb") as source, beside.open("wb") as copy:
                    while size <= item.bytes and (part := source.read(_PART)):
                        size += len(part)
                        digest.update(part)
                        copy.write(part)
                        advance(len(part))
            except Exception as error:
                raise _failed(where, error) from error
            if size != item.bytes or digest.hexdigest() != item.sha256:
                raise DataError(f"The shard '{where}' is not the one that {MANIFEST} describes; copy the shards again.")


def _user_cache() -> Path:
    return cache_folder() / "shards"


def _failed(url: str, error: Exception) -> ZooError:
    if isinstance(error, ZooError):
        return error
    if isinstance(error, FileNotFoundError):
        return DataError(f"There is no '{url}'; give the folder of shards that 'zoo data prepare' wrote.")
    reason = next((line.strip() for line in str(error).splitlines() if line.strip()), "") or type(error).__name__
    return DataError(f"Cannot read '{url}': {reason[:200]}.")
