"""The bundle: layout, strict reading, one line for every bad file."""

from __future__ import annotations

import io
import json
import re
import resource
import shutil
import struct
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.errors import ModelFileError, ZooError
from zoo.export.bundle import FORMAT_VERSION, pack_bundle, read_bundle, unpack_bundle, write_bundle

FLATBUFFER = b"\x1c\x00\x00\x00TFL3" + bytes(range(256)) * 3 + b"odd"
ENTRIES = {
    "config.json": b'{"d_model": 8}',
    "preprocessor/preprocessor.json": b'{"kind": "text_classification"}',
    "preprocessor/vocab.txt": "[PAD]\n很好\ngood\n".encode(),
    "empty.bin": b"",
}
SIGNATURES = {
    "serving_default": {
        "inputs": {"tokens": {"shape": [1, 8], "dtype": "int32"}},
        "outputs": {"length": {"shape": [], "dtype": "int32"}},
    }
}
ABOUT: dict[str, Any] = {
    "name": "text_attn",
    "task": "text_classification",
    "quantize": "dynamic",
    "signatures": SIGNATURES,
}


def packed(**changes: bytes) -> bytes:
    return pack_bundle(FLATBUFFER, {**ENTRIES, **changes}, **ABOUT)


def refused(data: bytes) -> str:
    """Return the one line that says why `data` is refused."""
    with pytest.raises(ModelFileError) as caught:
        unpack_bundle(data, "model.tflite")
    message = str(caught.value)
    assert "\n" not in message
    assert "model.tflite" in message
    return message


def with_zip(archive: bytes) -> bytes:
    """Return the flatbuffer followed by a ZIP archive made elsewhere, with offsets from the start of the file."""
    stream = io.BytesIO(FLATBUFFER)
    with zipfile.ZipFile(io.BytesIO(archive)) as source, zipfile.ZipFile(stream, "a") as target:
        for item in source.infolist():
            target.writestr(item, source.read(item))
    return stream.getvalue()


def renamed(data: bytes, old: bytes, new: bytes) -> bytes:
    """Rename an entry in its header and in the directory, not in the manifest, which has a checksum."""
    cut = data.index(b"PK\x03\x04", len(FLATBUFFER) + 4)
    return data[:cut] + data[cut:].replace(old, new)


def test_round_trip() -> None:
    bundle = unpack_bundle(packed(), "model.tflite")
    assert bundle.flatbuffer == FLATBUFFER
    assert bundle.entries == ENTRIES
    assert (bundle.name, bundle.task, bundle.quantize) == ("text_attn", "text_classification", "dynamic")
    assert bundle.manifest["format_version"] == FORMAT_VERSION == 2
    assert bundle.signatures == SIGNATURES
    assert bundle.json("config.json") == {"d_model": 8}
    assert bundle.folder("preprocessor") == {
        "preprocessor.json": ENTRIES["preprocessor/preprocessor.json"],
        "vocab.txt": ENTRIES["preprocessor/vocab.txt"],
    }


def test_equal_content_gives_equal_bytes() -> None:
    assert packed() == packed()


def test_any_zip_reader_opens_it(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    write_bundle(path, FLATBUFFER, ENTRIES, **ABOUT)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in ENTRIES} == ENTRIES
        assert {item.compress_type for item in archive.infolist()} == {zipfile.ZIP_STORED}
        # Offsets count from the start of the file: no reader has to guess where the archive begins.
        assert archive.infolist()[0].header_offset == len(FLATBUFFER)
    if shutil.which("unzip"):
        done = subprocess.run(["unzip", "-t", str(path)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_a_client_needs_a_dozen_lines() -> None:
    """Read an entry as docs/bundle.md tells a client to."""
    data = packed()
    end = len(data) - 22
    assert data[end : end + 4] == b"PK\x05\x06"
    position, found = struct.unpack_from("<I", data, end + 16)[0], {}
    for _ in range(struct.unpack_from("<H", data, end + 10)[0]):
        assert data[position : position + 4] == b"PK\x01\x02"
        (size,), (length,), (local,) = (
            struct.unpack_from(kind, data, position + at) for kind, at in (("<I", 24), ("<H", 28), ("<I", 42))
        )
        name = data[position + 46 : position + 46 + length].decode()
        found[name] = data[local + 30 + length : local + 30 + length + size]
        position += 46 + length
    assert json.loads(found.pop("manifest.json"))["flatbuffer"]["length"] == len(FLATBUFFER)
    assert found == ENTRIES


def test_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(b"old")
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, old[1]))
    try:
        with pytest.raises(ZooError, match="File too large"):
            write_bundle(path, FLATBUFFER, ENTRIES, **ABOUT)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert [(item.name, item.read_bytes()) for item in tmp_path.iterdir()] == [("model.tflite", b"old")]


