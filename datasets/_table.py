"""Reading a user's tables: CSV, TSV and JSON Lines, plain or gzipped, UTF-8, bounded in size.

CSV may use commas, semicolons or tabs (whichever the first line has most of) and quotes; TSV has no quotes, as its
media type says.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from zoo.errors import DataError
from zoo.preprocess._table import read_text

MAX_FIELD = 1_000_000
SUFFIXES = (".csv", ".tsv", ".jsonl", ".csv.gz", ".tsv.gz", ".jsonl.gz", ".txt", ".txt.gz")


@dataclass(frozen=True)
class Table:
    """A table of text.

    Attributes:
        title: The file, for messages.
        columns: Distinct names.
        rows: One list of fields a row, as long as `columns`.
        lines: Line number of each row in the file.
    """

    title: str
    columns: list[str]
    rows: list[list[str]]
    lines: list[int]

    def position(self, column: str, option: str) -> int:
        """Return the position of a column.

        Raises:
            DataError: If there is none of that name; the message names those there are and the option to set.
        """
        if column not in self.columns:
            raise DataError(
                f"'{self.title}' has no column '{column}'; it has {', '.join(self.columns)}. Name one with {option}."
            )
        return self.columns.index(column)


def kind(path: Path) -> str:
    """Return the suffix that says the format, for example ".csv" for "a.csv.gz"."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    return suffixes[-2] if suffixes[-1:] == [".gz"] and len(suffixes) > 1 else suffixes[-1] if suffixes else ""


def read_table(path: Path, *, header: bool = True) -> Table:
    """Read CSV or TSV.

    Args:
        path: The file.
        header: Whether the first line has the names; otherwise they are column1, column2, ...

    Raises:
        DataError: If the file cannot be read, is empty, or its rows do not fit its header.
    """
    text = read_text(path)
    first = text.split("\n", 1)[0]
    tabbed = kind(path) == ".tsv"
    delimiter = "\t" if tabbed else max(",;\t", key=first.count)
    quoting: Literal[0, 3] = csv.QUOTE_NONE if tabbed else csv.QUOTE_MINIMAL
    rows: list[list[str]] = []
    lines: list[int] = []
    with _field_limit(), contextlib.closing(io.StringIO(text, newline="")) as file:
        reader = csv.reader(file, delimiter=delimiter, quoting=quoting)
        try:
            for row in reader:
                if any(field.strip() for field in row):
                    rows.append(row)
                    lines.append(reader.line_num)
        except csv.Error as error:
            raise DataError(f"'{path}' is no table: line {reader.line_num}: {error}.") from error
    if not rows:
        raise DataError(f"'{path}' is empty; it must have a row of column names and rows of data.")
    if header:
        columns = [name.strip() for name in rows.pop(0)]
        lines.pop(0)
    else:
        columns = [f"column{number}" for number in range(1, len(rows[0]) + 1)]
    twice = sorted({name for name in columns if columns.count(name) > 1})
    if twice:
        raise DataError(f"'{path}' has several columns named '{twice[0]}'; rename them.")
    for row, line in zip(rows, lines, strict=True):
        if len(row) != len(columns):
            raise DataError(
                f"'{path}', line {line} has {len(row)} fields, but there are {len(columns)} columns; correct it."
            )
    return Table(str(path), columns, rows, lines)


def read_jsonl(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number, object) of a JSON Lines file.

    Raises:
        DataError: If the file cannot be read or a line is no JSON object.
    """
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if line.strip():
            value = parse_json(line, f"'{path}', line {number}")
            if not isinstance(value, dict):
                raise DataError(f"'{path}', line {number} is no JSON object; every line must be one.")
            yield number, value


def parse_json(text: str, title: str) -> Any:
    """Return parsed JSON.

    Raises:
        DataError: If it is not JSON.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{title} is not valid JSON ({error}).") from None


@contextlib.contextmanager
def _field_limit() -> Iterator[None]:
    old = csv.field_size_limit(MAX_FIELD)
    try:
        yield
    finally:
        csv.field_size_limit(old)
