"""Feed damaged and hostile bundles to everything that reads them: `python tools/fuzz_bundle.py --cases 10000 --seed 1`.

Every case is a stored bundle with one mutation, made from the seed and its number alone. It goes through the whole
reader: archive, preprocessor, structure of the model, LiteRT, a prediction, golden examples, `zoo inspect`. All of it
must end in an answer or a one-line `ZooError`. Anything else (another exception, a crash, over 2 GiB of address space,
over a time limit) is a finding: its file is kept and the exit code is 1.

Cases run in a child process, which is started again after a crash. The mutations:

- `bytes`: flips, insertions, deletions, truncation, copies; stopped by checksums for the most part;
- `archive`: fields of the ZIP records, names, records twice or elsewhere;
- `manifest`, `json`, `vocabulary`, `arrays`: content changed and all digests made right again;
- `exchange`: parts of other bundles, digests right;
- `bomb`: content that is small in the file and would be large in memory;
- `model`: the flatbuffer changed and all digests made right (`--kinds model`). LiteRT's own checks are what is tested
  there, so it is not among the default kinds: see docs/bundle.md, "Files from strangers".
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import random
import resource
import selectors
import struct
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
STORED = sorted((ROOT / "tests" / "fixtures").glob("bundle_v?/*.tflite"))
MEMORY = 2 << 30
SECONDS = 30.0

NUMBERS = (0, 1, 2, 3, 7, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 1 << 20, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
VALUES: tuple[Any, ...] = (
    None, True, False, -1, 0, 1, 2**31, 2**63, 10**400, -0.5, 0.5, 1e308, "", "x", "../../etc/passwd", "\x1b[2J",
    "\ud800", "a\nb", "x" * 70_000, [], {}, [[]], [1, 2, 3], {"a": {"b": []}}, ["x"] * 3000,
)  # fmt: skip
TEXTS = (
    b"", b"{", b"nonsense", b"[" * 100_000, b'{"kind": ' * 2000, b'{"a": 1, "a": 2}', b'{"a": NaN}', b'{"a": 1e999}',
    b'{"a": "\\ud800"}', b"\xff\xfe{\x00}\x00", b"\xef\xbb\xbf{}", b'"' + b"x" * 1_000_000 + b'"', b"9" * 100_000,
    b"[" + b"[]," * 300_000 + b"[]]",
)  # fmt: skip
NAMES = (
    b"../evil",
    b"/etc/passwd",
    b"a\\b",
    b"C:x",
    b".hidden",
    b"a//b",
    b"\x00",
    b"\xff" * 9,
    b"a" * 300,
    b"manifest.json",
)


def mutate_bytes(data: bytes, rng: random.Random) -> bytes:
    """Change bytes without regard to what they mean."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        at, span = rng.randrange(len(changed)), rng.choice((1, 2, 4, 22, 46, 300, 5000))
        action = rng.randrange(7)
        if action == 0:
            changed[at] ^= 1 << rng.randrange(8)
        elif action == 1:
            changed[at : at + span] = rng.randbytes(span)
        elif action == 2:
            changed[at:at] = rng.randbytes(span)
        elif action == 3 and len(changed) > span + 100:
            del changed[at : at + span]
        elif action == 4:
            del changed[max(8, rng.choice((at, len(changed) - rng.randrange(1, 200)))) :]
        elif action == 5:
            changed[at:at] = changed[at : at + span]
        else:
            changed[at : at + 4] = struct.pack("<I", rng.choice(NUMBERS))
        if len(changed) < 16:
            break
    return bytes(changed)


