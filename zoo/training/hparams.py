"""The hyper-parameters of a run as TensorBoard's HPARAMS tab takes them: names and numbers, truths or texts."""

from __future__ import annotations

from typing import Any

from zoo.config import BaseConfig


def hyperparameters(name: str, data: str, config: BaseConfig, train: BaseConfig) -> dict[str, bool | float | str]:
    """Return what decides a run, under the names of the command line's options.

    Args:
        name: Registered name of the architecture.
        data: Dataset reference.
        config: The architecture's configuration.
        train: The training configuration.

    Returns:
        `architecture`, `data`, `model.<field>` and `train.<field>`. Tuples become text; fields without a value are
        left out.
    """
    found: dict[str, bool | float | str] = {"architecture": name, "data": data}
    for group, part in (("model", config), ("train", train)):
        for field, value in part.to_dict().items():
            if value is not None:
                found[f"{group}.{field}"] = _plain(value)
    return found


def _plain(value: Any) -> bool | float | str:
    return value if isinstance(value, (bool, int, float, str)) else ", ".join(map(str, value))
