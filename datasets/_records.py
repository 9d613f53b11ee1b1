"""Records as bytes, for files that may come from anywhere: no pickle, every size checked before it is used.

    4 bytes    little-endian length of the header
    header     UTF-8 JSON, one object: field -> value
    buffers    the bytes of the header's buffers, in its order, without gaps

Strings, numbers, booleans and null are themselves, and a list is a tuple of them. An object is a buffer:
`{"bytes": 120}` or `{"array": "<f4", "shape": [30, 5]}`, an array in row-major order. The types of arrays are
little-endian booleans, integers, floats and dates.
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np

from zoo.datasets._base import Record
from zoo.datasets._images import MAX_IMAGE_BYTES
from zoo.errors import DataError
from zoo.files import strict_json

MAX_RECORD_BYTES = 256 << 20
"""Longer records are neither written nor read."""

MAX_HEADER_BYTES = 16 << 20

_DTYPE = re.compile(r"\|b1|\|[iu]1|<(?:[iu][248]|f[248]|M8\[(?:D|h|m|s|ms|us|ns)\])")
_MAX_FIELDS = 1000
_MAX_DIMENSIONS = 8


def encode_record(record: Record) -> bytes:
    """Return a record as bytes.

    Raises:
        ValueError: If a value is of a kind that has no place in it, or the whole is too long.
    """
    header: dict[str, Any] = {}
    buffers: list[bytes] = []
    for name, value in record.items():
        if isinstance(value, (bytes, bytearray, memoryview)):
            buffers.append(bytes(value))
            header[name] = {"bytes": len(buffers[-1])}
        elif isinstance(value, np.ndarray):
            array = value.astype(value.dtype.newbyteorder("<"), copy=False)
            if not _DTYPE.fullmatch(array.dtype.str):
                raise ValueError(f"field '{name}' is an array of type {value.dtype}, which has no place in a record")
            buffers.append(array.tobytes())
            header[name] = {"array": array.dtype.str, "shape": list(array.shape)}
        else:
            header[name] = _plain(name, value)
    try:
        head = json.dumps(header, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError("a text holds half a surrogate pair, which is no Unicode") from None
    data = b"".join((len(head).to_bytes(4, "little"), head, *buffers))
    if len(head) > MAX_HEADER_BYTES or len(data) > MAX_RECORD_BYTES or len(header) > _MAX_FIELDS:
        raise ValueError(f"it has {len(data):,} bytes in {len(header)} fields, which is too much for one record")
    return data


def decode_record(data: bytes) -> Record:
    """Return the record that `encode_record` made bytes of; its arrays are read-only.

    Raises:
        ValueError: If it is not one.
    """
    if not 4 <= len(data) <= MAX_RECORD_BYTES:
        raise ValueError(f"it has {len(data):,} bytes")
    start = 4 + int.from_bytes(data[:4], "little")
    if start > min(len(data), 4 + MAX_HEADER_BYTES):
        raise ValueError("its header is longer than it may be")
    header = strict_json(data[4:start])
    if not isinstance(header, dict) or len(header) > _MAX_FIELDS:
        raise ValueError("its header is no object")
    record: Record = {}
    for name, value in header.items():
        if isinstance(value, dict):
            size, dtype, shape = _buffer(value)
            if size > len(data) - start:
                raise ValueError(f"field '{name}' is longer than the record")
            part = data[start : start + size]
            start += size
            if dtype is None:
                record[name] = part
            elif dtype.kind == "b":
                record[name] = (np.frombuffer(part, np.uint8) != 0).reshape(shape)  # any byte but 0 is true
            else:
                record[name] = np.frombuffer(part, dtype).reshape(shape)
        else:
            record[name] = _plain(name, value)
    if start != len(data):
        raise ValueError("it goes on after its last field")
    return record


def check_record(task: str, record: Record) -> None:
    """Check that a record has the fields of its task (see `zoo.datasets._base`), in their types.

    Raises:
        ValueError: If a field is missing or wrong.
    """
    _want(record, "id", isinstance(record.get("id"), str), "a text")
    if task == "captioning":
        _want(record, "image", isinstance(record.get("image"), bytes), "the bytes of a picture file")
        captions = record.get("captions")
        good = isinstance(captions, tuple) and all(isinstance(caption, str) for caption in captions)
        _want(record, "captions", good and bool(captions), "at least one text")
    elif task == "text_classification":
        for name in ("text", "label"):
            _want(record, name, isinstance(record.get(name), str), "a text")
    else:
        _check_series(record)


def with_image_bytes(record: Record) -> Record:
    """Return a record whose picture is bytes, read from its path if it is one.

    Raises:
        DataError: If the file cannot be read.
    """
    image = record.get("image")
    if not isinstance(image, (str, Path)):
        return record
    try:
        if Path(image).stat().st_size > MAX_IMAGE_BYTES:
            raise DataError(f"The picture '{image}' has over {MAX_IMAGE_BYTES >> 20} MiB; make it smaller.")
        return {**record, "image": Path(image).read_bytes()}
    except OSError as error:
        raise DataError(f"Cannot read the picture '{image}': {error.strerror or error}.") from error


def _check_series(record: Record) -> None:
    columns, values = record.get("columns"), record.get("values")
    named = isinstance(columns, tuple) and bool(columns) and all(isinstance(name, str) for name in columns)
    _want(record, "columns", named and len(set(columns or ())) == len(columns or ()), "different names")
    _want(record, "target", record.get("target") in (columns or ()), "one of the columns")
    wanted = f"float32 (rows, {len(columns or ())})"
    good = isinstance(values, np.ndarray) and values.dtype == np.float32 and values.ndim == 2
    _want(record, "values", good and values is not None and values.shape[1] == len(columns or ()), wanted)
    rows = 0 if values is None else len(values)
    for name, kind in (("dates", "M"), ("split_factor", "f")):
        array = record.get(name)
        good = isinstance(array, np.ndarray) and array.dtype.kind == kind and array.shape == (rows,)
        _want(record, name, good, f"one {'date' if kind == 'M' else 'number'} a row")
    first = record.get("first_target")
    _want(record, "first_target", type(first) is int and 0 <= first <= rows, f"a row from 0 to {rows}")


def _want(record: Record, name: str, good: bool, wanted: str) -> None:
    if not good:
        raise ValueError(f"field '{name}' is {'not ' + wanted if name in record else 'missing'}")


def _plain(name: str, value: Any) -> Any:
    """Return a scalar or a tuple of scalars as Python has them."""
    if isinstance(value, (list, tuple)):
        return tuple(_scalar(name, item) for item in value)
    return _scalar(name, value)


def _scalar(name: str, value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    known = value is None or isinstance(value, (str, bool, float)) or (isinstance(value, int) and abs(value) < 2**63)
    if not known or (isinstance(value, float) and not math.isfinite(value)):
        raise ValueError(f"field '{name}' holds {value!r:.60}, which has no place in a record")
    return value


def _buffer(value: dict[str, Any]) -> tuple[int, np.dtype[Any] | None, tuple[int, ...]]:
    """Return size in bytes, type and shape of a buffer; the type of bytes is None."""
    if list(value) == ["bytes"] and _is_size(value["bytes"]):
        return value["bytes"], None, ()
    if list(value) == ["array", "shape"] and isinstance(value["array"], str) and isinstance(value["shape"], list):
        shape = tuple(value["shape"])
        if _DTYPE.fullmatch(value["array"]) and len(shape) <= _MAX_DIMENSIONS and all(map(_is_size, shape)):
            dtype = np.dtype(value["array"])
            size = math.prod(shape) * dtype.itemsize
            if _is_size(size):
                return size, dtype, shape
    raise ValueError("a buffer is neither bytes nor an array of a known type")


def _is_size(value: Any) -> bool:
    return type(value) is int and 0 <= value <= MAX_RECORD_BYTES
