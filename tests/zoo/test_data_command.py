"""`zoo data prepare` and `check`: what they write and say, bad usage, and a training from what was written."""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from zoo import datasets

Call = Callable[..., tuple[int, str, str]]


def test_prepare_and_train(run: Call, tiny_data: Callable[[str], Path], tmp_path: Path) -> None:
    shards = tmp_path / "shards"
    path = tiny_data("text_classification")
    words = ("data", "prepare", path, "-o", shards, "--shards", 2, "--task", "text_classification")
    code, out, err = run(*words, "--options.language", "en", "--options.seed", 3)
    assert code == 0, err
    assert [line.split()[:3] for line in out.splitlines() if "train" in line[:8]] == [["train", "96", "2"]]
    assert f"zoo train MODEL --data {shards}" in out and "train: 96 records" in err
    data = datasets.load(shards, task="text_classification")
    original = datasets.load(path, task="text_classification", language="en", seed=3)
    assert data.language == "en" and list(data.split("test")) == list(original.split("test"))
    sizes = [f"--model.{name.replace('_', '-')}={value}" for name, value in (("d_model", 8), ("num_heads", 2))]
    train = ("--train.epochs", 1, "--train.samples", 0, "--quiet", "--json", "--out", tmp_path / "run")
    code, out, err = run("train", "text_attn", "--data", shards, *sizes, *train)
    assert code == 0, err
    assert json.loads(out)["run"] == str(tmp_path / "run")
    stored = json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))
    assert stored["data"]["reference"] == str(shards) and stored["licence"]["name"] == "the user's own"


def test_json_and_a_name_that_says_its_task(run: Call, tmp_path: Path) -> None:
    code, out, err = run("data", "prepare", "stocks", "-o", tmp_path / "x", "--options.gap", 30, "--json", "--quiet")
    assert (code, err) == (0, "")
    report = json.loads(out)
    assert report["task"] == "forecasting" and report["folder"] == str(tmp_path / "x")
    assert {row["split"]: row["records"] for row in report["splits"]} == {"train": 4, "valid": 4, "test": 4}
    code, out, err = run("data", "prepare", tmp_path / "x", "-o", tmp_path / "y", "--shards", 1, "--json")
    assert code == 0 and {row["shards"] for row in json.loads(out)["splits"]} == {1}, err


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["data"], 2, "prepare"),
        (["data", "sort", "emoji"], 2, "invalid choice 'sort'"),
        (["data", "prepare", "stocks"], 2, "--out"),
        (["data", "prepare", "stoks", "-o", "x"], 2, "Did you mean stocks"),
        (["data", "prepare", ".", "-o", "x"], 2, "say it with --task: captioning, forecasting, "),
        (["data", "prepare", ".", "-o", "x", "--task", "poetry"], 2, "There is no task 'poetry'"),
        (["data", "prepare", "stocks", "-o", "x", "--task", "captioning"], 1, "is for forecasting, not for captioning"),
        (["data", "prepare", "stocks", "-o", "x", "--options.gapp", "3"], 2, "no field 'gapp'. Did you mean gap"),
        (["data", "prepare", "stocks", "-o", "x", "--shards", "0"], 1, "number of shards is 0; it must be 1 to"),
        (["data", "prepare", "stocks", "-o", "."], 1, "is not empty"),
        (["data", "check", "stocks", "-o", "x"], 2, "writes nothing; leave --out out"),
        (["data", "check", "stoks"], 2, "Did you mean stocks"),
    ],
)
def test_usage(
    run: Call, words: list[str], code: int, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.txt").write_text("x")
    found, out, err = run(*words)
    assert found == code and out == "" and message in err
    assert err.startswith("zoo: error: ") and err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_check_lists_what_training_leaves_out(run: Call, tiny_data: Callable[[str], Path], tmp_path: Path) -> None:
    """All of them, also where they are too many to train; nothing is written."""
    folder = tmp_path / "pictures"
    shutil.copytree(tiny_data("captioning"), folder)
    code, out, err = run("data", "check", folder, "--task", "captioning")
    assert (code, err) == (0, "") and out.splitlines()[0] == "Nothing is left out." and "train: 48 records" in out
    for number in range(14):
        (folder / f"{number}.png").write_bytes(b"")
    code, out, err = run("data", "check", folder, "--task", "captioning")
    assert (code, err) == (1, "") and out.count(".png") == 14 and "is empty; give a PNG" in out
    for number in range(14, 40):
        (folder / f"{number}.png").unlink()
    code, out, err = run("data", "check", folder, "--task", "captioning", "--json")
    report = json.loads(out)
    assert (code, err, report["splits"]) == (1, "", {}) and len(report["left_out"]) == 40
    assert {"file": "20.png", "reason": f"is not in the folder '{folder}' (line 21)"} in report["left_out"]
    assert report["problem"].startswith("40 of 60 pictures of")
    code, out, err = run("data", "check", folder, "--task", "captioning", "--quiet")
    assert code == 1 and out.count(".png") == 40 and err.startswith("zoo: error: 40 of 60 pictures of")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pictures"]


def test_check_of_a_table(run: Call, tiny_data: Callable[[str], Path], tmp_path: Path) -> None:
    code, out, err = run("data", "check", tiny_data("text_classification"), "--task", "text_classification")
    assert (code, err) == (0, "") and "train: 96 records" in out
    (tmp_path / "bad.csv").write_text("text,mark\na,b\n", encoding="utf-8")
    code, out, err = run("data", "check", tmp_path / "bad.csv", "--task", "text_classification")
    assert (code, out) == (1, "") and "has no column 'label'" in err


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    """Files may not grow over 100 kB: one line, and no folder."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    command = [sys.executable, "-P", "-m", "zoo", "data", "prepare", "emoji", "-o", str(tmp_path / "x"), "--quiet"]
    done = subprocess.run([*command, "--shards", "1"], preexec_fn=limit, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stderr.startswith("zoo: error: Cannot write 'train-00000-of-00001")
    assert done.stderr.count("\n") == 1 and not list(tmp_path.iterdir())
