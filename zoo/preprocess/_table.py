"""A table of a user's: a CSV file, a list of rows or columns by name, ordered by date.

Bounded, UTF-8, one line for every fault. The dataset of a user's own series and the device read dates with the same
function.
"""

from __future__ import annotations

import csv
import datetime
import gzip
import io
import os
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from zoo.errors import DataError

DATE_NAMES = ("date", "datetime", "timestamp", "time", "day", "ds")
"""Names of a date column, in lower case, the likeliest first."""

MAX_BYTES = 1 << 30
"""Largest file of training data."""
MAX_TABLE_BYTES = 1 << 26
MAX_ROWS = 1_000_000
MAX_COLUMNS = 20_000
MAX_CELLS = 20_000_000
"""Largest table that is given to a model."""

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(nan|inf|infinity)", re.ASCII | re.IGNORECASE)
_FORMATS = ("%Y/%m/%d", "%m/%d/%Y", "%d.%m.%Y", "%Y/%m/%d %H:%M", "%Y/%m/%d %H:%M:%S", "%m/%d/%Y %H:%M", "%d-%b-%Y")


@dataclass(frozen=True)
class Columns:
    """A table, oldest row first.

    Attributes:
        title: What it is, for messages.
        cells: Cells of every column by its name in lower case; all equally long.
        rows: What to call every row in messages.
    """

    title: str
    cells: dict[str, list[Any]]
    rows: list[str]

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.rows)

    def numbers(self, name: str, count: int) -> np.ndarray:
        """Return the last `count` cells of a column as float64 (count,).

        Raises:
            DataError: If a cell is no number; NaN and infinity are numbers here.
        """
        cells, rows = self.cells[name.strip().lower()][-count:], self.rows[-count:]
        numbers = np.empty(len(cells), np.float64)
        for i, cell in enumerate(cells):
            try:
                if isinstance(cell, str) and not _NUMBER.fullmatch(cell.strip()):
                    raise ValueError(cell)
                numbers[i] = float(cell)
            except (TypeError, ValueError, OverflowError) as error:
                shown = "empty" if cell is None or cell == "" else repr(cell)[:40]
                raise DataError(
                    f"{self.title}: column '{name}' is {shown} in {rows[i]}; it must be a number."
                ) from error
        return numbers


def parse_date(text: str) -> datetime.datetime | None:
    """Return a date as a datetime without zone (UTC where one is given), or None; a bare number is none."""
    text = text.strip()
    try:
        float(text)
    except ValueError:
        pass
    else:
        # 20110131 is a date, 1993 and 3.5 are not
        return _try(text, ("%Y%m%d",)) if len(text) == 8 and text.isdecimal() else None
    try:
        value = datetime.datetime.fromisoformat(text)
        return value.astimezone(datetime.UTC).replace(tzinfo=None) if value.tzinfo else value
    except ValueError:
        return _try(text, _FORMATS)
    except OverflowError:  # before year 1 or after 9999 once it is in UTC
        return None


def read_columns(value: Any) -> Columns:
    """Read a table.

    Args:
        value: Path of a CSV file with a header (commas, semicolons or tabs; plain or gzipped), or the bytes of a plain
            one; a list of dictionaries, one a row; or a mapping (also a data frame) of column names to values.

    Returns:
        The table. Rows are ordered by the date column if there is one, else kept as they are.

    Raises:
        DataError: If it cannot be read, its columns differ in length, or a date is missing or occurs twice.
    """
    if isinstance(value, (str, os.PathLike)):
        title = f"'{value}'"
        cells, rows = _read_csv(title, read_text(Path(value), limit=MAX_TABLE_BYTES))
    elif isinstance(value, (bytes, bytearray, memoryview)):
        title = "The table"
        if len(value) > MAX_TABLE_BYTES:
            raise DataError(f"{title} has {len(value)} bytes; at most {MAX_TABLE_BYTES} are read: give the last rows.")
        cells, rows = _read_csv(title, _decode(bytes(value), title))
    elif isinstance(value, Sequence) and value and all(isinstance(row, Mapping) for row in value):
        title, cells = "The table", {str(name): [row.get(name) for row in value] for name in value[0]}
        rows = [f"row {i}" for i in range(1, len(value) + 1)]
    elif hasattr(value, "keys") and hasattr(value, "__getitem__"):
        title, cells = "The table", {}
        for name in value:
            try:
                cells[str(name)] = list(value[name])
            except TypeError as error:
                raise DataError(f"{title}: column '{name}' is one value; give a list, a value a row.") from error
        rows = [f"row {i}" for i in range(1, len(next(iter(cells.values()), ())) + 1)]
    else:
        raise DataError(
            f"A forecast needs a CSV path, an array, a list of rows or columns by name, not {type(value).__name__}."
        )
    if len({name.strip().lower() for name in cells}) < len(cells):
        raise DataError(f"{title} has two columns whose names differ in capitals only; rename one.")
    cells = {name.strip().lower(): column for name, column in cells.items()}
    for name, column in cells.items():
        if len(column) != len(rows):
            raise DataError(f"{title}: column '{name}' has {len(column)} values, others {len(rows)}; make them equal.")
    return _by_date(Columns(title, cells, rows))