def mutate_archive(data: bytes, rng: random.Random) -> bytes:
    """Change fields of the ZIP archive's records."""
    changed = bytearray(data)
    count, length, offset = struct.unpack_from("<H2I", data, len(data) - 12)
    records, position = [], offset
    for _ in range(count):
        (title,) = struct.unpack_from("<H", data, position + 28)
        (local,) = struct.unpack_from("<I", data, position + 42)
        records.append((position, local, title))
        position += 46 + title
    for _ in range(rng.choice((1, 1, 2, 3))):
        entry, local, title = rng.choice(records)
        field, size = rng.choice(
            [(i, 2) for i in (4, 6, 8, 10, 28, 30, 32, 34, 36)] + [(i, 4) for i in (16, 20, 24, 38, 42)]
        )
        value = rng.choice((*NUMBERS, len(data), local, entry, offset, length))
        action = rng.randrange(6)
        if action == 0:
            struct.pack_into(
                "<H" if size == 2 else "<I", changed, entry + field, value & (0xFFFF if size == 2 else 0xFFFFFFFF)
            )
        elif action == 1:
            struct.pack_into("<I", changed, local + rng.choice((4, 6, 8, 14, 18, 22, 26)), value & 0xFFFFFFFF)
        elif action == 2:
            struct.pack_into("<I", changed, len(data) - rng.choice((18, 16, 14, 12, 10, 6, 4)), value & 0xFFFFFFFF)
        elif action == 3:  # the same hostile name in both places
            name = (rng.choice(NAMES) + b"x" * title)[:title]
            changed[entry + 46 : entry + 46 + title] = changed[local + 30 : local + 30 + title] = name
        elif action == 4:  # two records for one place, or one name for two
            other, place, width = rng.choice(records)
            if rng.random() < 0.5:
                struct.pack_into("<I", changed, entry + 42, place)
            elif width == title:
                changed[entry + 46 : entry + 46 + title] = data[other + 46 : other + 46 + title]
                changed[local + 30 : local + 30 + title] = data[other + 46 : other + 46 + title]
        else:  # sizes that agree with each other and with nothing else
            for at in (entry + 20, local + 18):
                struct.pack_into("<2I", changed, at, value & 0xFFFFFFFF, value & 0xFFFFFFFF)
    return bytes(changed)


