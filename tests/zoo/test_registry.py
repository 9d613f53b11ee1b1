"""The catalogue: names, patterns, and what a second registration does."""

from __future__ import annotations

import subprocess
import sys

import pytest

import zoo
from zoo.errors import UnknownNameError, ZooError
from zoo.registry import Architecture, architecture, architectures, find_recipe, recipes, register
from zoo.tasks import get_task, task_names
from zoo.training.plan import make_plan

FLAGSHIPS = {"caption_attn", "text_attn", "price_attn"}


def test_flagships_are_listed() -> None:
    assert set(zoo.list_models()) >= FLAGSHIPS
    assert zoo.list_models("caption*") == ["caption_attn"]
    assert zoo.list_models(task="forecasting") == ["price_attn"]
    assert zoo.list_models("none*") == []


def test_unknown_names_are_answered_with_near_ones() -> None:
    with pytest.raises(UnknownNameError, match="'caption_atn'. Did you mean caption_attn"):
        architecture("caption_atn")
    with pytest.raises(UnknownNameError, match="No task is named 'forecast'. Did you mean forecasting"):
        zoo.list_models(task="forecast")


def test_a_name_is_registered_once() -> None:
    with pytest.raises(ZooError, match="already registered by zoo.models.caption_attn"):
        register("caption_attn", task="captioning", paper="")(type("Again", (Architecture,), {}))


def test_every_architecture_is_complete() -> None:
    for name, cls in architectures().items():
        assert cls.task in task_names() and cls.paper and cls.__doc__
        assert isinstance(cls.tiny(), cls.Config), name
        shown = zoo.show(name)
        assert shown["config"] == cls.Config().to_dict() and (shown["recipes"] or cls.pretrained_weights)


def test_every_recipe_is_complete_and_quick_is_smaller() -> None:
    assert set(recipes()) >= {
        "caption_attn__emoji",
        "text_attn__tweets",
        "text_attn__reviews_zh",
        "price_attn__stocks",
        "price_attn__sp500",
    }
    for name, recipe in recipes().items():
        assert name.endswith(f"__{recipe.data}") and name.startswith(recipe.architecture.partition("_")[0])
        if not name.startswith(f"{recipe.architecture}__"):  # another recipe for the same, asked for by its own name
            assert find_recipe(recipe.architecture, recipe.data) is not recipe
        assert recipe.expected and recipe.cost and recipe.title
        assert get_task(architecture(recipe.architecture).task).main_metric in recipe.expected, name
        full, quick = (make_plan(recipe.architecture, recipe, None, quick=quick) for quick in (False, True))
        assert quick.train.epochs <= full.train.epochs and quick != full
    assert {name for name in architectures() if find_recipe(name) is not None} >= FLAGSHIPS


def test_catalogue_needs_no_keras() -> None:
    code = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("keras", "tensorflow", "jax"):
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Block())
from zoo.cli import main
for words in (["list"], ["show", "caption_attn"], ["--help"], ["train", "price_attn", "--help"], ["list", "--json"]):
    try:
        main(words)
    except SystemExit as stop:
        assert not stop.code, (words, stop.code)
try:
    main(["train", "price_attn"])
except SystemExit as stop:
    assert stop.code == 1
"""
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "caption_attn" in done.stdout and "--model.window" in done.stdout
    assert done.stderr.strip().endswith("pip install 'attention-zoo[tf]'.")