def _by_date(table: Columns) -> Columns:
    name = next((name for name in DATE_NAMES if name in table.cells), None)
    if name is None and len(table):
        name = next((name for name, cells in table.cells.items() if _date(cells[0]) is not None), None)
    if name is None:
        return table
    dates = []
    for cell, row in zip(table.cells[name], table.rows, strict=True):
        date = _date(cell)
        if date is None:
            raise DataError(
                f"{table.title}: {str(cell)[:40]!r} in {row} of column '{name}' is no date; write dates as 2011-01-31."
            )
        dates.append(date)
    stamps = np.array(dates, "datetime64[s]")
    order = np.argsort(stamps, kind="stable")
    twice = np.flatnonzero(stamps[order][1:] == stamps[order][:-1])
    if len(twice):
        cell = table.cells[name][order[twice[0]]]
        raise DataError(f"{table.title} has the date {cell} twice; keep one row a date.")
    cells = {key: [column[i] for i in order] for key, column in table.cells.items()}
    return Columns(table.title, cells, [table.rows[i] for i in order])


def _date(cell: Any) -> Any:
    if isinstance(cell, str):
        return parse_date(cell)
    if isinstance(cell, (datetime.date, np.datetime64)):
        value: Any = np.array(cell, "datetime64[s]")[()]
        return None if np.isnat(value) else value
    return None


def _try(text: str, formats: tuple[str, ...]) -> datetime.datetime | None:
    for one in formats:
        try:
            return datetime.datetime.strptime(text, one)
        except ValueError:
            continue
    return None


def write_csv(
    dates: np.ndarray, columns: Mapping[str, np.ndarray], *, delimiter: str = ",", lineterminator: str = "\n"
) -> bytes:
    """Return a CSV file: a column `date` of datetime64 (N,), and columns by name; numbers are written exactly."""
    stamps = np.asarray(dates, "datetime64[s]")
    if (stamps == stamps.astype("datetime64[D]")).all():
        stamps = stamps.astype("datetime64[D]")
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, delimiter=delimiter, lineterminator=lineterminator)
    writer.writerow([DATE_NAMES[0], *columns])
    writer.writerows(zip(map(str, stamps), *(column.tolist() for column in columns.values()), strict=True))
    return stream.getvalue().encode()


def _read_csv(title: str, text: str) -> tuple[dict[str, list[Any]], list[str]]:
    delimiter = max(",;\t", key=text.split("\n", 1)[0].count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    table: list[list[str]] = []
    rows: list[str] = []
    try:
        for row in reader:
            if any(field.strip() for field in row):
                table.append(row)
                rows.append(f"line {reader.line_num}")
                if len(row) > MAX_COLUMNS or len(table) > MAX_ROWS + 1 or len(table) * len(table[0]) > MAX_CELLS:
                    raise DataError(f"{title} is too large a table for one forecast; give the last rows.")
    except csv.Error as error:
        raise DataError(f"{title} is no table: line {reader.line_num}: {error}.") from error
    if not table:
        raise DataError(f"{title} is empty; it must have a row of column names and rows of data.")
    header, table, rows = [name.strip() for name in table[0]], table[1:], rows[1:]
    seen: set[str] = set()
    for name in header:
        if name.lower() in seen:
            raise DataError(f"{title} has several columns named '{name}'; rename them.")
        seen.add(name.lower())
    for fields, name in zip(table, rows, strict=True):
        if len(fields) != len(header):
            raise DataError(
                f"{title}, {name} has {len(fields)} fields, but there are {len(header)} columns; correct it."
            )
    return {name: [fields[i] for fields in table] for i, name in enumerate(header)}, rows


def read_text(path: Path, *, limit: int = MAX_BYTES) -> str:
    """Return the text of a file that may be gzipped.

    Raises:
        DataError: If it cannot be read, is larger than `limit` bytes once unpacked, or is not UTF-8.
    """
    try:
        if path.exists() and not path.is_file():  # a pipe or device has no end
            raise DataError(f"'{path}' is {'a folder' if path.is_dir() else 'not a regular file'}; give a file.")
        with path.open("rb") as plain:
            file: Any = gzip.GzipFile(fileobj=plain) if path.suffix.lower() == ".gz" else plain
            data = file.read(limit + 1)
    except (OSError, ValueError, EOFError, zlib.error) as error:
        raise DataError(f"Cannot read '{path}': {getattr(error, 'strerror', None) or error}.") from error
    if len(data) > limit:
        raise DataError(f"'{path}' is larger than {limit >> 20} MiB; split it into smaller files, or give fewer rows.")
    return _decode(data, f"'{path}'")


def _decode(data: bytes, title: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{title} is not UTF-8: line {line} has the byte 0x{data[error.start]:02x}; convert it."
        ) from None