def mutate_value(value: Any, rng: random.Random) -> Any:
    """Replace, remove or add one value somewhere in JSON content."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(list(value))
        action = rng.randrange(12)
        if action == 0:
            return {name: item for name, item in value.items() if name != key}
        if action == 1:
            return {**value, rng.choice(("x", "", "../x", key + " ")): rng.choice(VALUES)}
        return {**value, key: mutate_value(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.8:
        at, action = rng.randrange(len(value)), rng.randrange(6)
        if action == 0:
            return value[:at] + value[at + 1 :]
        if action == 1:
            return [*value, *value[: rng.choice((1, len(value)))]]
        return [*value[:at], mutate_value(value[at], rng), *value[at + 1 :]]
    if type(value) is int and rng.random() < 0.5:
        return value + rng.choice((-1, 1, 1 << 16, -(1 << 31)))
    return rng.choice(VALUES)


def json_bytes(value: Any, escaped: bool = False) -> bytes:
    """Return JSON with whatever is in it, lone surrogates too."""
    return json.dumps(value, ensure_ascii=escaped).encode("utf-8", "surrogatepass")


@functools.cache
def lines(count: int) -> bytes:
    """Return a vocabulary of so many numbers."""
    return "".join(f"{i}\n" for i in range(count)).encode()


class Parts:
    """A stored bundle taken apart, to be put together with digests that fit."""

    def __init__(self, path: Path) -> None:
        """Read a good bundle."""
        from zoo.export.bundle import read_bundle

        self.data = path.read_bytes()
        bundle = read_bundle(path)
        self.flatbuffer, self.manifest, self.entries = bundle.flatbuffer, bundle.manifest, bundle.entries

    def join(self, flatbuffer: bytes | None = None, entries: dict[str, bytes] | None = None) -> bytes:
        """Return a bundle of other content with right digests."""
        from zoo.export.bundle import _digest, append_archive

        flatbuffer, entries = flatbuffer or self.flatbuffer, entries or self.entries
        digests = {name: _digest(content) for name, content in entries.items()}
        manifest = {**self.manifest, "flatbuffer": _digest(flatbuffer), "entries": digests}
        return append_archive(flatbuffer, {"manifest.json": json_bytes(manifest), **entries})


def make_case(stored: list[Parts], kinds: tuple[str, ...], seed: int, number: int) -> tuple[str, bytes]:
    """Return the kind and the content of a case."""
    from zoo.export.bundle import append_archive

    rng = random.Random(f"{seed}-{number}")
    kind, base, other = rng.choice(kinds), rng.choice(stored), rng.choice(stored)
    entries = dict(base.entries)

    def change(names: list[str], how: Callable[[bytes], bytes]) -> bytes:
        name = rng.choice(names)
        return base.join(entries={**entries, name: how(entries[name])})

    if kind == "bytes":
        return kind, mutate_bytes(base.data, rng)
    if kind == "archive":
        return kind, mutate_archive(base.data, rng)
    if kind == "manifest":
        content = (
            json_bytes(mutate_value(base.manifest, rng), rng.random() < 0.5)
            if rng.random() < 0.9
            else rng.choice(TEXTS)
        )
        return kind, append_archive(base.flatbuffer, {"manifest.json": content, **entries})
    if kind == "json":
        names = [name for name in entries if name.endswith(".json")]
        names += 4 * ["preprocessor/preprocessor.json"] + 3 * ["golden/golden.json"]
        return kind, change(
            names,
            lambda content: (
                json_bytes(mutate_value(json.loads(content), rng), rng.random() < 0.5)
                if rng.random() < 0.9
                else rng.choice(TEXTS)
            ),
        )
    if kind == "vocabulary":
        names = [name for name in entries if name.endswith("vocab.txt")] or ["preprocessor/preprocessor.json"]
        return kind, change(names, lambda content: mutate_bytes(content, rng))
    if kind == "arrays":
        names, keep = [name for name in entries if name.startswith("golden/")], rng.random() < 0.7
        return kind, change(names, lambda old: mutate_bytes(old + bytes(16), rng)[: len(old) if keep else None])
    if kind == "exchange":
        prefix = rng.choice(("preprocessor/", "golden/", "report", "config", ""))
        mixed = {name: content for name, content in entries.items() if not name.startswith(prefix)}
        mixed |= {name: content for name, content in other.entries.items() if name.startswith(prefix)}
        return kind, base.join(flatbuffer=rng.choice((base, other)).flatbuffer, entries=mixed)
    if kind == "bomb":
        vocabulary, action = entries.get("preprocessor/vocab.txt", b""), rng.randrange(5)
        name = rng.choice(("preprocessor/preprocessor.json", "golden/golden.json")) if action else "golden/golden.json"
        if action == 0:
            content = json_bytes({"cases": 2000 * json.loads(entries[name])["cases"][:1]})
        elif action < 3:
            content = rng.choice(TEXTS)
        else:
            name = "preprocessor/vocab.txt"
            content = rng.choice((lines(300_000), lines(1_500_000), b"\n" * 8_000_000, vocabulary + b"x" * 8_000_000))
        return kind, base.join(entries={**entries, name: content})
    changed = bytearray(base.flatbuffer)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        at = rng.randrange(8, len(changed) - 4)
        if rng.random() < 0.5:
            changed[at] ^= 1 << rng.randrange(8)
        else:
            struct.pack_into("<I", changed, at & ~3, rng.choice(NUMBERS))
    return kind, base.join(flatbuffer=bytes(changed))


def read_all(path: Path) -> str:
    """Put a file through every reader; return where it was refused, or "answered"."""
    from zoo.errors import ZooError
    from zoo.export.bundle import read_bundle
    from zoo.export.golden import read_golden
    from zoo.export.inspection import inspect_file
    from zoo.export.runtime import Edge
    from zoo.files import to_json
    from zoo.preprocess import load

    stage = "archive"
    try:
        bundle = read_bundle(path)
        stage = "preprocessor"
        preprocessor = load(bundle.folder("preprocessor"))
        stage = "inspection"
        to_json(inspect_file(path)).encode()
        stage = "golden"
        read_golden(bundle)
        stage = "model"
        edge = Edge(path)
        stage = "prediction"
        str(edge.predict(preprocessor.made_up()[0].value()))
    except ZooError as error:
        message = str(error)
        if not message.isprintable() or not 10 < len(message) < 6 * 1200:
            raise AssertionError(f"not one readable line: {message[:300]!r}") from error
        return f"refused: {stage}"
    return "answered"


def keep(arguments: argparse.Namespace, kind: str, number: int, data: bytes) -> None:
    """Write the file of a finding."""
    arguments.keep.mkdir(parents=True, exist_ok=True)
    (arguments.keep / f"{kind}-{arguments.seed}-{number}.tflite").write_bytes(data)


def child(arguments: argparse.Namespace) -> None:
    """Run cases one after another; a line on standard output before and after each."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    stored = [Parts(path) for path in STORED]
    path = Path(arguments.folder) / "case.tflite"
    for number in range(arguments.first, arguments.cases):
        kind, data = make_case(stored, tuple(arguments.kinds), arguments.seed, number)
        path.write_bytes(data)
        print(number, kind, flush=True)
        try:
            outcome = read_all(path)
        except BaseException as error:  # whatever it is, it is a finding
            keep(arguments, kind, number, data)
            outcome = f"finding: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
        print(outcome, flush=True)


