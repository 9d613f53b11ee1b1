"""The bundle: a `.tflite` file that carries everything its task needs (see docs/bundle.md).

    +------------+-------------------+-----------------+-------------------+---------------+
    | flatbuffer | manifest.json     | other entries   | central directory | end record    |
    | "TFL3"     | stored ZIP entry  | stored, in turn |                   | last 22 bytes |
    +------------+-------------------+-----------------+-------------------+---------------+

The ZIP part is read by hand and strictly: one layout, no compression, no gaps, no comments. What is accepted here is
what any other reader sees too, and nothing is trusted before its SHA-256 has been compared.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo import __version__
from zoo.errors import ModelFileError
from zoo.files import strict_json, to_json, write_bytes

Signatures = dict[str, dict[str, dict[str, dict[str, Any]]]]

FORMAT = "attention-zoo bundle"
FORMAT_VERSION = 2
MANIFEST = "manifest.json"
SIGNATURE = "serving_default"
QUANTIZATIONS = ("float32", "float16", "dynamic", "int8")

DTYPES = ("float32", "int32", "uint8")
"""What every client can hold."""

MAX_FILE_BYTES = 2**31 - 1
"""A flatbuffer cannot be larger, and ZIP offsets are 32 bits."""
MAX_ENTRIES = 1024
MAX_ENTRY_BYTES = 256 * 2**20
MAX_JSON_BYTES = 4 * 2**20
MAX_RANK = 8

_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_LOCAL_MAGIC, _CENTRAL_MAGIC, _END_MAGIC = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
_ZIP_VERSION = 20
_DATE_1980 = 0x21  # 1980-01-01, so that equal content gives an equal file
_UNIX = 3 << 8
_MODE = 0o100644 << 16
_WORD = re.compile(r"[A-Za-z0-9_.-]{1,100}")
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")


@dataclass(frozen=True)
class Bundle:
    """A bundle whose every byte of content has been checked.

    Attributes:
        flatbuffer: The model itself.
        manifest: `manifest.json`: format version, name, task, quantisation, lengths and digests.
        entries: Name -> content of every other entry.
    """

    flatbuffer: bytes
    manifest: dict[str, Any]
    entries: dict[str, bytes]

    @property
    def name(self) -> str:
        """Name of the architecture."""
        return str(self.manifest["name"])

    @property
    def task(self) -> str:
        """Name of the task."""
        return str(self.manifest["task"])

    @property
    def quantize(self) -> str:
        """How weights and activations are stored: float32, float16, dynamic or int8."""
        return str(self.manifest["quantize"])

    @property
    def signatures(self) -> Signatures:
        """Name -> `{"inputs": {name: {"shape", "dtype"}}, "outputs": ...}`; empty in a file of format version 1."""
        return dict(self.manifest.get("signatures", {}))

    def json(self, name: str) -> Any:
        """Return the content of a JSON entry.

        Raises:
            ModelFileError: If there is no such entry or it is not JSON.
        """
        if name not in self.entries:
            raise ModelFileError(f"The model file has no entry '{name}'; export it again.")
        content = self.entries[name]
        if len(content) > MAX_JSON_BYTES:
            raise ModelFileError(f"The entry '{name}' of the model file has {len(content)} bytes, over the limit.")
        return _json(content, name)

    def folder(self, name: str) -> dict[str, bytes]:
        """Return the entries under `name/`, without that prefix."""
        return {
            key.removeprefix(f"{name}/"): value for key, value in self.entries.items() if key.startswith(f"{name}/")
        }


@dataclass(frozen=True)
class _Record:
    """One entry of the central directory."""

    name: str
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    offset: int


def pack_bundle(
    flatbuffer: bytes,
    entries: Mapping[str, bytes],
    *,
    name: str,
    task: str,
    quantize: str,
    signatures: Signatures,
) -> bytes:
    """Return the bytes of a bundle; equal arguments give equal bytes.

    Args:
        flatbuffer: A TFLite model.
        entries: Name -> content; names are relative, with `/` between folders.
        name: Name of the architecture.
        task: Name of the task.
        quantize: How the weights are stored.
        signatures: Every signature of the model (see `zoo.export.verify.check_interface`).

    Raises:
        ModelFileError: If `flatbuffer` is not a TFLite model, or a name or size is not allowed.
    """
    if flatbuffer[4:8] != b"TFL3":
        raise ModelFileError("Cannot make a bundle: the model is not a TFLite flatbuffer.")
    manifest = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "made_by": f"attention-zoo {__version__}",
        "name": name,
        "task": task,
        "quantize": quantize,
        "signatures": signatures,
        "flatbuffer": _digest(flatbuffer),
        "entries": {key: _digest(content) for key, content in entries.items()},
    }
    for key, content in entries.items():
        _check_name(key, "the bundle")
        if len(content) > MAX_ENTRY_BYTES:
            raise ModelFileError(f"Cannot make a bundle: entry '{key}' has {len(content)} bytes, over the limit.")
    data = append_archive(flatbuffer, {MANIFEST: to_json(manifest).encode(), **entries})
    if len(data) > MAX_FILE_BYTES or len(entries) >= MAX_ENTRIES:
        raise ModelFileError("Cannot make a bundle: the file would be over 2 GiB or have too many entries.")
    return data


def append_archive(flatbuffer: bytes, contents: Mapping[str, bytes]) -> bytes:
    """Return a flatbuffer with a ZIP archive of some contents behind it; nothing is checked."""
    parts, directory, offset = [flatbuffer], [], len(flatbuffer)
    for key, content in contents.items():
        title, crc, size = key.encode("ascii"), zlib.crc32(content), len(content)
        parts += [
            _LOCAL.pack(_LOCAL_MAGIC, _ZIP_VERSION, 0, 0, 0, _DATE_1980, crc, size, size, len(title), 0),
            title,
            content,
        ]
        directory.append(
            _CENTRAL.pack(
                _CENTRAL_MAGIC, _ZIP_VERSION | _UNIX, _ZIP_VERSION, 0, 0, 0, _DATE_1980, crc, size, size, len(title),
                0, 0, 0, 0, _MODE, offset,
            )
            + title
        )  # fmt: skip
        offset += _LOCAL.size + len(title) + size
    length = sum(map(len, directory))
    end = _END.pack(_END_MAGIC, 0, 0, len(directory), len(directory), length, offset, 0)
    return b"".join([*parts, *directory, end])


def write_bundle(
    path: str | os.PathLike[str],
    flatbuffer: bytes,
    entries: Mapping[str, bytes],
    *,
    name: str,
    task: str,
    quantize: str,
    signatures: Signatures,
) -> None:
    """Write a bundle atomically (see `pack_bundle`).

    Raises:
        ZooError: If `path` cannot be written.
    """
    write_bytes(path, pack_bundle(flatbuffer, entries, name=name, task=task, quantize=quantize, signatures=signatures))


def read_bundle(path: str | os.PathLike[str]) -> Bundle:
    """Read a bundle and check all of it: layout, names, sizes, digests.

    Raises:
        ModelFileError: If it cannot be read, is not ours, is damaged, or was made by a newer version.
    """
    where = os.fspath(path)
    try:
        about = Path(path).stat()
        if not stat.S_ISREG(about.st_mode):  # a pipe or device has no end
            kind = "a folder" if stat.S_ISDIR(about.st_mode) else "not a regular file"
            raise ModelFileError(f"'{where}' is {kind}, not a .tflite file; give the file.")
        if about.st_size > MAX_FILE_BYTES:
            raise ModelFileError(f"'{where}' has {about.st_size} bytes; a .tflite file has at most {MAX_FILE_BYTES}.")
        data = Path(path).read_bytes()
    except (OSError, ValueError) as error:
        raise ModelFileError(f"Cannot read '{where}': {getattr(error, 'strerror', None) or error}.") from error
    return unpack_bundle(data, where)


def unpack_bundle(data: bytes, where: str) -> Bundle:
    """Return the bundle in `data`; `where` names it in messages (see `read_bundle`)."""
    if data[4:8] != b"TFL3":
        raise ModelFileError(f"'{where}' is not a .tflite file; give a file made by 'zoo export'.")
    records, directory = _directory(data, where)
    manifest = _manifest(data, records, where)
    _check_layout(data, records, directory, _size(manifest, "flatbuffer", where), where)
    flatbuffer = data[: records[0].offset]
    _check_digest(flatbuffer, manifest["flatbuffer"], "the model", where)
    declared = manifest["entries"]
    entries = {record.name: _content(data, record) for record in records if record.name != MANIFEST}
    if set(declared) != set(entries):
        raise _damaged(where, "its entries are not those of its manifest")
    for name, content in entries.items():
        _size(declared, name, where)
        _check_digest(content, declared[name], f"entry '{name}'", where)
    return Bundle(flatbuffer, manifest, entries)


def _directory(data: bytes, where: str) -> tuple[list[_Record], int]:
    """Return the central directory's records and its offset."""
    if len(data) < _END.size or data[-_END.size : -_END.size + 4] != _END_MAGIC:
        if _LOCAL_MAGIC in data and f"{MANIFEST}{{".encode() in data:
            raise _damaged(where, "it was cut short or has bytes added")
        raise ModelFileError(
            f"'{where}' is a .tflite file of another tool: it carries no bundle; give a file made by 'zoo export'."
        )
    _, disk, first_disk, here, count, length, offset, comment = _END.unpack(data[-_END.size :])
    if disk or first_disk or here != count or comment or offset + length + _END.size != len(data):
        raise _damaged(where, "its end record is inconsistent")
    if not 1 <= count <= MAX_ENTRIES:
        raise _damaged(where, f"it has {count} entries")
    records, position, stop = [], offset, offset + length
    for _ in range(count):
        if position + _CENTRAL.size > stop or data[position : position + 4] != _CENTRAL_MAGIC:
            raise _damaged(where, "its directory is inconsistent")
        fields = _CENTRAL.unpack_from(data, position)
        flags, method, crc, packed, size, title, extra, remark, first_disk = *fields[3:5], *fields[7:14]
        name = data[position + _CENTRAL.size : position + _CENTRAL.size + title]
        position += _CENTRAL.size + title + extra + remark
        if position > stop or first_disk:
            raise _damaged(where, "its directory is inconsistent")
        # Latin-1 never fails; the name is checked against the allowed characters later.
        records.append(_Record(name.decode("latin-1"), flags, method, crc, packed, size, fields[16]))
        if extra or remark:
            raise _damaged(where, f"entry {records[-1].name!r} carries extra fields")
    if position != stop:
        raise _damaged(where, "its directory is inconsistent")
    return records, offset


