"""What is committed holds for everyone: no address of a package index, no path of one machine."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

FORBIDDEN = {
    "a package index": re.compile(
        r"(?:extra-)?index[-_]url|find[-_]links|pypi\.org|pythonhosted\.org|\bfile:/{2,}", re.I
    ),
    "a path of one machine": re.compile(r"(?<![\w.])/(?:root|work|home/\w+|Users/\w+|opt/pypi[\w-]*|tmp/\w+)(?:/|\b)"),
}


def tracked_texts(repository: Path) -> dict[str, str]:
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=repository, capture_output=True, text=True, check=True)
    texts = {}
    for name in filter(None, listing.stdout.split("\0")):
        path = repository / name
        if not path.is_file() or path == Path(__file__).resolve():
            continue
        data = path.read_bytes()
        if b"\0" not in data[:8192]:
            texts[name] = data.decode("utf-8", errors="replace")
    return texts


@pytest.mark.parametrize("what", FORBIDDEN)
def test_nothing_committed_is_tied_to_a_machine(repository: Path, what: str) -> None:
    texts = tracked_texts(repository)
    assert "setup.cfg" in texts
    found = [
        f"{name}:{number}: {line.strip()[:120]}"
        for name, text in texts.items()
        for number, line in enumerate(text.splitlines(), start=1)
        if FORBIDDEN[what].search(line)
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("pip install --index-url https://x", "a package index"),
        ("file:///wheels", "a package index"),
        ("cd /home/ana/zoo", "a path of one machine"),
        ("cd /root/zoo", "a path of one machine"),
    ],
)
def test_the_patterns_find_what_they_look_for(line: str, what: str) -> None:
    assert FORBIDDEN[what].search(line)


@pytest.mark.parametrize("line", ["see https://example.org/home", "runs/root/work.csv", "a/work/b", "Files: ..."])
def test_the_patterns_leave_ordinary_text_alone(line: str) -> None:
    assert not any(pattern.search(line) for pattern in FORBIDDEN.values())