def run(arguments: argparse.Namespace) -> int:
    """Run all cases in child processes and print what came of them."""
    counts: Counter[tuple[str, str]] = Counter()
    findings: list[str] = []
    first = 0
    with tempfile.TemporaryDirectory(prefix="zoo-fuzz-") as folder:
        while first < arguments.cases:
            command = [sys.executable, "-P", __file__, "--folder", folder, "--first", str(first)]
            command += ["--cases", str(arguments.cases), "--seed", str(arguments.seed), "--keep", str(arguments.keep)]
            command += ["--kinds", *arguments.kinds]
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
                first = _follow(process, arguments, Path(folder), counts, findings, first)
    for kind in arguments.kinds:
        shown = {outcome: count for (one, outcome), count in sorted(counts.items()) if one == kind}
        print(f"{kind:<11}", ", ".join(f"{outcome} {count}" for outcome, count in shown.items()))
    print(f"{sum(counts.values())} cases (seed {arguments.seed}): {len(findings)} findings")
    print("\n".join(findings))
    return 1 if findings else 0


def _follow(
    process: subprocess.Popen[str],
    arguments: argparse.Namespace,
    folder: Path,
    counts: Counter[tuple[str, str]],
    findings: list[str],
    first: int,
) -> int:
    """Read a child's lines until it ends; return the number of the next case to run."""
    assert process.stdout is not None
    number, kind, open_case = first, "", False
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            line = process.stdout.readline() if selector.select(SECONDS) else "slow"
            if line == "slow":
                process.kill()
                outcome = f"finding: over {SECONDS:g} s"
            elif line:
                if not open_case:
                    number, kind, open_case = int(line.split()[0]), line.split()[1], True
                    continue
                outcome = line.strip()
            elif open_case:
                outcome = f"finding: the process died (exit code {process.wait()})"
            elif process.wait() == 0:
                return arguments.cases
            else:
                raise RuntimeError(f"The child cannot start (exit code {process.returncode}).")
            counts[kind, outcome.partition(":")[0] if outcome.startswith("finding") else outcome] += 1
            open_case = False
            ended = line in ("slow", "")
            if ended:
                process.wait()
                keep(arguments, kind, number, (folder / "case.tflite").read_bytes())
            if outcome.startswith("finding"):
                findings.append(f"{kind}-{arguments.seed}-{number}.tflite: {outcome}")
            if ended:
                return number + 1


def main() -> int:
    """Parse the options; run as parent or as child."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = ("bytes", "archive", "manifest", "json", "vocabulary", "arrays", "exchange", "bomb")
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="+", choices=(*kinds, "model"), default=kinds)
    parser.add_argument("--keep", type=Path, default=Path("fuzz-findings"), help="folder for the files of findings")
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    parser.add_argument("--first", type=int, default=0, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.folder:
        child(arguments)
        return 0
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    return run(arguments)


if __name__ == "__main__":
    sys.exit(main())