def _manifest(data: bytes, records: list[_Record], where: str) -> dict[str, Any]:
    """Return the manifest; everything but its version and types is still to be checked."""
    record = records[0]
    if record.name != MANIFEST:
        raise ModelFileError(
            f"'{where}' is a .tflite file of another tool: its first entry is not {MANIFEST}; "
            "give a file made by 'zoo export'."
        )
    if record.method or record.packed != record.size or record.size > MAX_JSON_BYTES:
        raise _damaged(where, f"{MANIFEST} is compressed or too large")
    start = record.offset + _LOCAL.size + len(MANIFEST)
    content = data[start : start + record.size]
    if len(content) != record.size or zlib.crc32(content) != record.crc:
        raise _damaged(where, f"{MANIFEST} does not match its checksum")
    manifest = _json(content, where)
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise ModelFileError(f"'{where}' is a .tflite file of another tool; give a file made by 'zoo export'.")
    version = manifest.get("format_version")
    if type(version) is not int or version < 1:
        raise _damaged(where, "its format_version is not a number")
    if version > FORMAT_VERSION:
        raise ModelFileError(
            f"'{where}' was made by a newer version (bundle format {version}, this version reads up to "
            f"{FORMAT_VERSION}); upgrade attention-zoo."
        )
    kinds = {"name": str, "task": str, "quantize": str, "flatbuffer": dict, "entries": dict}
    for key, kind in kinds.items():
        if not isinstance(manifest.get(key), kind):
            raise _damaged(where, f"its manifest has no '{key}'")
        if kind is str and not _WORD.fullmatch(manifest[key]):
            raise _damaged(where, f"its manifest's '{key}' is not a name")
    if version >= 2 and not _are_signatures(manifest.get("signatures")):
        raise _damaged(where, "its manifest does not describe the model's signatures")
    return manifest


