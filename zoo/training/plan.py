"""What to train on what: defaults, recipe and the user's overrides combined. Needs no Keras."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from zoo import datasets
from zoo.config import BaseConfig
from zoo.errors import DataError
from zoo.registry import Recipe, architecture
from zoo.training.config import TrainConfig


@dataclasses.dataclass(frozen=True)
class Plan:
    """Everything that decides a training run.

    Attributes:
        name: Registered name of the architecture.
        data: Dataset reference.
        config: The architecture's configuration, before the data fills in vocabulary, classes or features.
        train: Training hyper-parameters.
        options: Options of the dataset.
    """

    name: str
    data: str
    config: BaseConfig
    train: TrainConfig
    options: dict[str, Any]


def make_plan(
    name: str,
    recipe: Recipe | None,
    data: str | None,
    *,
    quick: bool = False,
    model: dict[str, Any] | None = None,
    train: dict[str, Any] | None = None,
    options: dict[str, Any] | None = None,
    data_dir: str | Path | None = None,
) -> Plan:
    """Combine defaults, recipe and the user's overrides, in this order; `data_dir` is where the dataset's files lie.

    Raises:
        DataError: If no dataset is given and the architecture has no recipe.
        ConfigError: If an override does not exist or has a bad value, or the dataset takes no folder.
    """
    if data is None:
        if recipe is None:
            raise DataError(
                f"'{name}' has no recipe; name a dataset or a path with data=... (--data on the command line)."
            )
        data = recipe.data
    if data_dir is not None:
        options = {**(options or {}), **datasets.folder_option(data, data_dir, architecture(name).task)}

    def merged(field: str, own: dict[str, Any] | None) -> dict[str, Any]:
        base: dict[str, Any] = (getattr(recipe, field) or {}) if recipe else {}
        small = (getattr(recipe, f"quick_{field}") or {}) if recipe and quick else {}
        if recipe is None and quick and field == "train":
            base = {"epochs": 2}
        return {**base, **small, **(own or {})}

    return Plan(
        name=name,
        data=data,
        config=architecture(name).Config().replace(**merged("model", model)),
        train=TrainConfig().replace(**merged("train", train)),
        options=merged("options", options),
    )
