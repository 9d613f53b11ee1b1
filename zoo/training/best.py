"""Which epoch is the best, and when to stop early."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from zoo.errors import TrainingError


class BestEpoch:
    """Follow one value of the epochs' logs.

    Args:
        monitor: Key of the logs.
        mode: "min" or "max".
        patience: Stop after this many epochs without improvement; 0 means never.
    """

    def __init__(self, *, monitor: str, mode: str, patience: int) -> None:
        self.monitor, self.patience = monitor, patience
        self.sign = 1.0 if mode == "min" else -1.0
        self.best: float | None = None
        self.best_epoch = -1
        self.last_epoch = -1
        self.first_epoch = 0

    def wait(self, epoch: int) -> None:
        """Count patience from this epoch on: another stage begins."""
        self.first_epoch = epoch

    def update(self, epoch: int, logs: Mapping[str, float]) -> bool:
        """Return whether this epoch is better than all before; one without a finite value is not.

        Raises:
            TrainingError: If the logs have no such value.
        """
        if self.monitor not in logs:
            raise TrainingError(f"No value is named '{self.monitor}'; monitor one of {', '.join(sorted(logs))}.")
        value = self.sign * float(logs[self.monitor])
        self.last_epoch = epoch
        if not math.isfinite(value) or (self.best is not None and value >= self.best):
            return False
        self.best, self.best_epoch = value, epoch
        return True

    @property
    def should_stop(self) -> bool:
        """Whether patience is at its end."""
        since = max(self.best_epoch, self.first_epoch - 1)
        return bool(self.patience) and self.last_epoch - since >= self.patience

    def state(self) -> dict[str, Any]:
        """Return what `restore` takes."""
        return {"best": self.best, "best_epoch": self.best_epoch, "last_epoch": self.last_epoch}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a stored state."""
        self.best, self.best_epoch, self.last_epoch = state["best"], state["best_epoch"], state["last_epoch"]
