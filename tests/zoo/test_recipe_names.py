"""Recipes by their own names, and where the files of a dataset lie: `zoo train NAME --data-dir DIR`, and Python."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import zoo
from zoo import datasets
from zoo.commands import train_command
from zoo.errors import ConfigError, DataError, UnknownNameError
from zoo.registry import find_recipe, find_training, recipes
from zoo.training.plan import make_plan

Call = Callable[..., tuple[int, str, str]]

SMALL = {"image_size": 24, "vocab_size": 30, "d_model": 8, "num_heads": 2, "num_layers": 1, "mlp_dim": 8}
SMALL |= {"filters": (4, 8), "blocks": (1, 1), "strides": (2, 2)}
BRIEF = {"epochs": 1, "samples": 0, "batch_size": 8}


def folder_of(tiny_data: Callable[[str], Path], tmp_path: Path) -> Path:
    """The tiny captions in the layout of RSICD, with one picture that cannot be read and one that is missing."""
    made = tmp_path / "aerial"
    made.mkdir()
    lines = []
    for number, path in enumerate(sorted(tiny_data("captioning").glob("*.png"))):
        (made / path.name).write_bytes(b"no picture" if number == 5 else path.read_bytes())
        captions = [f"square {number % 3} .", f"square {number % 3} .", "a square ."]
        split = "valid" if number % 4 == 0 else "train"
        lines.append(json.dumps({"file": path.name, "split": split, "captions": captions}))
    lines.append(json.dumps({"file": "gone.png", "split": "train", "captions": ["gone"]}))
    (made / "captions.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return made


def test_a_name_is_an_architecture_or_a_recipe() -> None:
    for name, recipe in recipes().items():
        cls, found = find_training(name)
        assert (cls.name, found) == (recipe.architecture, recipe)
        assert find_training(recipe.architecture) == (cls, find_recipe(recipe.architecture))
    cls, recipe = find_training("price_attn__stocks", "mine.csv")
    assert recipe is not None and (recipe.data, recipe.options) == ("mine.csv", None)
    assert recipe.train == recipes()["price_attn__stocks"].train
    with pytest.raises(
        UnknownNameError, match="No recipe is named 'caption_attn__emojis'. Did you mean caption_attn__emoji"
    ):
        find_training("caption_attn__emojis")
    with pytest.raises(UnknownNameError, match="No model is named 'caption_atn'. Did you mean caption_attn"):
        find_training("caption_atn")


def test_show_describes_a_recipe(run: Call) -> None:
    shown = zoo.show("caption_attn__emoji")
    assert (shown["architecture"], shown["data"], shown["task"]) == ("caption_attn", "emoji", "captioning")
    assert shown["train"] == recipes()["caption_attn__emoji"].train
    code, out, _ = run("show", "caption_attn__rsicd", "--json")
    assert code == 0 and json.loads(out)["data"] == "rsicd"
    assert run("show", "caption_attn__rsicdd")[0] == 2


def test_the_folder_becomes_the_datasets_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cls, recipe = find_training("caption_attn__rsicd")
    plan = make_plan(cls.name, recipe, None, data_dir="aerial", options={"captions": "a.json"})
    assert plan.data == "rsicd" and plan.options == {"captions": "a.json", "data_dir": str(tmp_path / "aerial")}
    words = ["caption_attn__rsicd", "--data-dir", "aerial"]
    fields = {field.name: field for field in train_command(words).__dataclass_fields__.values()}
    assert fields["options"].default_factory().data_dir == str(tmp_path / "aerial")
    assert fields["train"].default_factory() == plan.train and fields["model"].default_factory() == plan.config
    with pytest.raises(ConfigError, match="'emoji' takes no folder"):
        make_plan("caption_attn", None, "emoji", data_dir=tmp_path)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["train", "caption_attn__emoji", "--data-dir", "x"], 2, "The data 'emoji' takes no folder"),
        (["train", "caption_attn__emojis"], 2, "Did you mean caption_attn__emoji"),
        (["train", "--resume", "x", "--data-dir", "y"], 2, "--resume takes model, data and folder from the run"),
        (
            ["train", "caption_attn", "--data", "rsicd", "--quiet"],
            1,
            "name the folder of your copy with --data-dir DIR",
        ),
        (["train", "caption_attn", "--data", "rsicd", "--data-dir", "no", "--quiet"], 1, "There is no folder '"),
        (["train", "caption_attn", "--data", ".", "--data-dir", "x"], 2, "The data '.' takes no folder"),
        (["data", "prepare", "rsicd", "-o", "x"], 1, "name the folder of your copy with --data-dir DIR"),
        (["data", "prepare", "emoji", "-o", "x", "--data-dir", "y"], 2, "The data 'emoji' takes no folder"),
    ],
)
def test_usage(
    run: Call, words: list[str], code: int, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found, out, err = run(*words)
    assert (found, out) == (code, "") and message in err and err.count("\n") == 1, err
    assert not list(tmp_path.iterdir())


def test_train_from_a_folder_with_bad_pictures(
    run: Call, tiny_data: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command line; what is left out is said although the training is quiet, and the run works from elsewhere."""
    folder = folder_of(tiny_data, tmp_path)
    monkeypatch.chdir(tmp_path)
    sizes = [f"--model.{key.replace('_', '-')}" for key in SMALL]
    values = [" ".join(map(str, value)) if isinstance(value, tuple) else str(value) for value in SMALL.values()]
    words = [word for pair in zip(sizes, values, strict=True) for part in pair for word in part.split()]
    words += [word for key, value in BRIEF.items() for word in (f"--train.{key.replace('_', '-')}", str(value))]
    code, out, err = run(
        *("train", "caption_attn", "--data", "caption_folder", "--data-dir", "aerial", *words),
        *("--quiet", "--json", "--out", "run"),
    )
    assert code == 0, err
    assert err.splitlines() == [
        f"2 of 61 pictures of '{folder}' cannot be used and are left out:",
        "  13.png: is not a PNG, JPEG, GIF, BMP, WEBP, TIFF, PPM file, or its start is damaged",
        f"  gone.png: is not in the folder '{folder}' (line 61)",
    ]
    stored = json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))
    assert stored["data"]["reference"] == "caption_folder" and stored["data"]["options"]["path"] == str(folder)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert len(zoo.load(tmp_path / "run").dataset().split("valid")) == 15


