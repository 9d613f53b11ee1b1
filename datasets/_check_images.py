"""Reading every picture of a dataset once, when it is opened, so that no epoch meets one that cannot be read.

What is found is kept in the user's cache by the SHA-256 of the pictures: the next time they are read, but not decoded.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import PIL
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from zoo.datasets._images import Images
from zoo.errors import DataError, ZooError, one_line
from zoo.files import cache_folder, strict_json, to_json, write_text
from zoo.preprocess.image import FORMATS, MAX_IMAGE_PIXELS, decode_image

_THREADS = 4
_BATCH = 64
_KEY = 16  # bytes of a digest that the cache holds
_WORTH = 1.0  # seconds of checking; the result of less is not kept
_MAX_CACHE_BYTES = 1 << 28
_NAMED = 10
_SECONDS = 10.0  # between two lines on progress where there is no terminal
_VERSION = 1


class Checked(NamedTuple):
    """What was found about a picture: the SHA-256 of its bytes, and why it cannot be read ("" if it can)."""

    digest: bytes
    problem: str


class LeftOut(NamedTuple):
    """A picture that is left out of a dataset, and why."""

    file: str
    reason: str


def check_images(images: Images, keys: Sequence[str], *, quiet: bool = False) -> list[Checked]:
    """Read and decode pictures.

    Several are decoded at once, of large ones only one, so that memory stays bounded: about 1 GB.

    Args:
        images: Where they are.
        keys: Which ones, as `images.find` gives them.
        quiet: Do not show how far it is.

    Returns:
        One entry a key.
    """
    store = _store(images)
    known = _read_store(store)
    decoded = threading.Event()

    def check(batch: Sequence[str]) -> list[Checked]:
        return [_check(images, key, known, decoded) for key in batch]

    found: list[Checked] = []
    started = time.monotonic()
    pool = ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1), "pictures")
    try:
        with warnings.catch_warnings(), _progress(len(keys), quiet=quiet) as show:
            warnings.filterwarnings("ignore", module="PIL")  # damaged marks beside a picture that can be read
            for part in pool.map(check, [keys[start : start + _BATCH] for start in range(0, len(keys), _BATCH)]):
                found += part
                show(len(found))
    finally:
        pool.shutdown(cancel_futures=True)
    if store is not None and decoded.is_set() and time.monotonic() - started >= _WORTH:
        _write_store(store, found)
    return found


def say_left_out(left_out: Sequence[LeftOut], total: int, title: str, *, announce: bool = True) -> None:
    """Say on standard error which pictures are left out; the first ten by name.

    Args:
        left_out: Those that cannot be used.
        total: How many pictures there are.
        title: The dataset's path.
        announce: Whether to say it.

    Raises:
        DataError: If they are more than half of all.
    """
    if not left_out:
        return
    count = f"{len(left_out):,} of {total:,} pictures of '{title}' cannot be used"
    if 2 * len(left_out) > total:
        first = "; ".join(f"{item.file}: {item.reason}" for item in left_out[:3])
        raise DataError(f"{count}, more than half: {first}. Correct them; 'zoo data check' lists all.")
    if not announce:
        return
    lines = [f"{count} and are left out:", *(f"  {item.file}: {item.reason}" for item in left_out[:_NAMED])]
    if len(left_out) > _NAMED:
        lines.append(f"  and {len(left_out) - _NAMED:,} more; 'zoo data check' lists them all")
    console = Console(stderr=True, highlight=False, markup=False)
    for line in lines:
        console.print(one_line(line), soft_wrap=True)


def _check(images: Images, key: str, known: dict[str, str], decoded: threading.Event) -> Checked:
    try:
        content = images.read(key)
    except DataError as error:
        return Checked(b"", _reason(error))
    digest = hashlib.sha256(content).digest()
    problem = known.get(digest[:_KEY].hex())
    if problem is None:
        decoded.set()
        problem = _problem(content)
    return Checked(digest, problem)


def _problem(content: bytes) -> str:
    try:
        decode_image(content)
    except DataError as error:
        return _reason(error)
    return ""


def _reason(error: DataError) -> str:
    return str(error).removeprefix("The picture ").rstrip(".")


def _store(images: Images) -> Path | None:
    try:
        folder = cache_folder("pictures")
    except ZooError:
        return None  # it only saves time
    return folder / f"{hashlib.sha256(str(images).encode('utf-8', 'surrogatepass')).hexdigest()[:32]}.json"


def _reader() -> str:
    """Say what the result depends on beside the bytes."""
    return f"Pillow {PIL.__version__}, {', '.join(FORMATS)}, at most {MAX_IMAGE_PIXELS} pixels"


def _read_store(path: Path | None) -> dict[str, str]:
    """Return digest -> problem; nothing if there is no file, or it is of another version or damaged."""
    try:
        if path is None or path.stat().st_size > _MAX_CACHE_BYTES:
            return {}
        stored = strict_json(path.read_bytes())
        if stored["format_version"] != _VERSION or stored["reader"] != _reader():
            return {}
        problems = {str(key): str(problem) for key, problem in stored["unreadable"].items()}
        return dict.fromkeys(map(str, stored["readable"]), "") | problems
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _write_store(path: Path, found: list[Checked]) -> None:
    problems = {item.digest[:_KEY].hex(): item.problem for item in found if item.digest}
    content: dict[str, Any] = {
        "format_version": _VERSION,
        "reader": _reader(),
        "readable": [key for key, problem in problems.items() if not problem],
        "unreadable": {key: problem for key, problem in problems.items() if problem},
    }
    with contextlib.suppress(ZooError):
        write_text(path, to_json(content, indent=None))


@contextlib.contextmanager
def _progress(total: int, *, quiet: bool) -> Iterator[Callable[[int], None]]:
    """Yield what shows how many pictures are done: a bar on a terminal, else now and then a line, on standard error."""
    console = Console(stderr=True, highlight=False, markup=False, quiet=quiet)
    last = time.monotonic()
    if console.is_terminal and not quiet:
        columns = (TextColumn("Checking pictures"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console, transient=True) as progress:
            bar = progress.add_task("", total=total)
            yield lambda done: progress.update(bar, completed=done)
        return

    def say(done: int) -> None:
        nonlocal last
        if time.monotonic() - last >= _SECONDS:
            last = time.monotonic()
            console.print(f"Checking pictures: {done:,} of {total:,}", soft_wrap=True)

    yield say
