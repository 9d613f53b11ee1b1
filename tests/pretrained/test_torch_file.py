"""PyTorch files without PyTorch: what torch wrote is read, what could run or reach outside is refused."""

from __future__ import annotations

import builtins
import io
import os
import pickle
import random
import struct
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.errors import ModelFileError
from zoo.pretrained.torch_file import MAX_INSTRUCTIONS, read_state_dict

FILES = Path(__file__).resolve().parent.parent / "fixtures" / "torch_files"
FORMS = ("archive", "legacy")
HEAD = b"".join(
    pickle.dumps(value, 2)
    for value in (0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True, "type_sizes": {}})
)
PROTOCOL, EMPTY_DICT, STOP = b"\x80\x02", b"}", b"."
ORDERED_DICT = b"ccollections\nOrderedDict\n)R"


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def number(value: int) -> bytes:
    content = value.to_bytes(16, "little", signed=True)
    return b"\x8a" + bytes([len(content)]) + content


def storage(key: str = "0", count: int = 6, kind: str = "FloatStorage", more: bytes = b"") -> bytes:
    """The instructions for a storage, as torch writes them."""
    kinds = b"ctorch\n" + kind.encode() + b"\n"
    return b"(" + text("storage") + kinds + text(key) + text("cpu") + number(count) + more + b"tQ"


def sides(*values: int) -> bytes:
    return b"(" + b"".join(map(number, values)) + b"t"


def tensor(offset: int, shape: bytes, strides: bytes, of: bytes | None = None) -> bytes:
    """The instructions for a tensor, as torch writes them."""
    arguments = (of or storage()) + number(offset) + shape + strides + b"\x89" + ORDERED_DICT
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + arguments + b"tR"


def state(value: bytes, key: bytes | None = None) -> bytes:
    """The pickle of a dictionary with one item."""
    return PROTOCOL + EMPTY_DICT + (key or text("weight")) + value + b"s" + STOP


def legacy(description: bytes, keys: Any = ("0",), data: bytes | None = None, head: bytes = HEAD) -> bytes:
    numbers = struct.pack("<q6f", 6, *range(6)) if data is None else data
    return head + description + (keys if isinstance(keys, bytes) else pickle.dumps(list(keys), 2)) + numbers


