"""`zoo predict` on folders of pictures and `zoo explain`, on stored runs and files."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Call = Callable[..., tuple[int, str, str]]
STORED = Path(__file__).resolve().parents[1] / "fixtures"
RUN, FILE = STORED / "run_v1" / "caption_attn", STORED / "bundle_v2" / "caption_attn.tflite"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three pictures, one of them broken, and a text."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, name in enumerate(("b.png", "a.jpg")):
        pixels = np.random.default_rng(number).integers(0, 256, (40, 60, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / name)
    (folder / "c.png").write_bytes(b"\x89PNG")
    (folder / "readme.txt").write_text("x")
    return folder


@pytest.mark.parametrize("model", [RUN, FILE], ids=["run", "file"])
def test_a_folder_as_table_lines_and_page(run: Call, folder: Path, tmp_path: Path, model: Path) -> None:
    code, out, err = run("predict", model, folder)
    lines = [line.split()[0] for line in out.splitlines() if ".png" in line or ".jpg" in line]
    assert code == 0 and lines == ["a.jpg", "b.png", "c.png"] and "not read" in out and "Picture 1 of 3" in err
    code, out, err = run("predict", model, folder, "--json", "--quiet")
    records = [json.loads(line) for line in out.splitlines()]
    assert code == 0 and err == "" and [record["file"] for record in records] == ["a.jpg", "b.png", "c.png"]
    assert records[0].keys() == {"file", "text", "score", "tokens", "attention"} and "damaged" in records[2]["error"]
    page = tmp_path / "gallery.html"
    code, out, err = run("predict", model, folder, "--html", page, "--limit", 2, "--quiet", "--json")
    report = json.loads(out)
    assert code == 0 and report["pictures"] == 2 and report["problems"] == [] and "first 2 of 3" in err
    assert report["bytes"] == page.stat().st_size
    text = page.read_text(encoding="utf-8")
    assert text.count('<li class="shot"') == 2 and "The first 2 of 3 pictures" in text and str(tmp_path) not in text
    assert f"caption_attn ({model.name})" in text


def test_one_picture_may_have_a_page_too(run: Call, folder: Path, tmp_path: Path) -> None:
    code, out, _ = run("predict", RUN, folder / "b.png", "--html", tmp_path / "one.html", "--quiet")
    assert code == 0 and "one.html" in out
    assert "1 picture by" in (tmp_path / "one.html").read_text(encoding="utf-8")


def test_what_has_no_gallery(run: Call, folder: Path, tmp_path: Path) -> None:
    page, empty, broken = tmp_path / "page.html", tmp_path / "empty", tmp_path / "broken"
    empty.mkdir()
    broken.mkdir()
    (broken / "x.png").write_bytes(b"x")
    text, series = (STORED / "bundle_v2" / f"{name}.tflite" for name in ("text_attn", "price_attn"))
    for words, wanted, message in (
        (["predict", text, "some text", "--html", page], 2, "does not take pictures"),
        (["predict", series, folder, "--html", page], 2, "does not take pictures"),
        (["predict", RUN, folder, "--limit", 0], 2, "--limit is 0"),
        (["predict", FILE, folder, "--stream"], 2, "leave it out for a folder"),
        (["predict", RUN, empty], 1, "has no picture"),
        (["predict", RUN, broken, "--html", page], 1, "None of the 1 pictures"),
        (["predict", RUN, tmp_path / "nowhere", "--html", page], 1, "no file or folder"),
        (["explain", RUN], 2, "an input or --split"),
        (["explain", RUN, folder / "b.png", "--split", "valid"], 2, "an input or --split"),
        (["explain", FILE, "--split", "valid"], 2, "give the run folder"),
        (["explain", STORED / "run_v1" / "text_attn", "--split", "valid"], 2, "does not caption"),
        (["explain", RUN, folder / "b.png", "--deletion.share", 0.9], 2, "share is 0.9"),
        (["explain", RUN, folder / "b.png", "--deletion.shar", 0.1], 2, "Did you mean share"),
        (["explain", RUN, folder / "c.png", "--out", tmp_path / "c.png"], 1, "damaged"),
    ):
        code, out, err = run(*words, *(["--quiet"] if words[0] == "predict" else []))
        assert (code, out) == (wanted, "") and message in err and err.count("\n") == 1, (words, err)
    assert not page.exists() and not (tmp_path / "c.png").exists()
    code, out, _ = run("predict", text, str(folder))  # to a text classifier it is a text
    assert code == 0 and out


def test_explain_a_picture(run: Call, folder: Path, tmp_path: Path) -> None:
    out_file = tmp_path / "words.png"
    code, out, _ = run("explain", RUN, folder / "b.png", "--out", out_file)
    assert code == 0 and "hide most" in out and "mean" in out and f"Wrote {out_file}" in out and out_file.exists()
    code, out, _ = run("explain", RUN, folder / "b.png", "--out", out_file, "--json", "--deletion.fill", "blur")
    record = json.loads(out)
    assert (
        code == 0
        and record["faithfulness"]["fill"] == "blur"
        and {"drop_most", "drop_least", "drop_random"} <= (record["words"][0].keys() & record["faithfulness"].keys())
    )
    code, out, _ = run("explain", RUN, folder / "b.png", "--out", out_file, "--json", "--no-faithfulness")
    assert code == 0 and "words" not in json.loads(out)
    code, out, _ = run("explain", FILE, folder / "b.png", "--out", out_file)
    assert code == 0 and "export it again" in out


def test_explain_a_split(run: Call, tiny_data: Callable[[str], Path], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(RUN, folder)
    stored = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    stored["data"] = {"reference": str(tiny_data("captioning")), "options": {}}
    (folder / "run.json").write_text(json.dumps(stored), encoding="utf-8")
    code, out, err = run("explain", folder, "--split", "valid", "--limit", 2)
    assert code == 0 and "of 2 captions, 1 of 9 cells hidden" in out and "least attended" in out
    assert "Hide parts of pictures 1 to 2 of 2" in err
    code, out, err = run("explain", folder, "--split", "valid", "--limit", 2, "--json")
    assert code == 0 and err == "" and json.loads(out)["pictures"] == 2
    assert json.loads((folder / "faithfulness.json").read_text())["valid"] == json.loads(out)


def test_the_page_needs_neither_keras_nor_matplotlib(folder: Path, tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "class Block:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('keras', 'tensorflow', 'jax', 'matplotlib', 'tokenizers', 'sklearn'):\n"
        "            raise ImportError(name + ' is blocked')\n"
        "sys.meta_path.insert(0, Block())\n"
        "from zoo.cli import main\n"
        f"main(['predict', {str(FILE)!r}, {str(folder)!r}, '--html', {str(tmp_path / 'page.html')!r}, '--quiet'])\n"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "page.html").read_text(encoding="utf-8").count('<li class="shot"') == 2