def test_train_in_python_by_a_recipes_name(
    tiny_data: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The recipe's settings on a folder of one's own, whose path in the run does not depend on the working folder."""
    folder = folder_of(tiny_data, tmp_path)
    monkeypatch.chdir(tmp_path)
    run = zoo.train("caption_attn__emoji", "aerial", out="run", model=SMALL, train=BRIEF, quiet=True)
    assert run.data is not None and run.train is not None
    assert run.data["reference"] == run.data["options"]["path"] == str(folder)
    settings = recipes()["caption_attn__emoji"].train or {}
    assert run.train["label_smoothing"] == settings["label_smoothing"] and run.train["epochs"] == 1
    with pytest.raises(DataError, match="with --data-dir DIR"):
        zoo.train("caption_attn", "rsicd", out="other", model=SMALL, train=BRIEF, quiet=True)
    assert not (tmp_path / "other").exists()
    monkeypatch.chdir("/")
    assert len(zoo.load(tmp_path / "run").dataset().split("valid")) == 15


def test_prepare_takes_the_folder(run: Call, tiny_data: Callable[[str], Path], tmp_path: Path) -> None:
    folder = folder_of(tiny_data, tmp_path)
    code, out, err = run(
        "data", "prepare", "rsicd", "--data-dir", folder, "-o", tmp_path / "shards", "--json", "--quiet"
    )
    assert code == 0, err
    assert {row["split"]: row["records"] for row in json.loads(out)["splits"]} == {"train": 44, "valid": 15}
    assert err.startswith("2 of 61 pictures") and err.count("\n") == 4 and "RSICD has 8,734 train" in err
    data = datasets.load(tmp_path / "shards", task="captioning")
    assert data.licence.name == "research use" and data.split("train")[0]["captions"][2] == "a square ."
