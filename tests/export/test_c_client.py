"""The C client: built with gcc and make as a user would, beside the Python runtime on the same files and inputs."""

from __future__ import annotations

import json
import os
import re
import shutil
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ai_edge_litert
import keras
import numpy as np
import pytest

from zoo import datasets
from zoo.errors import UnknownNameError, ZooError
from zoo.export.bundle import Bundle, pack_bundle, read_bundle
from zoo.export.client import write_client
from zoo.export.golden import read_golden
from zoo.export.runtime import Edge
from zoo.registry import architecture
from zoo.results import Caption, Classification, Forecast
from zoo.run import Run
from zoo.tasks import get_task

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures"
STORED = sorted(FIXTURES.glob("bundle_v*/*.tflite"))
PRICE = FIXTURES / "bundle_v2" / "price_attn.tflite"
GOLDEN, SETTINGS, VOCABULARY = "golden/golden.json", "preprocessor/preprocessor.json", "preprocessor/vocab.txt"
COMMANDS = {"captioning": "caption", "text_classification": "tokens", "forecasting": "window"}
SANITIZED = "-g -O1 -fsanitize=address,undefined -fno-sanitize-recover=all -Werror"

Client = Callable[..., subprocess.CompletedProcess[str]]


def build(folder: Path, flags: str) -> Client:
    """Copy and build the client; return what runs it."""
    write_client("c", folder)
    done = subprocess.run(["make", "-C", folder, f"CFLAGS={flags}"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr
    environment = os.environ | {"ASAN_OPTIONS": "exitcode=99:log_path=stdout"}

    def run(path: Path, *words: str, given: bytes = b"") -> subprocess.CompletedProcess[str]:
        command = [folder / "zoo_edge", path, *words]
        result = subprocess.run(command, input=given, capture_output=True, check=False, timeout=120, env=environment)
        out, err = (stream.decode("utf-8", errors="strict") for stream in (result.stdout, result.stderr))
        return subprocess.CompletedProcess(command, result.returncode, out, err)

    return run


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Client:
    return build(tmp_path_factory.mktemp("client"), "-O2 -Werror -Wconversion -Wshadow -Wstrict-prototypes")


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> Client:
    """The client with gcc's address and undefined-behaviour sanitizers, leaks included."""
    return build(tmp_path_factory.mktemp("checked"), SANITIZED)


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    """Return the one line of a client that refuses, after checking that it does so properly."""
    assert done.returncode == 1, (done.returncode, done.stdout, done.stderr)
    assert done.stdout == ""
    assert re.fullmatch(r"zoo_edge: error: [^\n]+\n", done.stderr), done.stderr
    return done.stderr.removeprefix("zoo_edge: error: ").strip()


def ask(client: Client, edge: Edge, path: Path, inputs: dict[str, np.ndarray]) -> str:
    """Give serving inputs to the client on stdin and return what it prints."""
    words = [COMMANDS[edge.task]]
    (array,) = inputs.values()
    if edge.task == "captioning":
        words += [f"{array.shape[1]}x{array.shape[2]}", "--json"]
    done = client(path, *words, given=array.tobytes())
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def assert_same(printed: str, edge: Edge, inputs: dict[str, np.ndarray]) -> Any:
    """Compare what the client printed with Python's answer to the same inputs; return the answer's gist."""
    answer = edge.preprocessor.result(inputs, edge.run(inputs))
    if isinstance(answer, Caption):
        said = json.loads(printed)
        assert said["text"] == answer.text
        assert said["tokens"] == list(answer.tokens)
        assert said["score"] == pytest.approx(answer.score, rel=1e-3, abs=1e-4)
        return answer.text
    lines = [line.split("\t") for line in printed.splitlines()]
    if isinstance(answer, Classification):
        found = {json.loads(name): float(value) for value, name in lines}
        assert json.loads(lines[0][1]) == answer.label
        assert found == pytest.approx(answer.probabilities, abs=1e-3)
        assert [float(value) for value, _ in lines] == sorted(found.values(), reverse=True)
        return tuple(round(value, 6) for value in found.values())
    assert isinstance(answer, Forecast)
    assert lines[0] == ["step", "mean", *(f"{level:g}" for level in answer.levels)]
    assert [line[0] for line in lines[1:]] == [str(step + 1) for step in range(len(answer.mean))]
    numbers = np.array([line[1:] for line in lines[1:]], float)
    np.testing.assert_allclose(numbers[:, 0], answer.mean, rtol=1e-3)
    np.testing.assert_allclose(numbers[:, 1:], answer.quantiles, rtol=1e-3)
    return printed


def repack(bundle: Bundle, name: str, content: bytes | None) -> bytes:
    """Pack a bundle with another content of one entry (None removes it), all digests right."""
    entries = {**bundle.entries, name: content}
    return pack_bundle(
        bundle.flatbuffer,
        {key: value for key, value in entries.items() if value is not None},
        name=bundle.name,
        task=bundle.task,
        quantize=bundle.quantize,
        signatures=bundle.signatures,
    )


def test_files_and_library(tmp_path: Path) -> None:
    written = write_client("c", tmp_path / "new" / "folder")
    assert sorted(path.name for path in written) == ["Makefile", "README.md", "zoo_edge.c"]
    library = Path(str(ai_edge_litert.__file__)).parent
    assert f"\nLITERT_DIR ?= {library}\n" in (tmp_path / "new" / "folder" / "Makefile").read_text()
    assert write_client("c", tmp_path / "new" / "folder") == written
    (tmp_path / "Makefile").write_text("all:\n")
    with pytest.raises(ZooError, match="Makefile' exists"):
        write_client("c", tmp_path)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["Makefile"]
    with pytest.raises(UnknownNameError, match=r"Known: c\."):
        write_client("cobol", tmp_path)


def test_command_line(tmp_path: Path) -> None:
    zoo = [sys.executable, "-P", "-m", "zoo", "client", "c", "-o", tmp_path / "edge", "--json"]
    done = subprocess.run(zoo, capture_output=True, text=True, check=True)
    assert [Path(file).is_file() for file in json.loads(done.stdout)["files"]] == [True] * 3


def test_another_version_of_litert_is_refused(tmp_path: Path) -> None:
    """The declarations in the source are those of one version."""
    write_client("c", tmp_path)
    (tmp_path / "ai_edge_litert").mkdir()
    (tmp_path / "ai_edge_litert-2.2.0.dist-info").mkdir()
    command = ["make", "-C", tmp_path, f"LITERT_DIR={tmp_path / 'ai_edge_litert'}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "ai-edge-litert 2.3 is not in" in done.stderr
    assert not (tmp_path / "zoo_edge").exists()


def test_another_library_at_run_time_is_refused(tmp_path: Path) -> None:
    """One that has the functions but another table of them, which is how a newer version differs."""
    write_client("c", tmp_path)
    names = re.findall(r"^(?:LiteRtStatus|void) (LiteRt\w+)\(", (tmp_path / "zoo_edge.c").read_text(), re.M)
    assert len(names) > 20
    stub = "".join(f"int {name}(void) {{ return 0; }}\n" for name in names) + "const void *kLiteRtRuntimeBuiltin[9];\n"
    (tmp_path / "stub.c").write_text(stub)
    library = ["cc", "-shared", "-fPIC", "-o", tmp_path / "libLiteRt.so", tmp_path / "stub.c"]
    subprocess.run(library, check=True, capture_output=True)
    linked = ["cc", "-o", tmp_path / "client", tmp_path / "zoo_edge.c", f"-L{tmp_path}", f"-Wl,-rpath,{tmp_path}"]
    subprocess.run([*linked, "-lLiteRt", "-ldl", "-lm"], check=True, capture_output=True)
    done = subprocess.run([tmp_path / "client", PRICE, "self-test"], capture_output=True, text=True, check=False)
    assert "is not version 2.3" in refusal(done)


@pytest.mark.parametrize("path", STORED, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_golden_answers_of_both_format_versions(path: Path, client: Client, checked: Client) -> None:
    count = len(read_golden(read_bundle(path)))
    for one in (client, checked):
        done = one(path, "self-test")
        assert (done.returncode, done.stdout, done.stderr) == (0, f"PASS {count} of {count}\n", "")


@pytest.mark.parametrize("path", STORED, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_answers_as_python(path: Path, checked: Client) -> None:
    edge = Edge(path)
    for case in read_golden(edge.bundle):
        assert_same(ask(checked, edge, path, case.inputs), edge, case.inputs)


def test_a_caption_for_people(client: Client) -> None:
    path = FIXTURES / "bundle_v2" / "caption_attn.tflite"
    edge = Edge(path)
    for case in read_golden(edge.bundle):
        done = client(path, "caption", "24x24", given=case.inputs["image"].tobytes())
        assert done.stdout == f"{edge.preprocessor.result(case.inputs, edge.run(case.inputs))}\n"


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["caption"],
        ["caption", "24"],
        ["caption", "24x24x"],
        ["caption", "24x24", "--jsn"],
        ["caption", "24x24", "--json", "more"],
        ["window", "64x5"],
        ["tokens", "--json"],
        ["selftest"],
    ],
)
def test_usage(words: list[str], client: Client) -> None:
    done = client(PRICE, *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: zoo_edge ") and done.stderr.count("\n") == 1


def test_inputs_that_cannot_be_used(checked: Client) -> None:
    caption, text = PRICE.with_name("caption_attn.tflite"), PRICE.with_name("text_attn.tflite")
    window = Edge(PRICE).inputs["window"][0]
    length = Edge(text).inputs["tokens"][0][1]
    right = np.full(window, 100, np.float32)
    wrong = right.copy()
    wrong[0, 3, 0] = np.nan
    size = right.nbytes
    cases: list[tuple[Path, list[str], bytes, str]] = [
        (caption, ["caption", "23x24"], b"", "pictures of 24x24 (height x width), not 23x24"),
        (caption, ["caption", "-1x24"], b"", "not -1x24"),
        (caption, ["caption", "24x24"], bytes(24 * 24 * 3 - 1), "takes 1728 bytes on stdin"),
        (caption, ["caption", "24x24"], bytes(24 * 24 * 3 + 1), "not more than 1728"),
        (caption, ["window"], b"", "is not a model for forecasting"),
        (PRICE, ["caption", "24x24"], b"", "is not a model for captioning"),
        (PRICE, ["window"], b"", f"takes {size} bytes on stdin ({window[1]} steps of {window[2]} float32), not 0"),
        (PRICE, ["window"], wrong.tobytes(), f"Value {3 * window[2] + 1} of the window is not a number"),
        (PRICE, ["window"], np.full(window, np.inf, np.float32).tobytes(), "Value 1 of the window is not a number"),
        (text, ["tokens"], np.full(length, -1, np.int32).tobytes(), "Id -1 is outside the vocabulary"),
        (text, ["tokens"], np.full(length, 2**31 - 1, np.int32).tobytes(), "Id 2147483647 is outside"),
        (text, ["tokens"], bytes(4 * length), "All ids are padding"),
    ]
    for path, words, given, says in cases:
        assert says in refusal(checked(path, *words, given=given))


def test_files_that_cannot_be_read(tmp_path: Path, checked: Client) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    (tmp_path / "empty").touch()
    (tmp_path / "large").touch()
    os.truncate(tmp_path / "large", 2**31)
    (tmp_path / "text").write_text("not a model, but long enough to be looked at")
    (tmp_path / "plain.tflite").write_bytes(read_bundle(PRICE).flatbuffer)
    for name, says in {
        "missing": "not a file that can be read",
        "pipe": "not a file that can be read",
        ".": "not a file that can be read",
        "empty": "has 0 bytes",
        "large": "has 2147483648 bytes",
        "text": "is not a .tflite file",
        "plain.tflite": "another tool made it",
        "a\nb\x1b[2J": "a?b?[2J' is not a file",
    }.items():
        assert says in refusal(checked(tmp_path / name, "self-test"))


def zip_parts(data: bytes) -> tuple[int, int]:
    """Return where the first entry and the directory begin."""
    directory = struct.unpack_from("<I", data, len(data) - 6)[0]
    return struct.unpack_from("<I", data, directory + 42)[0], directory


def patched(data: bytes, place: int, value: bytes) -> bytes:
    return data[:place] + value + data[place + len(value) :]


def with_manifest(data: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """Change the manifest in place (same length) and make its checksums right."""
    first, directory = zip_parts(data)
    start = first + 30 + len("manifest.json")
    size = struct.unpack_from("<I", data, first + 22)[0]
    content = change(data[start : start + size])
    assert len(content) == size
    crc = struct.pack("<I", zlib.crc32(content))
    return patched(patched(patched(data, start, content), first + 14, crc), directory + 16, crc)


def test_hostile_layouts(tmp_path: Path, checked: Client) -> None:
    """Every one is a line and exit code 1, and the sanitizers say nothing."""
    data = PRICE.read_bytes()
    first, directory = zip_parts(data)
    end, second = len(data) - 22, directory + 46 + len("manifest.json")
    huge = b"\xff\xff\xff\xff"
    cases = {
        "cut by one": data[:-1],
        "cut in the model": data[: first // 2],
        "cut before the end record": data[:end],
        "a byte added": data + b"\0",
        "a byte in front": b"\0" + data,
        "bytes between": data[:directory] + b"\0" + data[directory:],
        "no entries": patched(data, end + 8, b"\0\0\0\0"),
        "too many entries": patched(data, end + 8, b"\xff\xff\xff\xff"),
        "one entry less": patched(data, end + 8, struct.pack("<HH", 17, 17)),
        "huge directory": patched(data, end + 12, huge),
        "directory beyond the file": patched(data, end + 16, huge),
        "sum that overflows": patched(data, end + 12, struct.pack("<II", 2**32 - 22, len(data))),
        "comment": patched(data, end + 20, b"\1\0"),
        "huge entry": patched(patched(data, second + 20, huge), second + 24, huge),
        "entry over the directory": patched(data, second + 42, struct.pack("<I", directory)),
        "entries that overlap": patched(data, second + 42, struct.pack("<I", first)),
        "compressed": patched(data, second + 10, b"\x08\0"),
        "encrypted": patched(data, second + 8, b"\1\0"),
        "long name": patched(data, second + 28, b"\xff\xff"),
        "extra field": patched(data, second + 30, b"\4\0"),
        "absolute name": patched(data, second + 46, b"/"),
        "control character in a name": patched(data, second + 46, b"\x1b"),
        "local header": patched(data, first + 26, b"\1"),
        "checksum of the manifest": patched(data, first + 14, b"\0\0\0\0"),
        "bit of the model": patched(data, 1000, bytes([data[1000] ^ 1])),
        "bit of an entry": patched(data, directory - 1, bytes([data[directory - 1] ^ 1])),
        "version 3": with_manifest(data, lambda m: m.replace(b'"format_version": 2', b'"format_version": 3')),
        "version true": with_manifest(data, lambda m: m.replace(b'ion": 2,', b'ion":"2"')[:-1] + b" "),
        "another format": with_manifest(data, lambda m: m.replace(b"attention-zoo bundle", b"attention-zoo bundlE")),
        "digest": with_manifest(data, lambda m: m.replace(b'"sha256": "', b'"sha256": "\\', 1)[:-1]),
        "digits": with_manifest(data, lambda m: re.sub(rb'"sha256": "....', b'"sha256": "0000', m, count=1)),
        "length": with_manifest(data, lambda m: re.sub(rb'"length": \d', b'"length": 9', m, count=1)),
        "no task": with_manifest(data, lambda m: m.replace(b'"task"', b'"tusk"')),
        "no signatures": with_manifest(data, lambda m: m.replace(b'"serving_default"', b'"serving_defoult"')),
        "other types": with_manifest(data, lambda m: m.replace(b'"dtype": "float32"', b'"dtype":   "int32"', 1)),
        "other shapes": with_manifest(
            data, lambda m: re.sub(rb'"shape": \[(\s+)1,', rb'"shape": [\g<1>2,', m, count=1)
        ),
        "repeated key": with_manifest(data, lambda m: m.replace(b'"name"', b'"task"')),
        "not JSON": with_manifest(data, lambda m: b"[" * len(m)),
        "deep JSON": with_manifest(data, lambda m: b'{"a":' * (len(m) // 6) + b" " * (len(m) - 5 * (len(m) // 6))),
        "not UTF-8": with_manifest(data, lambda m: m.replace(b"attention", b"attenti\xffn", 1)),
        "NUL in JSON": with_manifest(data, lambda m: m.replace(b"attention", b"attenti\0n", 1)),
        "open string": with_manifest(data, lambda m: b'{"' + b"a" * (len(m) - 2)),
    }
    for name, content in cases.items():
        assert content != data, name
        path = tmp_path / "hostile.tflite"
        path.write_bytes(content)
        done = checked(path, "self-test")
        assert done.returncode == 1, (name, done)
        assert refusal(done), name
    assert "newer version (bundle format 3" in refusal(checked(write(tmp_path, cases["version 3"]), "self-test"))
    newer = patched(cases["version 3"], second + 10, b"\x08\0")  # which may compress
    assert "newer version (bundle format 3" in refusal(checked(write(tmp_path, newer), "self-test"))
    for name in ("other types", "other shapes", "no signatures"):
        says = refusal(checked(write(tmp_path, cases[name]), "self-test"))
        assert "inputs and outputs are not those of its manifest" in says
    assert "does not match its SHA-256" in refusal(checked(write(tmp_path, cases["bit of the model"]), "self-test"))


def write(folder: Path, data: bytes) -> Path:
    path = folder / "hostile.tflite"
    path.write_bytes(data)
    return path


def test_hostile_content_with_right_digests(tmp_path: Path, checked: Client) -> None:
    """What its maker could put into a bundle; every digest is right."""
    price = read_bundle(PRICE)
    text, caption = (read_bundle(PRICE.with_name(f"{name}_attn.tflite")) for name in ("text", "caption"))
    settings = {task.name: task.json(SETTINGS) for task in (price, text, caption)}
    golden = price.json(GOLDEN)

    def other(bundle: Bundle, **changes: Any) -> bytes:
        return repack(bundle, SETTINGS, json.dumps(settings[bundle.name] | changes).encode())

    def golden_with(**changes: Any) -> bytes:
        return repack(price, GOLDEN, json.dumps(golden | changes).encode())

    array = {"file": "golden/0/outputs/mean.bin", "dtype": "float32", "shape": [1]}
    words = caption.entries[VOCABULARY]
    huge = np.full_like(read_golden(text)[0].inputs["tokens"], 2**30).tobytes()  # LiteRT itself complains about it
    cases: list[tuple[bytes, list[str], str]] = [
        (repack(price, GOLDEN, None), ["self-test"], "no entry 'golden/golden.json'"),
        (golden_with(cases=[]), ["self-test"], "no golden cases"),
        (golden_with(cases={"inputs": {}}), ["self-test"], "no golden cases"),
        (golden_with(cases=[1]), ["self-test"], "no array for an input"),
        (golden_with(cases=[{**golden["cases"][0], "inputs": {"window": array}}]), ["self-test"], "for an input"),
        (golden_with(cases=[{**golden["cases"][0], "outputs": {"mean": array}}]), ["self-test"], "for an output"),
        (repack(price, SETTINGS, None), ["self-test"], "no entry 'preprocessor/prep"),
        (repack(price, SETTINGS, b"[]"), ["self-test"], "JSON that cannot be read"),
        (repack(price, SETTINGS, b'{"kind": 01}'), ["self-test"], "JSON that cannot be read"),
        (repack(price, SETTINGS, b"{}"), ["window"], "is not a model for forecasting"),
        (other(price, format_version=2), ["window"], "newer zoo_edge"),
        (other(price, window=10**9), ["window"], "'window' of the expected type and size"),
        (other(price, horizon="5"), ["window"], "'quantiles' of the expected type and size"),
        (other(price, levels=[]), ["window"], "'quantiles' of the expected type and size"),
        (other(text, max_length=-1), ["tokens"], "'tokens' of the expected type and size"),
        (other(text, classes=["one"]), ["tokens"], "'probabilities' of the expected type and size"),
        (other(caption, image={"height": 2**40, "width": 24}), ["caption", "24x24"], "the size of its pictures"),
        (other(caption, image=[]), ["caption", "24x24"], "the size of its pictures"),
        (other(caption, image={"height": 25, "width": 24}), ["caption", "25x24"], "'image' of the expected type"),
        (repack(caption, VOCABULARY, words[:-1]), ["caption", "24x24"], "vocabulary has no end"),
        (repack(caption, VOCABULARY, b"\xff\n"), ["caption", "24x24"], "'preprocessor/vocab.txt'"),
        (repack(caption, VOCABULARY, b"a" * 1025 + b"\n"), ["caption", "24x24"], "a token that is too long"),
        (repack(caption, VOCABULARY, b"\n" * 1_000_001), ["caption", "24x24"], "vocabulary is too large"),
        (repack(caption, VOCABULARY, b"a\n"), ["caption", "24x24"], "outside the vocabulary of 1"),
        (repack(caption, VOCABULARY, None), ["caption", "24x24"], "outside the vocabulary of 0"),
        (repack(text, "golden/0/inputs/tokens.bin", huge), ["self-test"], "LiteRtRunCompiledModel gives status"),
    ]
    for content, command, says in cases:
        given = b"\x7f" * 1728 if command[0] == "caption" else b""
        assert says in refusal(checked(write(tmp_path, content), *command, given=given)), says


def test_a_wrong_golden_answer_fails_the_self_test(tmp_path: Path, checked: Client) -> None:
    bundle = read_bundle(PRICE)
    mean = np.frombuffer(bundle.entries["golden/1/outputs/mean.bin"], "<f4")
    largest = np.abs(mean).max()
    for change, passes in ((0.5e-4, True), (2e-4, False)):
        moved = (mean + np.float32(change * largest)).astype("<f4").tobytes()
        done = checked(write(tmp_path, repack(bundle, "golden/1/outputs/mean.bin", moved)), "self-test")
        count = len(read_golden(bundle))
        assert done.stdout == (f"PASS {count} of {count}\n" if passes else f"FAIL {count - 1} of {count}\n")
        assert done.returncode == (0 if passes else 1)
        assert passes or "does not give its golden answers here" in done.stderr


def test_control_characters_stay_in_the_file(tmp_path: Path, client: Client) -> None:
    """A vocabulary cannot send escape sequences to the terminal, and JSON stays JSON."""
    bundle = read_bundle(FIXTURES / "bundle_v2" / "caption_attn.tflite")
    lines = bundle.entries[VOCABULARY].decode().splitlines()
    evil = "\n".join([*lines[:4], *(f'{line}\x1b\x7f\x9b"\\é' for line in lines[4:])]) + "\n"
    path = write(tmp_path, repack(bundle, VOCABULARY, evil.encode()))
    image = read_golden(bundle)[0].inputs["image"].tobytes()
    plain, as_json = (client(path, "caption", "24x24", *more, given=image) for more in ([], ["--json"]))
    assert not set("\x1b\x7f\x9b") & set(plain.stdout + as_json.stdout)
    assert '???"\\é' in plain.stdout
    said = json.loads(as_json.stdout)
    assert said["text"] == "".join(said["tokens"]).replace("▁", " ").strip()
    assert '\x1b\x7f\x9b"\\é' in said["text"]


def real_run(name: str, data: str) -> Run:
    """Return a small model for a real dataset, its weights all moved, so that its answers depend on its inputs."""
    cls = architecture(name)
    task, config = get_task(cls.task), cls.tiny()
    dataset = datasets.load(data, task=task.name, **task.data_options(config))
    preprocessor = task.preprocessor(config, dataset)
    where = {"reference": data, "options": dataset.options.to_dict()}
    run = Run(name=name, config=task.configure(config, preprocessor), preprocessor=preprocessor, data=where)
    keras.utils.set_random_seed(1)
    for weight in run.model.trainable_weights:
        weight.assign(weight + keras.random.normal(weight.shape, stddev=0.5))
    return run


@pytest.mark.full
@pytest.mark.parametrize(
    ("name", "data"), [("caption_attn", "emoji"), ("text_attn", "tweets"), ("price_attn", "stocks")]
)
def test_twenty_real_inputs_in_every_variant(name: str, data: str, tmp_path: Path, client: Client) -> None:
    run = real_run(name, data)
    requests = run.task.requests(run.dataset().split("test"), run.preprocessor, limit=200)
    chosen = np.unique(np.linspace(0, len(requests) - 1, 20).astype(int))
    assert len(chosen) == 20
    for quantize in ("float32", "dynamic", "int8"):
        path = tmp_path / f"{quantize}.tflite"
        run.export(path, quantize=quantize, examples=32)
        count = len(read_golden(read_bundle(path)))
        assert client(path, "self-test").stdout == f"PASS {count} of {count}\n"
        edge = Edge(path)
        given = [{key: array[i : i + 1] for key, array in requests.inputs.items()} for i in chosen]
        gists = {assert_same(ask(client, edge, path, inputs), edge, inputs) for inputs in given}
        assert len(gists) > 5, "the answers do not depend on the inputs"


@pytest.mark.full
def test_two_thousand_damaged_files(tmp_path: Path, checked: Client) -> None:
    """Cut, flipped, moved and overwritten at random: a line and exit code 1, or the file's own answers."""
    rng = np.random.default_rng(0)
    data = PRICE.read_bytes()
    first, _ = zip_parts(data)
    numbers = [struct.pack("<I", number) for number in (0, 1, 2**31 - 1, 2**31, 2**32 - 1, len(data), first)]
    refused = 0
    for number in range(2000):
        content = bytearray(data)
        place = int(rng.integers(first, len(data) - 4))
        match number % 5:
            case 0:
                del content[int(rng.integers(len(data))) :]
            case 1:
                for index in rng.integers(0, len(data), 4):
                    content[index] ^= 1 << int(rng.integers(8))
            case 2:
                content[place : place + 4] = numbers[int(rng.integers(len(numbers)))]
            case 3:
                content[place:place] = rng.bytes(int(rng.integers(1, 99)))
            case 4:
                del content[place : place + int(rng.integers(1, 99))]
        done = checked(write(tmp_path, bytes(content)), "self-test")
        if done.returncode:
            refused += bool(refusal(done))
        else:
            assert done.stdout.startswith("PASS "), number
    assert refused > 1900


def test_tools_are_there() -> None:
    """What CONTRIBUTING.md asks for; without it the tests above could not mean anything."""
    assert shutil.which("make") and shutil.which("cc")