def _are_signatures(value: Any) -> bool:
    """Whether `value` maps names to inputs and outputs, each with a shape and a dtype."""
    if not isinstance(value, dict) or SIGNATURE not in value:
        return False
    for item in value.values():
        if not isinstance(item, dict) or set(item) != {"inputs", "outputs"}:
            return False
        for side in item.values():
            if not isinstance(side, dict) or not all(map(_is_tensor, side.values())):
                return False
    return True


def _is_tensor(value: Any) -> bool:
    if not isinstance(value, dict) or value.get("dtype") not in DTYPES or not isinstance(value.get("shape"), list):
        return False
    return len(value["shape"]) <= MAX_RANK and all(type(size) is int and 0 < size < 2**31 for size in value["shape"])


def _check_layout(data: bytes, records: list[_Record], directory: int, start: int, where: str) -> None:
    """Check that the entries are stored, well named, and fill the file between model and directory without gaps."""
    seen: set[str] = set()
    for record in records:
        _check_name(record.name, where)
        if record.name in seen:
            raise _damaged(where, f"entry '{record.name}' occurs twice")
        seen.add(record.name)
        if record.method or record.flags:
            raise _damaged(where, f"entry '{record.name}' is compressed or encrypted")
        if record.size > MAX_ENTRY_BYTES or record.packed != record.size:
            raise _damaged(where, f"entry '{record.name}' declares {record.size} bytes")
        title = record.name.encode("ascii")
        head = _LOCAL.size + len(title)
        if record.offset != start or start + head + record.size > directory:
            raise _damaged(where, f"entry '{record.name}' does not lie where it should")
        magic, _, flags, method, _, _, crc, packed, size, named, extra = _LOCAL.unpack_from(data, start)
        if (magic, flags, method, crc, packed, size, named, extra) != (
            _LOCAL_MAGIC,
            0,
            0,
            record.crc,
            record.size,
            record.size,
            len(title),
            0,
        ) or data[start + _LOCAL.size : start + head] != title:
            raise _damaged(where, f"the header of entry '{record.name}' does not match the directory")
        start += head + record.size
    if start != directory:
        raise _damaged(where, "there are bytes between its entries")


