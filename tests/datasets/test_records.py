"""The bytes of a record: everything that may be in one comes back; nothing else is taken for one."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from zoo.datasets._records import MAX_HEADER_BYTES, decode_record, encode_record

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(1 - 2**63, 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    TEXT,
)
NUMBERS = st.one_of(
    arrays.boolean_dtypes(),
    arrays.integer_dtypes(endianness="="),
    arrays.unsigned_integer_dtypes(endianness="="),
    arrays.floating_dtypes(endianness="=", sizes=(16, 32, 64)),
    arrays.datetime64_dtypes(max_period="D", min_period="ns", endianness="="),
)
ARRAYS = NUMBERS.flatmap(lambda kind: arrays.arrays(kind, arrays.array_shapes(min_dims=0, min_side=0, max_side=4)))
VALUES = st.one_of(SCALARS, st.lists(SCALARS, max_size=4).map(tuple), st.binary(max_size=40), ARRAYS)
RECORDS = st.dictionaries(TEXT, VALUES, max_size=6)


def same(first: Any, second: Any) -> bool:
    if isinstance(first, np.ndarray):
        alike = isinstance(second, np.ndarray) and (first.dtype, first.shape) == (second.dtype, second.shape)
        return alike and first.tobytes() == second.tobytes()
    if isinstance(first, tuple):
        return isinstance(second, tuple) and len(first) == len(second) and all(map(same, first, second))
    return type(first) is type(second) and bool(first == second)


@settings(max_examples=300, deadline=None)
@given(RECORDS)
def test_a_record_comes_back(record: dict[str, Any]) -> None:
    data = encode_record(record)
    back = decode_record(data)
    assert list(back) == list(record) and all(same(record[name], back[name]) for name in record)
    assert encode_record(back) == data


@settings(max_examples=300, deadline=None)
@given(RECORDS, st.data())
def test_cut_longer_or_changed_bytes_are_refused_or_a_record(record: dict[str, Any], data: st.DataObject) -> None:
    good = encode_record(record)
    with pytest.raises(ValueError):
        decode_record(good[: data.draw(st.integers(0, len(good) - 1))])
    with pytest.raises(ValueError):
        decode_record(good + b"x")
    place = data.draw(st.integers(0, len(good) - 1))
    changed = good[:place] + bytes([data.draw(st.integers(0, 255))]) + good[place + 1 :]
    with contextlib.suppress(ValueError):
        decode_record(changed)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_refused_or_a_record(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        assert isinstance(decode_record(data), dict)


def framed(header: bytes, buffers: bytes = b"") -> bytes:
    return len(header).to_bytes(4, "little") + header + buffers


@pytest.mark.parametrize(
    "data",
    [
        framed(b'{"a":{"array":"|O8","shape":[1]}}', bytes(8)),
        framed(b'{"a":{"array":"<U4","shape":[1]}}', bytes(16)),
        framed(b'{"a":{"array":">f4","shape":[1]}}', bytes(4)),
        framed(b'{"a":{"array":"<f4,<f4","shape":[1]}}', bytes(8)),
        framed(b'{"a":{"array":"<f4","shape":[-1]}}', bytes(4)),
        framed(b'{"a":{"array":"<f4","shape":[4611686018427387904, 4]}}', bytes(16)),
        framed(b'{"a":{"array":"<f4","shape":[1, true]}}', bytes(4)),
        framed(b'{"a":{"array":"<f4","shape":[1],"more":1}}', bytes(4)),
        framed(b'{"a":{"array":"<f4","shape":[1,1,1,1,1,1,1,1,1]}}', bytes(4)),
        framed(b'{"a":{"bytes":5}}', bytes(4)),
        framed(b'{"a":{"bytes":-1}}'),
        framed(b'{"a":{}}'),
        framed(b'{"a":[[1]]}'),
        framed(b'{"a":1,"a":2}'),
        framed(b'{"a":NaN}'),
        framed(b"[" * 100_000),
        framed(b"[]"),
        (MAX_HEADER_BYTES + 1).to_bytes(4, "little") + bytes(MAX_HEADER_BYTES + 1),
    ],
)
def test_hostile_bytes(data: bytes) -> None:
    with pytest.raises(ValueError):
        decode_record(data)


@pytest.mark.parametrize(
    "value",
    [
        {"a": 1},
        {1, 2},
        object(),
        2**63,
        float("nan"),
        ((1,),),
        "\udfff",
        np.array(["a"]),
        np.array([object()]),
        np.zeros(1, "timedelta64[s]"),
    ],
)
def test_values_that_have_no_place(value: Any) -> None:
    with pytest.raises(ValueError):
        encode_record({"id": "a", "x": value})


def test_big_endian_and_strided_arrays_are_put_in_order() -> None:
    values = np.arange(12, dtype=">f8").reshape(3, 4)[:, ::2]
    back = decode_record(encode_record({"x": values, "n": np.float32(0.5), "m": np.int64(3), "l": ["a"]}))
    np.testing.assert_array_equal(back["x"], values)
    assert back["x"].dtype.str == "<f8" and back["n"] == 0.5 and back["m"] == 3 and back["l"] == ("a",)
    with pytest.raises(ValueError, match="read-only"):
        back["x"][0, 0] = 1
