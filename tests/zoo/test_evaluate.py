"""A run's evaluations: what they store, with which options, and how two of them are compared."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import zoo
from zoo.compare import compare_runs
from zoo.errors import ConfigError, DataError
from zoo.evaluations import read_answers
from zoo.files import read_json, write_json

FIXTURE = Path(__file__).resolve().parents[1] / "fixtures" / "run_v1" / "caption_attn"

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of small pictures; of the five of "valid", two have a caption that "train" has too."""
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    lines = []
    for split, count in (("train", 6), ("valid", 5), ("test", 2)):
        for i in range(count):
            name = f"{split}{i}.png"
            Image.fromarray(rng.integers(0, 256, (24, 24, 3)).astype(np.uint8)).save(folder / name)
            seen = split == "train" or i < 2
            captions = ["a plain picture" if seen else f"picture {split} {i}", f"noise {split} of many dots {i}"]
            lines.append(json.dumps({"file": name, "split": split, "captions": captions}))
    (folder / "captions.jsonl").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture
def folders(tmp_path: Path, pictures: Path) -> list[Path]:
    """Two stored captioners, trained on those pictures as far as their folders say."""
    made = []
    for name in ("one", "other"):
        shutil.copytree(FIXTURE, tmp_path / name)
        stored = read_json(tmp_path / name / "run.json")
        options = {"language": "en"}
        write_json(tmp_path / name / "run.json", {**stored, "data": {"reference": str(pictures), "options": options}})
        description = read_json(tmp_path / name / "preprocessor" / "preprocessor.json")
        write_json(tmp_path / name / "preprocessor" / "preprocessor.json", {**description, "language": "en"})
        made.append(tmp_path / name)
    return made


def test_an_evaluation_is_stored_under_its_name(folders: list[Path]) -> None:
    run = zoo.load(folders[0])
    plain, beam = run.evaluate("valid"), run.evaluate("valid", beam_width=3, pictures=False, baselines=False)
    assert plain["metrics"]["count_novel"] == 3 and plain["examples"] == 5
    assert (
        plain["baselines"]["nearest_image"]["copied"] == 1 and plain["baselines"]["nearest_image"]["count_novel"] == 3
    )
    assert "copied" in plain["metrics"] and "meteor" not in plain["metrics"]
    assert (plain["serving_options"], beam["serving_options"]) == ({}, {"beam_width": 3})
    assert set(run.metrics) == {"valid", "valid-beam_width=3"} and beam["baselines"] == {}
    assert plain["pictures"] == ["pictures/valid/captions.png"] and beam["pictures"] == []
    answers = read_answers(folders[0], "valid")
    assert [answer["id"] for answer in answers] == [
        answer["id"] for answer in read_answers(folders[0], "valid-beam_width=3")
    ]
    assert [answer["novel"] for answer in answers] == [False, False, True, True, True]
    outputs = run.serving_outputs(run.task.requests(run.dataset().split("valid"), run.preprocessor).inputs)
    assert [answer["caption"] for answer in answers] == [run.preprocessor.decode(row) for row in outputs["tokens"]]
    assert len(read_answers(folders[0], "valid")[0]["references"]) == 2
    run.evaluate("valid", limit=2, baselines=False, pictures=False)
    assert len(read_answers(folders[0], "valid")) == 2
    with pytest.raises(ConfigError, match="no serving option 'beams'"):
        run.evaluate("valid", beams=3)


def test_the_commands_evaluate_and_compare(folders: list[Path], run: Command) -> None:
    code, out, _ = run("evaluate", folders[0], "--split", "valid")
    assert code == 0 and "count_novel" in out and "nearest_image" in out
    code, out, _ = run("evaluate", folders[1], "--split", "valid", "--beam-width", 2, "--no-baselines", "--json")
    assert code == 0 and json.loads(out)["serving_options"] == {"beam_width": 2}
    code, out, _ = run("compare", *folders, "--split", "valid", "valid-beam_width=2")
    assert code == 0 and "cider, whole (5)" in out and "bleu4, novel (3)" in out and "other - one" in out
    code, _, error = run("compare", *folders, "--split", "valid")
    assert code != 0 and "has no answers of 'valid' (it has: valid-beam_width=2)" in error
    code, _, error = run("evaluate", folders[0], "--split", "valid", "--beam-width", 99)
    assert code != 0 and "beam_width is 99" in error


def test_without_java_the_rest_is_measured(folders: list[Path], run: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(folders[0]))
    code, out, _ = run("evaluate", folders[0], "--split", "test", "--slow", "--no-baselines")
    assert code == 0 and "model: METEOR was left out. METEOR needs Java" in out and "bleu4" in out


def test_answers_are_compared_without_model_and_data(folders: list[Path], pictures: Path) -> None:
    for folder in folders:
        zoo.load(folder).evaluate("valid", baselines=False, pictures=False)
        stored = read_json(folder / "run.json")
        write_json(folder / "run.json", {**stored, "data": {"reference": "gone", "options": {}}})
    answers = read_answers(folders[1], "valid")
    texts = [answer["references"][1] for answer in answers]  # the other run answers perfectly
    rows = [{**answer, "caption": text} for answer, text in zip(answers, texts, strict=True)]
    (folders[1] / "answers" / "valid.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    code = "import sys\nfor name in ('keras', 'tensorflow', 'jax', 'safetensors'): sys.modules[name] = None\n"
    words = ["compare", *map(str, folders), "--split", "valid", "--json"]
    code += f"from zoo.cli import main\nmain({words!r})"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    report: dict[str, Any] = json.loads(done.stdout)["answers"]
    assert report["evaluations"] == ["valid", "valid"]
    whole = report["results"][0]
    assert whole["metric"] == "cider" and whole["values"][1] > whole["values"][0]
    assert 0 < whole["differences"][0]["low"] <= whole["differences"][0]["difference"]


def test_what_cannot_be_compared_is_one_line(folders: list[Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="one evaluation for all 2 runs or one for each, not 3"):
        compare_runs(folders, ["a", "b", "c"])
    with pytest.raises(DataError, match="no answers of 'valid'"):
        compare_runs(folders, ["valid"])
    texts = []
    for name in ("x", "y"):
        shutil.copytree(FIXTURE.parent / "text_attn", tmp_path / name)
        (tmp_path / name / "answers").mkdir()
        (tmp_path / name / "answers" / "test.jsonl").write_text("{}\n")
        texts.append(tmp_path / name)
    with pytest.raises(ConfigError, match="text_classification keep no answers"):
        compare_runs(texts, ["test"])
