"""Training: configuration, input pipeline, the loop, and what is written while it runs."""

from __future__ import annotations

from zoo.training.config import TrainConfig

__all__ = ["TrainConfig"]
