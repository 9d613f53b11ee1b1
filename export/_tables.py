"""A flatbuffer's tables, read within bounds and without any library.

Every offset is checked before it is followed, so that a damaged or hostile file is a `ValueError`, never a wrong read.
Layout: https://flatbuffers.dev/internals; all numbers are little-endian. `Table` reads fields by their number in the
schema; a field that is absent has its default.
"""

from __future__ import annotations

import struct
from typing import Self

MAX_ITEMS = 65_536
"""Longest vector that is followed item by item; of those, only data and quantisation are longer in real files."""
MAX_STRING_BYTES = 4096

_OFFSET = struct.Struct("<I")
_SIGNED = struct.Struct("<i")
_TWO = struct.Struct("<2H")
_NUMBERS = {kind: struct.Struct(f"<{kind}") for kind in "bBhHiIqQ"}


class Table:
    """One table of a flatbuffer."""

    __slots__ = ("_data", "_fields", "_start")

    def __init__(self, data: bytes, start: int) -> None:
        """Find the table's list of fields.

        Raises:
            ValueError: If it does not lie inside `data`.
        """
        self._data, self._start = data, start
        try:
            (back,) = _SIGNED.unpack_from(data, start)
            listing = start - back
            if listing < 0:
                raise ValueError("a table lies outside the file")
            size, length = _TWO.unpack_from(data, listing)
            if size < 4 or size % 2 or length < 4 or start + length > len(data):
                raise ValueError("a table is malformed")
            self._fields = struct.unpack_from(f"<{size // 2 - 2}H", data, listing + 4)
        except struct.error as error:
            raise ValueError("a table lies outside the file") from error
        if any(field >= length for field in self._fields):
            raise ValueError("a table is malformed")

    @classmethod
    def root(cls, data: bytes) -> Self:
        """Return the table that holds all others."""
        return cls(data, cls._unpack(data, 0))

    @staticmethod
    def _unpack(data: bytes, start: int) -> int:
        try:
            return int(_OFFSET.unpack_from(data, start)[0])
        except struct.error as error:
            raise ValueError("a field lies outside the file") from error

    def number(self, field: int, kind: str, default: int = 0) -> int:
        """Return a scalar; `kind` is its letter in Python's `struct`."""
        at = self._at(field)
        if not at:
            return default
        try:
            return int(_NUMBERS[kind].unpack_from(self._data, at)[0])
        except struct.error as error:
            raise ValueError("a field lies outside the file") from error

    def table(self, field: int) -> Table | None:
        """Return a table, or None if there is none."""
        at = self._target(field)
        return Table(self._data, at) if at else None

    def tables(self, field: int, limit: int = MAX_ITEMS) -> list[Table]:
        """Return a vector of tables."""
        start, count = self._vector(field, 4)
        if count > limit:
            raise ValueError(f"a list has {count} items")
        return [Table(self._data, at + self._unpack(self._data, at)) for at in range(start, start + 4 * count, 4)]

    def numbers(self, field: int, kind: str, limit: int = MAX_ITEMS) -> tuple[int, ...]:
        """Return a vector of integers; `kind` is their letter in Python's `struct`."""
        start, count = self._vector(field, _NUMBERS[kind].size)
        if count > limit:
            raise ValueError(f"a list has {count} items")
        return struct.unpack_from(f"<{count}{kind}", self._data, start) if count else ()

    def length(self, field: int, size: int) -> int:
        """Return the number of items, of `size` bytes each, of a vector."""
        return self._vector(field, size)[1]

    def text(self, field: int) -> str:
        """Return a string, "" if there is none."""
        start, count = self._vector(field, 1)
        if count > MAX_STRING_BYTES:
            raise ValueError(f"a name has {count} bytes")
        return self._data[start : start + count].decode("utf-8")

    def has(self, field: int) -> bool:
        """Return whether a field is present."""
        return self._at(field) > 0

    def _at(self, field: int) -> int:
        """Return where a field lies, 0 if it is absent."""
        offset = self._fields[field] if field < len(self._fields) else 0
        return self._start + offset if offset else 0

    def _target(self, field: int) -> int:
        """Return what a field points to, 0 if it is absent."""
        at = self._at(field)
        return at + self._unpack(self._data, at) if at else 0

    def _vector(self, field: int, size: int) -> tuple[int, int]:
        """Return where a vector's items begin, and their number."""
        at = self._target(field)
        if not at:
            return 0, 0
        count = self._unpack(self._data, at)
        if at + 4 + count * size > len(self._data):
            raise ValueError("a list lies outside the file")
        return at + 4, count
