"""Where weights come from: what is read is what the SHA-256 says, or nothing."""

from __future__ import annotations

import hashlib
import http.server
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from zoo.errors import ConfigError, MissingExtraError, ModelFileError
from zoo.pretrained.index import find_weights, weights_names
from zoo.pretrained.sources import locate, read_source

CONTENT = bytes(range(256)) * 40
DIGEST = hashlib.sha256(CONTENT).hexdigest()
COMMIT = "0123456789abcdef0123456789abcdef01234567"
FETCH = "import sys; from zoo.pretrained.sources import read_source; print(len(read_source(*sys.argv[1:])))"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "w.pth"
    path.write_bytes(CONTENT)
    return path


def test_a_file(file: Path) -> None:
    assert read_source(f"file:{file}", DIGEST) == CONTENT


@pytest.mark.parametrize("place", [0, 5000, len(CONTENT) - 1])
def test_a_flipped_bit_is_refused(file: Path, place: int) -> None:
    content = bytearray(CONTENT)
    content[place] ^= 1
    file.write_bytes(bytes(content))
    with pytest.raises(ModelFileError, match=f"their SHA-256 is {hashlib.sha256(content).hexdigest()}, not {DIGEST}"):
        read_source(f"file:{file}", DIGEST)


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="No such file"):
        read_source(f"file:{tmp_path / 'none.pth'}", DIGEST)
    with pytest.raises(ModelFileError, match="directory"):
        read_source(f"file:{tmp_path}", DIGEST)
    with pytest.raises(MissingExtraError, match=r"'no_such_package', which is not installed; run: pip install"):
        read_source("package:no_such_package/w.pth", DIGEST)


@pytest.mark.parametrize(
    "source",
    [
        "",
        "w.pth",
        "file:",
        "package:numpy",
        "package:numpy/../w.pth",
        "package:numpy//etc/passwd",
        "package:../numpy/w.pth",
        "https://example.org/w.pth",
        "hf:user/repository/w.pth",
        "hf://user/w.pth",
        "hf://user/../w.pth",
        "hf://user/repository/../../w.pth",
        "hf://us er/repository/w.pth",
    ],
)
def test_sources_that_are_none(source: str) -> None:
    with pytest.raises(ConfigError, match="is not one of package:NAME/FILE, file:PATH or hf://"):
        locate(source)


@pytest.mark.parametrize("digest", ["", "abc", DIGEST.upper(), DIGEST + "0", "g" * 64])
def test_a_digest_is_whole(file: Path, digest: str) -> None:
    with pytest.raises(ConfigError, match="64 hexadecimal digits"):
        read_source(f"file:{file}", digest)


@pytest.mark.parametrize("name", weights_names())
def test_installed_weights_are_the_ones_of_the_index(name: str) -> None:
    weights = find_weights(name)
    assert len(read_source(weights.source, weights.sha256)) > 4 * weights.parameters


class Hub(http.server.BaseHTTPRequestHandler):
    """Answers for one file of one repository as the hub does."""

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()
        if self.command == "GET" and self.known():
            self.wfile.write(CONTENT)

    def known(self) -> bool:
        return self.path.startswith("/ana/small/resolve/") and self.path.endswith("/net/w.pth")

    def answer(self) -> None:
        self.send_response(200 if self.known() else 404)
        if self.known():
            self.send_header("ETag", f'"{DIGEST}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("Content-Length", str(len(CONTENT)))
        else:
            self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def hub() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_the_hub(hub: str, tmp_path: Path) -> None:
    environment = {**os.environ, "HF_ENDPOINT": hub, "HF_HOME": str(tmp_path), "HF_HUB_DISABLE_TELEMETRY": "1"}

    def fetch(source: str, digest: str = DIGEST) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-P", "-c", FETCH, source, digest]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)

    for revision in ("", f"@{COMMIT}"):
        done = fetch(f"hf://ana/small/net/w.pth{revision}")
        assert done.stdout.strip() == str(len(CONTENT)), done.stderr
    other = fetch("hf://ana/small/net/w.pth", "0" * 64)
    assert f"their SHA-256 is {DIGEST}, not {'0' * 64}" in other.stderr.splitlines()[-1]
    missing = fetch("hf://ana/small/net/none.pth")
    assert "Cannot fetch the weights 'hf://ana/small/net/none.pth': " in missing.stderr.splitlines()[-1]
