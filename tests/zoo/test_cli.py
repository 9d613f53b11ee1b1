"""The command line on bad input: one line, exit code 1 or 2, nothing half-written."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Call = Callable[..., tuple[int, str, str]]


def _is_one_line(err: str) -> bool:
    return err.startswith("zoo: error: ") and err.count("\n") == 1 and "Traceback" not in err


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["trian"], 2, "No command is named 'trian'. Did you mean train"),
        (["show", "caption_atn"], 2, "Did you mean caption_attn"),
        (["train", "caption_atn"], 2, "Did you mean caption_attn"),
        (["train", "price_attn", "--model.windw", "3"], 2, "no field 'windw'. Did you mean window"),
        (["train", "price_attn", "--train.epochs", "0"], 2, "TrainConfig.epochs is 0; it must be 1 to"),
        (["train", "price_attn", "--train.epochs", "many"], 2, "--train.epochs"),
        (["train", "price_attn", "--data", "nowhere.csv"], 2, "No dataset or existing path is named 'nowhere.csv'"),
        (["train", "price_attn", "--data"], 1, "--data needs a value"),
        (["train"], 2, "name"),
        (["list", "--what"], 2, "Unrecognized options: --what"),
        (["report", "nowhere"], 2, "No run folder or model is named 'nowhere'"),
        (["evaluate", "nowhere"], 2, "No run folder or model is named 'nowhere'"),
        (["predict", "nowhere.tflite", "x.png"], 1, "nowhere.tflite"),
        (["predict", "caption_attn", "x.png"], 1, "untrained"),
        (["verify", "nowhere.tflite"], 1, "nowhere.tflite"),
        (["inspect", "nowhere.tflite"], 1, "nowhere.tflite"),
    ],
)
def test_usage(run: Call, words: list[str], code: int, message: str) -> None:
    got, out, err = run(*words)
    assert (got, out) == (code, "") and message in err and _is_one_line(err), err


def _write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def _prices(rows: int, **cells: str) -> str:
    lines = ["date,open,high,low,close,volume"]
    for row in range(rows):
        values = dict.fromkeys(("open", "high", "low", "close"), f"{100 + row % 7}") | {"volume": "1000"}
        if row == rows // 2:
            values |= cells
        day = np.datetime64("2020-01-01") + row
        lines.append(",".join([str(day), *(values[key] for key in ("open", "high", "low", "close", "volume"))]))
    return "\n".join(lines)


def _bad_data(folder: Path) -> dict[str, tuple[str, Path, str]]:
    (folder / "empty").mkdir()
    pictures = folder / "missing"
    pictures.mkdir()
    _write(pictures / "captions.jsonl", json.dumps({"file": "gone.png", "captions": ["a cat"]}))
    truncated = folder / "truncated"
    truncated.mkdir()
    for number in range(30):
        Image.fromarray(np.full((32, 32, 3), number * 8, np.uint8)).save(truncated / f"{number}.png")
    for number in range(16):
        (truncated / f"{number}.png").write_bytes((truncated / f"{number}.png").read_bytes()[:60])
    lines = [json.dumps({"file": f"{number}.png", "captions": [f"grey {number}"]}) for number in range(30)]
    _write(truncated / "captions.jsonl", "\n".join(lines))
    texts = "\n".join(f"some text {number},a" for number in range(40))
    return {
        "empty folder": ("caption_attn", folder / "empty", "empty"),
        "missing image": ("caption_attn", pictures, "gone.png"),
        "truncated images": ("caption_attn", truncated, "16 of 30 pictures"),
        "no label column": ("text_attn", _write(folder / "a.csv", "text,mark\n" + texts), "label"),
        "single class": ("text_attn", _write(folder / "b.csv", "text,label\n" + texts), "class"),
        "short series": ("price_attn", _write(folder / "c.csv", _prices(20)), "rows"),
        "NaN in prices": ("price_attn", _write(folder / "d.csv", _prices(400, close="nan")), "close"),
        "text in prices": ("price_attn", _write(folder / "e.csv", _prices(400, close="abc")), "abc"),
    }


@pytest.mark.parametrize(
    "case",
    [
        "empty folder",
        "missing image",
        "truncated images",
        "no label column",
        "single class",
        "short series",
        "NaN in prices",
        "text in prices",
    ],
)
def test_bad_data(run: Call, tmp_path: Path, case: str) -> None:
    name, data, message = _bad_data(tmp_path)[case]
    out = tmp_path / "run"
    code, _, err = run("train", name, "--data", data, "--out", out, "--quick", "--quiet")
    assert code == 1 and message in err and _is_one_line(err), err
    assert not out.exists()


def test_bad_model_files(run: Call, tmp_path: Path) -> None:
    noise = tmp_path / "noise.tflite"
    noise.write_bytes(np.random.default_rng(0).bytes(5000))
    foreign = tmp_path / "foreign.tflite"
    foreign.write_bytes(b"\x1c\x00\x00\x00TFL3" + bytes(500))
    for path in (noise, foreign):
        for words in (["predict", path, "x"], ["verify", path], ["bench", path], ["inspect", path]):
            code, out, err = run(*words)
            assert code == 1 and out == "" and path.name in err and _is_one_line(err), err
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["foreign.tflite", "noise.tflite"]


def test_output_that_is_a_folder(run: Call, tmp_path: Path) -> None:
    (tmp_path / "model.tflite").mkdir()
    code, _, err = run("export", "price_attn", "--out", tmp_path / "model.tflite")
    assert code == 1 and "it is a folder" in err and _is_one_line(err), err
    (tmp_path / "run").mkdir()
    _write(tmp_path / "run" / "mine.txt", "kept")
    code, _, err = run("train", "price_attn", "--out", tmp_path / "run", "--quick")
    assert code == 1 and "exists already" in err
    assert (tmp_path / "run" / "mine.txt").read_text() == "kept"


def test_tables_and_json(run: Call) -> None:
    code, out, _ = run("list", "--json")
    assert code == 0 and {"caption_attn", "price_attn", "text_attn"} <= {row["name"] for row in json.loads(out)}
    code, out, _ = run("show", "price_attn")
    assert code == 0 and "window" in out and "price_attn__stocks" in out
    assert run("--version")[0] == 0 and run()[0] == 2
    code, out, _ = run("doctor", "--json")
    assert code == 0 and json.loads(out)["can"]["train"] == "ready"


def test_full_disk_during_training(tiny_data: Callable[[str], Path], tmp_path: Path) -> None:
    command = [sys.executable, "-P", "-m", "zoo", "train", "text_attn", "--quick", "--quiet"]
    command += ["--data", str(tiny_data("text_classification")), "--out", str(tmp_path / "run")]

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))

    done = subprocess.run(command, capture_output=True, text=True, timeout=300, preexec_fn=limit)
    assert done.returncode == 1 and _is_one_line(done.stderr), done.stderr
    assert "Cannot write" in done.stderr
    assert not list((tmp_path / "run").rglob("*.safetensors"))
