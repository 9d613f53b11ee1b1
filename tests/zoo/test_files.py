"""Atomic output: what was there stays until the new content is whole."""

from __future__ import annotations

import math
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from zoo.errors import ZooError
from zoo.files import (
    cache_folder,
    read_json,
    replace_folder,
    strict_json,
    to_json,
    write_beside,
    write_bytes,
    write_json,
    write_text,
)


def test_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(RuntimeError), write_beside(path) as beside:
        beside.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_folder_as_destination_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ZooError, match="it is a folder"):
        write_bytes(tmp_path, b"")
    (tmp_path / "file").write_text("")
    with pytest.raises(ZooError, match="Cannot write"):
        write_bytes(tmp_path / "file" / "below", b"")


def test_full_disk_is_one_line_and_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    write_bytes(path, b"old")
    code = f"""
import resource
from zoo.errors import ZooError
from zoo.files import write_bytes
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_bytes({str(path)!r}, b"x" * 5000)
except ZooError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("Cannot write") and done.stdout.count("\n") == 1, done.stderr
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_replace_folder_keeps_the_old_one_on_failure(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    replace_folder(target, lambda new: (new / "a").write_text("1"))
    replace_folder(target, lambda new: (new / "b").write_text("2"))
    assert [path.name for path in target.iterdir()] == ["b"]

    def fail(new: Path) -> None:
        (new / "c").write_text("3")
        raise OSError(28, "No space left on device")

    with pytest.raises(ZooError, match="No space left"):
        replace_folder(target, fail)
    assert [path.name for path in target.iterdir()] == ["b"] and list(tmp_path.iterdir()) == [target]


def test_json_is_plain_and_readable(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"a": np.float32(0.5), "b": np.arange(2), "c": math.nan, "d": (1, Path("x")), "e": "猫"})
    assert read_json(path) == {"a": 0.5, "b": [0, 1], "c": None, "d": [1, "x"], "e": "猫"}
    assert "猫" in to_json({"e": "猫"})
    path.write_text("{")
    with pytest.raises(ZooError, match="not valid JSON"):
        read_json(path)
    with pytest.raises(ZooError, match="No such file"):
        read_json(tmp_path / "none.json")


@pytest.mark.parametrize(
    "content",
    [
        '{"a": 1, "a": 2}',
        "NaN",
        "-Infinity",
        "1e999",
        "9223372036854775808",
        "1" + "0" * 400,
        '"\\ud800"',
        "[" * 99_999,
    ],
)
def test_json_that_parsers_read_differently_is_refused(content: str) -> None:
    with pytest.raises(ValueError):
        strict_json(content.encode())


def test_numbers_of_64_bits_are_read() -> None:
    assert strict_json(b"[-9223372036854775808, 9223372036854775807, 1e300]") == [-(2**63), 2**63 - 1, 1e300]


def test_the_cache_folder_is_the_users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "a" / "cache"))
    assert cache_folder() == tmp_path / "a" / "cache" and not cache_folder().exists()
    folder = cache_folder("features")
    assert folder == cache_folder("features") == tmp_path / "a" / "cache" / "features"
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o700 for path in (folder, folder.parent))
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "file"))
    with pytest.raises(ZooError, match=r"Cannot make the cache folder '.*file.features': .*; set ZOO_CACHE"):
        cache_folder("features")
    monkeypatch.delenv("ZOO_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder("features") == tmp_path / "attention-zoo" / "features"