def test_write_is_atomic_and_says_why_it_failed(tmp_path: Path) -> None:
    with pytest.raises(ZooError, match="folder"):
        write_bundle(tmp_path, FLATBUFFER, ENTRIES, **ABOUT)
    with pytest.raises(ModelFileError, match="not a TFLite flatbuffer"):
        write_bundle(tmp_path / "model.tflite", b"nothing", ENTRIES, **ABOUT)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "says"),
    [(None, "No such file"), (b"", "not a .tflite"), (b"\x89PNG\r\n\x1a\n" + bytes(99), "not a .tflite")],
)
def test_unreadable_files(tmp_path: Path, content: bytes | None, says: str) -> None:
    path = tmp_path / "model.tflite"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelFileError, match=says):
        read_bundle(path)


def test_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="is a folder"):
        read_bundle(tmp_path)


def test_file_of_another_tool() -> None:
    assert "of another tool" in refused(FLATBUFFER)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as target:
        target.writestr("labels.txt", "cat\ndog\n")
    assert "of another tool" in refused(with_zip(archive.getvalue()))


def test_too_large_a_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    with path.open("wb") as file:
        file.truncate(2**31)  # sparse
    with pytest.raises(ModelFileError, match="2147483648 bytes"):
        read_bundle(path)


@pytest.mark.parametrize("cut", [1, 10, 21, 22, 60, 200])
def test_truncated(cut: int) -> None:
    assert "damaged" in refused(packed()[:-cut])


def test_bytes_added_at_the_end() -> None:
    assert "damaged" in refused(packed() + b"\n")


def test_newer_version() -> None:
    data = packed()
    newer = data.replace(b'"format_version": 2', b'"format_version": 3')
    start = newer.index(b"manifest.json{") + len("manifest.json")
    size = struct.unpack_from("<I", newer, len(FLATBUFFER) + 18)[0]
    crc = struct.pack("<I", zipfile.crc32(newer[start : start + size]))
    old_crc = data[len(FLATBUFFER) + 14 : len(FLATBUFFER) + 18]
    message = refused(newer.replace(old_crc, crc))
    assert "newer version" in message
    assert "upgrade" in message


@pytest.mark.parametrize(
    "name",
    ["../evil.json", "/etc/passwd", "a/../b.json", "a\\b.json", "C:evil.json", "a//b.json", ".hidden", "a/", "é.json"],
)
def test_hostile_names(name: str) -> None:
    with pytest.raises(ModelFileError, match="not allowed"):
        packed(**{name: b"x"})
    # The same length, so that all offsets stay true: only the name differs.
    raw = name.encode("latin-1")
    neutral = b"n" * len(raw)
    data = packed(**{neutral.decode(): b"x"})
    assert "not allowed" in refused(renamed(data, neutral, raw))


def test_duplicate_names() -> None:
    data = packed(**{"one.bin": b"1", "two.bin": b"2"})
    assert "occurs twice" in refused(renamed(data, b"two.bin", b"one.bin"))


def test_compressed_entry() -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(packed()[len(FLATBUFFER) :])) as source, zipfile.ZipFile(archive, "w") as target:
        for item in source.infolist():
            content = source.read(item)
            item.compress_type = zipfile.ZIP_DEFLATED if item.filename == "config.json" else zipfile.ZIP_STORED
            target.writestr(item, content)
    assert "compressed" in refused(with_compressed(archive.getvalue()))