def archive(description: bytes, *, compression: int = zipfile.ZIP_STORED, **entries: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as file:
        file.writestr("a/data.pkl", description)
        file.writestr("a/data/0", struct.pack("<6f", *range(6)))
        for name, content in entries.items():
            file.writestr(f"a/{name}", content)
    return stream.getvalue()


def refusal(content: bytes) -> str:
    with pytest.raises(ModelFileError) as caught:
        read_state_dict(content, "'w.pth'")
    message = str(caught.value)
    assert message.startswith("The weights 'w.pth' ") and message.isprintable() and len(message) < 500
    return message


@pytest.mark.parametrize("form", FORMS)
def test_what_torch_wrote_is_read(form: str) -> None:
    found = read_state_dict((FILES / f"{form}.pth").read_bytes(), form)
    with np.load(FILES / "expected.npz") as expected:
        assert list(found) == expected.files
        for name, array in found.items():
            np.testing.assert_array_equal(array, expected[name], strict=True)
            assert not array.flags.writeable


def test_the_forms_made_here_are_read() -> None:
    """The hostile files below differ from these by one thing only."""
    wanted = [[1.0, 3.0, 5.0], [0.0, 2.0, 4.0]]
    description = state(tensor(0, sides(3, 2), sides(2, 1)))
    for content in (legacy(description), archive(description), archive(description, byteorder=b"little")):
        assert read_state_dict(content, "x")["weight"].T.tolist() == wanted[::-1]


class Call:
    """Unpickles to the result of a call."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_call_is_refused_and_does_not_run(protocol: int, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    calls = [
        Call(os.system, f"touch {mark}"),
        {"weight": Call(builtins.eval, f"open({str(mark)!r}, 'w')")},
        {"weight": [(1, {"deep": Call(builtins.open, str(mark), "w")})]},
        Call(getattr, Call(__import__, "pathlib"), "Path"),
    ]
    for call in calls:
        payload = pickle.dumps(call, protocol)
        places = [legacy(payload), legacy(b"", head=payload), archive(payload)]
        places.append(legacy(state(tensor(0, sides(), sides())), payload))
        for content in places:
            refusal(content)
            assert not mark.exists()
        pickle.loads(payload)  # noqa: S301 - what anything else would have done
        assert mark.exists() or call is calls[-1]
        mark.unlink(missing_ok=True)


@pytest.mark.parametrize(
    "instructions",
    [
        b"(S'touch mark'\nios\nsystem\n.",  # INST
        b"(cos\nsystem\nS'touch mark'\no.",  # OBJ
        b"cos\nsystem\nX\x00\x00\x00\x00\x85\x81.",  # NEWOBJ
        b"\x82\x01.",  # EXT1
        b"cbuiltins\neval\n0}.",  # named, and thrown away
        b"ctorch.storage\n_load_from_bytes\n.",  # calls torch.load
        b"ctorch\nload\n.",
        b"cnumpy\nload\n.",
        b"ccollections\nOrderedDict\n(](X\x01\x00\x00\x00ak\x00etR.",  # OrderedDict with arguments
        b"\x8c\x02os\x8c\x06system\x93.",  # STACK_GLOBAL
        b"ctorch._utils\n_rebuild_parameter\ncollections\nOrderedDict\n)R.",
        b"}}\x8c\x01ab.",
    ],
)
def test_every_other_instruction_and_name_is_refused(instructions: bytes) -> None:
    for content in (legacy(PROTOCOL + instructions), archive(instructions)):
        refusal(content)


def test_what_is_asked_for_is_said() -> None:
    assert "asks for 'posix system', which could run code" in refusal(legacy(pickle.dumps(Call(os.system, "true"), 2)))
    assert "asks for '__builtin__ eval'" in refusal(archive(pickle.dumps(eval, 2)))


@pytest.mark.parametrize(
    ("offset", "shape", "strides"),
    [
        (1, (3, 2), (2, 1)),
        (6, (), ()),
        (7, (1,), (1,)),
        (0, (3, 2), (3, 1)),
        (0, (7,), (1,)),
        (0, (2, 2), (1, 2**40)),
        (0, (100, 100), (0, 0)),
        (5, (2,), (-1,)),
        (-1, (2,), (1,)),
        (0, (-2, -3), (1, 1)),
        (0, (2, 3), (1,)),
        (0, (2**62, 2**62), (1, 1)),
        (2**61, (1,), (2**61,)),
        (0, (1,) * 33, (1,) * 33),
        (0, (0, 2**61), (1, 1)),
    ],
)
def test_numbers_outside_of_the_storage(offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> None:
    description = state(tensor(offset, sides(*shape), sides(*strides)))
    refusal(legacy(description))
    refusal(archive(description))


@pytest.mark.parametrize(
    "of",
    [
        storage(count=7),
        storage(count=-1),
        storage(count=2**61),
        storage("1"),
        storage("../../weights"),
        storage(kind="QInt8Storage"),
        storage(kind="load"),
        storage(more=sides(1, 2, 3)),
        storage(more=number(1) + number(2)),
        text("a storage"),
        number(3),
    ],
)
def test_storages_that_are_not_there(of: bytes) -> None:
    description = state(tensor(0, sides(2), sides(1), of))
    refusal(legacy(description))
    refusal(archive(description))


@pytest.mark.parametrize("count", [-1, 5, 7, 2**40, 2**63 - 1, -(2**63)])
def test_a_wrong_count_before_the_numbers(count: int) -> None:
    description = state(tensor(0, sides(2), sides(1)))
    assert "does not hold 6 numbers" in refusal(legacy(description, data=struct.pack("<q6f", count, *range(6))))


def test_one_storage_described_twice() -> None:
    pair = (
        PROTOCOL
        + EMPTY_DICT
        + b"".join(
            text(name) + tensor(0, sides(2), sides(1), storage(kind=kind)) + b"s"
            for name, kind in (("a", "FloatStorage"), ("b", "IntStorage"))
        )
    )
    assert "twice" in refusal(legacy(pair + STOP))


@pytest.mark.parametrize(
    "value", [number(1), b"}X\x01\x00\x00\x00aNs", b"N", b"]", storage(), tensor(0, sides(2), sides(1)) + b"\x85"]
)
def test_a_state_dict_is_flat_and_holds_tensors(value: bytes) -> None:
    keys = ("0",) if b"storage" in value else ()
    assert "state dict" in refusal(legacy(state(value), keys, None if keys else b""))
    assert "state dict" in refusal(archive(PROTOCOL + value + STOP))


@pytest.mark.parametrize("key", [number(1), b")", b"N", tensor(0, sides(2), sides(1))])
def test_keys_are_text(key: bytes) -> None:
    assert " as a key" in refusal(legacy(state(tensor(0, sides(2), sides(1)), key)))


def test_small_files_that_would_take_for_ever() -> None:
    """A tuple of one tuple twice, of one tuple twice, ...: to hash or compare it takes 2^200 steps elsewhere."""
    bomb = b")q\x00" + b"".join(b"h" + bytes([n]) + b"h" + bytes([n]) + b"\x86q" + bytes([n + 1]) for n in range(200))
    deep = b")" + b"\x85" * 20_000
    good = tensor(0, sides(2), sides(1))
    began = time.monotonic()
    for nest in (bomb, deep):
        for content in (
            state(nest),
            state(good, nest),
            state(tensor(0, nest, nest)),
            state(tensor(0, sides(2), sides(1), nest + b"Q")),
            PROTOCOL + nest + STOP,
        ):
            refusal(legacy(content))
            refusal(archive(content))
        refusal(legacy(state(good), PROTOCOL + b"](" + nest + b"e" + STOP))
    assert "too long" in refusal(archive(PROTOCOL + b"N" * (MAX_INSTRUCTIONS + 1)))
    assert time.monotonic() - began < 30


def test_archives_as_torch_never_writes_them() -> None:
    description = state(tensor(0, sides(2), sides(1)))
    assert "compressed" in refusal(archive(description, compression=zipfile.ZIP_DEFLATED))
    assert "little-endian" in refusal(archive(description, byteorder=b"big"))
    stream = io.BytesIO(archive(description))
    with zipfile.ZipFile(stream, "a") as file:
        file.writestr("b/data.pkl", description)
    assert "one data.pkl" in refusal(stream.getvalue())
    entry = b"a/data/0"
    content = bytearray(archive(description))
    place = content.rindex(entry) - 46 + 20  # both sizes in the table of contents
    content[place : place + 8] = struct.pack("<2I", 2**31, 2**31)
    refusal(bytes(content))


def test_other_files() -> None:
    for content in (b"", b"PK\x03\x04", b"\x80\x02", b"<html>", bytes(1000), HEAD, HEAD[:40], pickle.dumps({}, 2)):
        refusal(content)
    assert "little-endian" in refusal(legacy(b"", head=HEAD.replace(b"\x88", b"\x89")))


@pytest.mark.parametrize("form", FORMS)
def test_every_truncation(form: str) -> None:
    whole = (FILES / f"{form}.pth").read_bytes()
    for length in range(0, len(whole), 7):
        refusal(whole[:length])


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(FORMS), st.integers(0, 2**32))
def test_damaged_bytes(form: str, seed: int) -> None:
    rng = random.Random(seed)
    content = bytearray((FILES / f"{form}.pth").read_bytes())
    for _ in range(rng.randint(1, 8)):
        content[rng.randrange(len(content))] = rng.randrange(256)
    try:
        found = read_state_dict(bytes(content), "'w.pth'")
    except ModelFileError as error:
        assert str(error).isprintable()
    else:
        assert all(isinstance(array, np.ndarray) and array.size <= len(content) for array in found.values())
