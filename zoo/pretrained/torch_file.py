"""Tensors out of PyTorch files, without PyTorch and without unpickling.

A `.pth` file describes its tensors in a pickle, a program for a machine that may call anything. Here that program is
not run. Its instructions are read one by one, and those that a state dict needs build plain values: text, whole
numbers, lists, dictionaries with text as keys, and descriptions of tensors. Every other instruction, and every name
but those of `OrderedDict`, of the two functions that rebuild tensors and of the storages, is refused.

Both forms that `torch.save` has written are read:

- the ZIP archive (PyTorch 1.6 and later): `NAME/data.pkl`, and the numbers in `NAME/data/KEY`, not compressed;
- the older sequence of pickles: magic number, version, system, state dict, list of keys, and then for every key the
  count of its numbers, int64, and the numbers.
"""

from __future__ import annotations

import io
import math
import pickletools
import struct
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from zoo.errors import ModelFileError, printable

MAX_BYTES = 1 << 30
"""Larger files are refused before they are read."""

MAX_TENSORS = 20_000
MAX_INSTRUCTIONS = 1_000_000
MAX_DIMENSIONS = 32

_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_VERSION = 1001
_BRAIN_FLOAT = "BFloat16Storage"
_DTYPES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    _BRAIN_FLOAT: "<u2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "|i1",
    "ByteStorage": "|u1",
    "BoolStorage": "|b1",
}
_ORDERED_DICT = "collections OrderedDict"
_TENSOR = "torch._utils _rebuild_tensor_v2"
_PARAMETER = "torch._utils _rebuild_parameter"
_NAMES = {_ORDERED_DICT, _TENSOR, _PARAMETER, *(f"torch {name}" for name in _DTYPES)}


def read_state_dict(content: bytes, name: str) -> dict[str, np.ndarray]:
    """Return the tensors of a PyTorch file by name.

    Args:
        content: The file.
        name: What messages call it.

    Returns:
        Read-only arrays, views of `content` where it is not an archive; bfloat16 becomes float32.

    Raises:
        ModelFileError: If it is no PyTorch file with a flat state dict, is damaged, too large, asks for anything to be
            called, or names numbers outside of its storages.
    """
    if len(content) > MAX_BYTES:
        raise ModelFileError(f"The weights {name} have over {MAX_BYTES >> 20} MiB, which is not read.")
    try:
        values, storages = (_read_archive if content.startswith(b"PK") else _read_legacy)(content)
        return _tensors(values, storages, len(content))
    except _Refused as error:
        raise ModelFileError(f"The weights {name} cannot be used: {error}.") from error
    except Exception as error:  # the parsers raise whatever a damaged byte makes them run into
        text = f"{type(error).__name__}: {str(error)[:200]}"
        raise ModelFileError(f"The weights {name} are damaged or no PyTorch file ({text}); get them again.") from error


class _Refused(Exception):
    """Why a file is not read."""


class _Mark:
    """Where on the stack the items of a list, tuple or dictionary begin."""


@dataclass(frozen=True)
class _Name:
    """A name of `_NAMES`: not what it stands for."""

    text: str


@dataclass(frozen=True)
class _Storage:
    kind: str
    key: str
    count: int


@dataclass(frozen=True)
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _read_archive(content: bytes) -> tuple[Any, dict[str, memoryview]]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = {entry.filename: entry for entry in archive.infolist()}
        roots = [entry.removesuffix("data.pkl") for entry in entries if entry.count("/") == 1 and "data.pkl" in entry]
        if len(roots) != 1:
            raise _Refused("it is an archive without one data.pkl")
        if any(entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1 for entry in entries.values()):
            raise _Refused("its archive is compressed or encrypted, which PyTorch's never is")
        root = roots[0]
        if f"{root}byteorder" in entries and archive.read(f"{root}byteorder") != b"little":
            raise _Refused("its numbers are not little-endian")
        machine = _Machine(io.BytesIO(archive.read(f"{root}data.pkl")))
        values = machine.run()
        needed = {key: f"{root}data/{key}" for key in machine.storages}
        if sum(entries[entry].file_size for entry in needed.values()) > len(content):
            raise _Refused("its entries overlap")
        return values, {key: memoryview(archive.read(entry)) for key, entry in needed.items()}