def with_compressed(archive: bytes) -> bytes:
    """Move a ZIP archive behind the flatbuffer as it is, correcting its offsets."""
    shift, data = len(FLATBUFFER), bytearray(archive)
    end = len(data) - 22
    count, length, offset = struct.unpack_from("<H2I", data, end + 10)
    position = offset
    for _ in range(count):
        title, extra, remark = struct.unpack_from("<3H", data, position + 28)
        (local,) = struct.unpack_from("<I", data, position + 42)
        struct.pack_into("<I", data, position + 42, local + shift)
        position += 46 + title + extra + remark
    struct.pack_into("<I", data, end + 16, offset + shift)
    assert position == offset + length
    return FLATBUFFER + bytes(data)


@pytest.mark.parametrize("declared", [2**32 - 1, 300 * 2**20, 5_000])
def test_entry_that_declares_more_than_there_is(declared: int) -> None:
    data = bytearray(packed(**{"bomb.bin": b"0" * 77}))
    for signature, offset in ((b"PK\x03\x04", 18), (b"PK\x01\x02", 20)):
        start = -1
        while (start := data.find(signature, start + 1)) >= 0:
            if struct.unpack_from("<I", data, start + offset)[0] == 77:
                struct.pack_into("<2I", data, start + offset, declared, declared)
    message = refused(bytes(data))
    assert "bomb.bin" in message


def test_content_that_does_not_match_its_digest() -> None:
    assert "entry 'preprocessor/vocab.txt'" in refused(packed().replace(b"good\n", b"evil\n"))
    assert "the model" in refused(packed().replace(b"odd", b"add"))


@pytest.mark.parametrize("text", ["[]", "{}", "nonsense", "[" * 5000, '{"format": "attention-zoo bundle"}'])
def test_manifest_that_is_no_manifest(text: str) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as target:
        target.writestr("manifest.json", text)
    assert re.search("damaged|another tool", refused(with_zip(archive.getvalue())))


@pytest.mark.parametrize("length", [-1, True, "12", None, 2**40])
def test_manifest_with_a_bad_length(length: object) -> None:
    assert "no length" in refused(with_manifest(flatbuffer={"length": length, "sha256": ""}))


def with_manifest(**changes: object) -> bytes:
    """Return a file that holds nothing but a manifest with some fields changed."""
    archive, source = io.BytesIO(), io.BytesIO(packed())
    with zipfile.ZipFile(source) as given, zipfile.ZipFile(archive, "w") as target:
        target.writestr("manifest.json", json.dumps(json.loads(given.read("manifest.json")) | changes))
    return with_zip(archive.getvalue())


@pytest.mark.parametrize(
    "signatures",
    [
        None,
        [],
        {},
        {"other": SIGNATURES["serving_default"]},
        {"serving_default": {"inputs": {}}},
        {"serving_default": {"inputs": {}, "outputs": {"mean": []}}},
        {"serving_default": {"inputs": {}, "outputs": {"mean": {"shape": [1], "dtype": "int64"}}}},
        {"serving_default": {"inputs": {}, "outputs": {"mean": {"shape": [-1], "dtype": "int32"}}}},
        {"serving_default": {"inputs": {}, "outputs": {"mean": {"shape": [1.5], "dtype": "int32"}}}},
        {"serving_default": {"inputs": {}, "outputs": {"mean": {"shape": "1", "dtype": "int32"}}}},
        {"serving_default": {"inputs": {}, "outputs": {"mean": {"shape": [1] * 9, "dtype": "int32"}}}},
    ],
)
def test_manifest_with_bad_signatures(signatures: object) -> None:
    assert "signatures" in refused(with_manifest(signatures=signatures))


@given(st.data())
@settings(max_examples=400, deadline=None)
def test_flipped_bits_never_give_other_content(data: st.DataObject) -> None:
    good = packed()
    damaged = bytearray(good)
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(len(FLATBUFFER), len(good) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        bundle = unpack_bundle(bytes(damaged), "model.tflite")
    except ModelFileError as error:
        assert "\n" not in str(error)
    else:
        assert (bundle.flatbuffer, bundle.entries) == (FLATBUFFER, ENTRIES)


@given(st.binary(max_size=400), st.booleans())
@settings(max_examples=200, deadline=None)
def test_random_bytes(content: bytes, magic: bool) -> None:
    refused(b"\x1c\x00\x00\x00TFL3" + content if magic else content)
