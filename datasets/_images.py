"""Where the pictures of a captions file are: a folder or a ZIP archive, never anything outside it."""

from __future__ import annotations

import lzma
import os
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import Protocol

from zoo.errors import DataError
from zoo.preprocess.image import MAX_IMAGE_BYTES as MAX_FILE_BYTES

MAX_IMAGE_BYTES = 64 << 20


class Images(Protocol):
    """Pictures by the name a captions file gives them."""

    def find(self, file: str) -> str | None:
        """Return the key of a picture, or None if there is none.

        Raises:
            DataError: If the name points outside.
        """
        ...

    def get(self, key: str) -> str | bytes:
        """Return the picture as a path or as its encoded bytes."""
        ...

    def read(self, key: str) -> bytes:
        """Return the picture's encoded bytes.

        Raises:
            DataError: If it cannot be read or is too large.
        """
        ...


def open_images(root: Path, subfolder: str) -> Images:
    """Return the pictures of a folder, or of `images.zip` in it.

    Args:
        root: Folder of the captions file.
        subfolder: Folder or ZIP archive inside `root`, or "" to take `images.zip` if there is one, else `root`.

    Raises:
        DataError: If it does not exist or is no ZIP archive.
    """
    where = root / subfolder if subfolder else root / "images.zip"
    if where.is_file():
        return ZipImages(where)
    if subfolder and not where.is_dir():
        raise DataError(f"There is no folder or ZIP archive '{where}' with pictures.")
    return FolderImages(where if subfolder else root)


def safe_name(file: str) -> PurePosixPath:
    """Return a relative name with forward slashes.

    Raises:
        DataError: If it is absolute, goes up, or holds a character no file name has.
    """
    name = PurePosixPath(file.replace("\\", "/"))
    if not name.parts or name.is_absolute() or ".." in name.parts or "\0" in file or ":" in name.parts[0]:
        raise DataError(
            f"The captions name the picture {file[:80]!r}, which points outside the folder; use plain names."
        )
    return name


class FolderImages:
    """Pictures in a folder, or in its sub-folder `images`."""

    def __init__(self, root: Path) -> None:
        """Remember the folder; `root/images` may be a link to elsewhere, a single picture may not."""
        self._roots = [folder.resolve() for folder in (root, root / "images") if folder.is_dir()]
        self._title = root

    def __str__(self) -> str:
        return f"the folder '{self._title}'"

    def find(self, file: str) -> str | None:
        """See `Images`."""
        name = safe_name(file)
        for root in self._roots:
            path = root / name
            try:
                there = path.is_file()
            except OSError:  # such as a name longer than any file's
                continue
            if there:
                if not path.resolve().is_relative_to(root):
                    raise DataError(f"The picture '{path}' is a link that points outside the folder; copy the file.")
                return str(path)
        return None

    def get(self, key: str) -> str:
        """See `Images`; a path."""
        return key

    def read(self, key: str) -> bytes:
        """See `Images`."""
        try:
            with open(key, "rb") as file:
                if os.fstat(file.fileno()).st_size > MAX_FILE_BYTES:
                    raise DataError(f"'{key}' has over {MAX_FILE_BYTES >> 20} MiB; make the picture smaller.")
                return file.read()
        except OSError as error:
            raise DataError(f"Cannot read the picture '{key}': {error.strerror or error}.") from error


class ZipImages:
    """Pictures in a ZIP archive, at its top or in its folder `images`; read one by one, never unpacked to disk."""

    def __init__(self, path: Path) -> None:
        """Read the archive's table of contents.

        Raises:
            DataError: If it is no ZIP archive.
        """
        self._path = path
        self._owner = -1
        self._members = {info.filename: info for info in self._archive().infolist() if not info.is_dir()}

    def __str__(self) -> str:
        return f"the archive '{self._path}'"

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_owner": -1, "_open": None}

    def find(self, file: str) -> str | None:
        """See `Images`."""
        name = str(safe_name(file))
        return next((key for key in (name, f"images/{name}") if key in self._members), None)

    def get(self, key: str) -> bytes:
        """See `Images`; the bytes.

        Raises:
            DataError: If the entry is encrypted, damaged or too large.
        """
        info = self._members[key]
        if info.flag_bits & 1:
            raise DataError(f"'{key}' in '{self._path}' is encrypted; make an archive without a password.")
        if info.file_size <= MAX_IMAGE_BYTES:
            try:
                with self._archive().open(info) as file:
                    data = file.read(MAX_IMAGE_BYTES + 1)
            except (OSError, EOFError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, NotImplementedError) as error:
                raise DataError(f"Cannot read '{key}' in '{self._path}': {error}.") from error
            if len(data) <= MAX_IMAGE_BYTES:
                return data
        raise DataError(f"'{key}' in '{self._path}' is larger than {MAX_IMAGE_BYTES >> 20} MiB; is it a picture?")

    def read(self, key: str) -> bytes:
        """See `Images`."""
        return self.get(key)

    def _archive(self) -> zipfile.ZipFile:
        if self._owner != os.getpid():  # a forked worker must not share the file's position
            try:
                self._open = zipfile.ZipFile(self._path)
            except (OSError, zipfile.BadZipFile) as error:
                raise DataError(f"Cannot read '{self._path}': {error}.") from error
            self._owner = os.getpid()
        return self._open