def _content(data: bytes, record: _Record) -> bytes:
    start = record.offset + _LOCAL.size + len(record.name)
    return data[start : start + record.size]


def _check_name(name: str, where: str) -> None:
    if not _NAME.fullmatch(name) or len(name) > 255:
        raise _damaged(where, f"entry name {name[:80]!r} is not allowed")


def _size(table: dict[str, Any], key: str, where: str) -> int:
    """Return the declared length of `table[key]`."""
    item = table.get(key)
    length = item.get("length") if isinstance(item, dict) else None
    if type(length) is not int or not 0 <= length <= MAX_FILE_BYTES:
        raise _damaged(where, f"its manifest gives no length for '{key}'")
    return length


def _digest(content: bytes) -> dict[str, Any]:
    return {"length": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def _check_digest(content: bytes, declared: dict[str, Any], what: str, where: str) -> None:
    if _digest(content) != {key: declared.get(key) for key in ("length", "sha256")}:
        raise _damaged(where, f"{what} does not match its SHA-256")


def _json(content: bytes, where: str) -> Any:
    try:
        return strict_json(content)
    except ValueError as error:
        raise _damaged(where, f"it holds JSON that cannot be read ({error})") from error


def _damaged(where: str, why: str) -> ModelFileError:
    return ModelFileError(f"'{where}' is damaged or was tampered with: {why}; copy or export it again.")
