"""The stages of a training, each with its own learning rate; they may train different parts of a model.

Cross-entropy comes first. Fine-tuning trains the last stages of a pretrained encoder too. Self-critical training
follows a reward. Each begins with the best weights of the one before and with a fresh optimizer; epochs are counted
through.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

from zoo.training.config import TrainConfig

Goal = Literal["likelihood", "reward"]


@dataclasses.dataclass(frozen=True)
class Stage:
    """One stage.

    Attributes:
        name: "train", "finetune" or "reward".
        epochs: Number of its epochs.
        learning_rate: Peak learning rate.
        finetune: Whether the last stages of a pretrained encoder are trained.
        goal: What the loss is made of.
    """

    name: str
    epochs: int
    learning_rate: float
    finetune: bool = False
    goal: Goal = "likelihood"


def stages_of(train: TrainConfig) -> list[Stage]:
    """Return the stages that a configuration asks for, in order."""
    finetune = train.finetune_epochs > 0
    stages = [
        Stage("train", train.epochs, train.learning_rate),
        Stage("finetune", train.finetune_epochs, train.finetune_rate, finetune=True),
        Stage("reward", train.reward_epochs, train.reward_rate, finetune=finetune, goal="reward"),
    ]
    return [stage for stage in stages if stage.epochs]