def _read_legacy(content: bytes) -> tuple[Any, dict[str, memoryview]]:
    file = io.BytesIO(content)
    if _Machine(file).run() != _MAGIC or _Machine(file).run() != _LEGACY_VERSION:
        raise _Refused("it does not begin as PyTorch's files do")
    system = _Machine(file).run()
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise _Refused("its numbers are not little-endian")
    machine = _Machine(file)
    values = machine.run()
    keys = _Machine(file).run()
    if not isinstance(keys, list) or not all(type(key) is str for key in keys) or {*keys} != {*machine.storages}:
        raise _Refused("its list of storages is not that of its tensors")
    storages = {}
    start = file.tell()
    for key in keys:
        storage = machine.storages[key]
        (count,) = struct.unpack_from("<q", content, start)
        size = count * np.dtype(_DTYPES[storage.kind]).itemsize
        if count != storage.count or size > len(content) - start - 8:
            raise _Refused(f"the storage {printable(key)[:40]} does not hold {storage.count} numbers")
        storages[key] = memoryview(content)[start + 8 : start + 8 + size]
        start += 8 + size
    return values, storages


def _tensors(values: Any, storages: dict[str, memoryview], size: int) -> dict[str, np.ndarray]:
    if not isinstance(values, dict) or not all(isinstance(value, _Tensor) for value in values.values()):
        raise _Refused("it holds something else than one dictionary of tensors (a state dict)")
    if len(values) > MAX_TENSORS or sum(math.prod(value.shape) for value in values.values()) > size:
        raise _Refused("it names more numbers than it holds")
    return {name: _array(name, value, storages[value.storage.key]) for name, value in values.items()}


def _array(name: str, tensor: _Tensor, data: memoryview) -> np.ndarray:
    dtype = np.dtype(_DTYPES[tensor.storage.kind])
    count = tensor.storage.count
    last = tensor.offset + sum((side - 1) * step for side, step in zip(tensor.shape, tensor.strides, strict=True))
    empty = 0 in tensor.shape
    if len(data) != count * dtype.itemsize or math.prod(tensor.shape) > count or (last >= count and not empty):
        raise _Refused(f"the tensor {printable(name)[:80]} reaches beyond its storage")
    steps = tuple(step * dtype.itemsize for step in tensor.strides)
    buffer = () if empty else (data, tensor.offset * dtype.itemsize, steps)
    array = np.ndarray(tensor.shape, dtype, *buffer)
    if tensor.storage.kind == _BRAIN_FLOAT:
        array = (array.astype(np.uint32) << 16).view(np.float32)
    array.flags.writeable = False
    return array


@dataclass
class _Machine:
    """Reads the instructions of one pickle; `run` gives the value it describes.

    Every instruction costs bounded time and memory: keys are text, so that nothing nested is ever hashed or compared.
    """

    file: io.BytesIO
    storages: dict[str, _Storage] = field(default_factory=dict)
    stack: list[Any] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)

    def run(self) -> Any:
        for number, (opcode, argument, _) in enumerate(pickletools.genops(self.file)):
            if number > MAX_INSTRUCTIONS:
                raise _Refused("its description of the tensors is too long")
            if opcode.name == "STOP":
                (value,) = self.stack
                return value
            if opcode.name in _CONSTANTS:
                self.stack.append(_CONSTANTS[opcode.name])
            elif opcode.name in _PLAIN:
                self.stack.append(argument)
            elif opcode.name in _INSTRUCTIONS:
                _INSTRUCTIONS[opcode.name](self, argument)
            else:
                raise _Refused(f"it has the pickle instruction {opcode.name}, which no state dict needs")
        raise _Refused("it ends early")

    def pop(self, kind: type) -> Any:
        value = self.stack.pop()
        if type(value) is not kind:
            raise _Refused(f"it has {type(value).__name__} in a place of {kind.__name__}")
        return value

    def items(self) -> list[Any]:
        """Take what lies above the last mark, and the mark."""
        found = []
        while not isinstance(value := self.stack.pop(), _Mark):
            found.append(value)
        return found[::-1]

    def take(self, count: int) -> tuple[Any, ...]:
        taken = tuple(self.stack.pop() for _ in range(count))[::-1]
        if any(isinstance(value, _Mark) for value in taken):
            raise _Refused("its description of the tensors is out of order")
        return taken

    def name(self, text: Any) -> None:
        if text not in _NAMES:
            raise _Refused(f"it asks for '{printable(str(text))[:80]}', which could run code; do not open it elsewhere")
        self.stack.append(_Name(text))

    def append(self, values: Iterable[Any]) -> None:
        found = self.pop(list)
        found.extend(values)
        self.stack.append(found)

    def update(self, values: list[Any] | tuple[Any, ...]) -> None:
        found = self.pop(dict)
        for key, value in zip(values[::2], values[1::2], strict=True):
            if type(key) is not str:
                raise _Refused(f"it has {type(key).__name__} as a key")
            found[key] = value
        self.stack.append(found)

    def call(self) -> None:
        """Describe what a call of one of the three names would make."""
        arguments, name = self.pop(tuple), self.pop(_Name)
        if name.text == _ORDERED_DICT and not arguments:
            self.stack.append({})
        elif name.text == _TENSOR and len(arguments) in (6, 7):
            self.stack.append(_tensor(*arguments[:4]))
        elif name.text == _PARAMETER and len(arguments) == 3 and isinstance(arguments[0], _Tensor):
            self.stack.append(arguments[0])
        else:
            raise _Refused(f"it calls {name.text} in a way no state dict does")

    def storage(self) -> None:
        """Describe the storage that a persistent id names: kind, key, place, count (and, once, a view)."""
        identity = self.pop(tuple)
        if len(identity) not in (5, 6) or identity[0] != "storage" or (len(identity) == 6 and identity[5] is not None):
            raise _Refused("it names a storage in a way that is not read")
        _, kind, key, _, count = identity[:5]
        if type(kind) is not _Name or not kind.text.startswith("torch ") or type(key) is not str or not _whole(count):
            raise _Refused("it describes a storage wrongly")
        found = _Storage(kind.text.removeprefix("torch "), key, count)
        if self.storages.setdefault(key, found) != found:
            raise _Refused(f"it describes the storage {printable(key)[:40]} twice")
        self.stack.append(found)


