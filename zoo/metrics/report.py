"""Rows that show a model's metrics beside its baselines'."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def summarise(
    model: Mapping[str, Any], baselines: Mapping[str, Mapping[str, Any]], keys: Sequence[str], name: str = "model"
) -> list[dict[str, Any]]:
    """Line up the chosen metrics of a model and its baselines.

    Args:
        model: Metrics of the model.
        baselines: Metrics of each baseline by its name.
        keys: The metrics to show, in order; a dot goes into a nested dictionary (``classes.positive.f1``).
        name: What the model's row is called.

    Returns:
        One dictionary a row, the model first: ``name``, every key (None where a metric was not measured), and
        ``<key>_se`` where any row has a standard error for it.
    """
    rows = {name: model} | dict(baselines)
    columns = []
    for key in keys:
        columns.append(key)
        if any(_look_up(metrics, f"{key}_se") is not None for metrics in rows.values()):
            columns.append(f"{key}_se")
    return [{"name": row, **{key: _look_up(metrics, key) for key in columns}} for row, metrics in rows.items()]


def _look_up(metrics: Mapping[str, Any], key: str) -> Any:
    """Return the entry `key`, or the one at the dotted path, or None."""
    if key in metrics:
        return metrics[key]
    head, _, rest = key.partition(".")
    inner = metrics.get(head)
    return _look_up(inner, rest) if rest and isinstance(inner, Mapping) else None
