"""The tiny datasets of all tasks, as a user's own files and as shards."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from zoo import datasets
from zoo.datasets import Dataset
from zoo.datasets._write_shards import write_shards
from zoo.registry import architecture
from zoo.tasks import get_task

_MODELS = {"captioning": "caption_attn", "text_classification": "text_attn", "forecasting": "price_attn"}


@pytest.fixture(scope="module")
def direct(tiny_data: Callable[[str], Path]) -> Callable[[str], Dataset]:
    """Return a function from a task to its tiny dataset, read from the user's own files."""

    def load(task: str) -> Dataset:
        options = get_task(task).data_options(architecture(_MODELS[task]).tiny())
        return datasets.load(tiny_data(task), task=task, **options)

    return load


@pytest.fixture(scope="module")
def written(direct: Callable[[str], Dataset], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function from a task to the folder of its shards, made once."""
    made: dict[str, Path] = {}

    def folder(task: str) -> Path:
        if task not in made:
            made[task] = tmp_path_factory.mktemp("shards") / task
            write_shards(direct(task), made[task], shards=3)
        return made[task]

    return folder