def _whole(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 62


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any) -> _Tensor:
    sides = (shape, strides)
    if (
        type(storage) is not _Storage
        or not _whole(offset)
        or not all(type(side) is tuple and len(side) <= MAX_DIMENSIONS and all(map(_whole, side)) for side in sides)
        or len(shape) != len(strides)
    ):
        raise _Refused("it describes a tensor wrongly")
    return _Tensor(storage, offset, shape, strides)


def _put(machine: _Machine, place: int) -> None:
    (machine.memo[place],) = machine.take(1)
    machine.stack.append(machine.memo[place])


_CONSTANTS = {"NEWFALSE": False, "NEWTRUE": True, "NONE": None}
_PLAIN = {"BINFLOAT", "BININT", "BININT1", "BININT2", "BINUNICODE", "LONG1", "SHORT_BINUNICODE"}
"""Instructions that put their argument on the stack."""

_INSTRUCTIONS: dict[str, Callable[[_Machine, Any], Any]] = {
    "APPEND": lambda machine, _: machine.append(machine.take(1)),
    "APPENDS": lambda machine, _: machine.append(machine.items()),
    "BINGET": lambda machine, place: machine.stack.append(machine.memo[place]),
    "BINPERSID": lambda machine, _: machine.storage(),
    "BINPUT": _put,
    "BUILD": lambda machine, _: machine.take(1),  # attributes of an OrderedDict: versions of PyTorch's modules
    "EMPTY_DICT": lambda machine, _: machine.stack.append({}),
    "EMPTY_LIST": lambda machine, _: machine.stack.append([]),
    "EMPTY_TUPLE": lambda machine, _: machine.stack.append(()),
    "FRAME": lambda machine, _: None,
    "GLOBAL": lambda machine, text: machine.name(text),
    "LONG_BINGET": lambda machine, place: machine.stack.append(machine.memo[place]),
    "LONG_BINPUT": _put,
    "MARK": lambda machine, _: machine.stack.append(_Mark()),
    "MEMOIZE": lambda machine, _: _put(machine, len(machine.memo)),
    "PROTO": lambda machine, _: None,
    "REDUCE": lambda machine, _: machine.call(),
    "SETITEM": lambda machine, _: machine.update(machine.take(2)),
    "SETITEMS": lambda machine, _: machine.update(machine.items()),
    "STACK_GLOBAL": lambda machine, _: machine.name(" ".join(machine.take(2))),
    "TUPLE": lambda machine, _: machine.stack.append(tuple(machine.items())),
    "TUPLE1": lambda machine, _: machine.stack.append(machine.take(1)),
    "TUPLE2": lambda machine, _: machine.stack.append(machine.take(2)),
    "TUPLE3": lambda machine, _: machine.stack.append(machine.take(3)),
}
