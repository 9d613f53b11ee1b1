"""AdamW with warm-up, cosine decay, clipping and an optional moving average of the weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zoo.training.config import TrainConfig

if TYPE_CHECKING:
    import keras

_NO_DECAY = ("bias", "gamma", "beta", "position")


def make_optimizer(config: TrainConfig, total_steps: int, learning_rate: float | None = None) -> keras.Optimizer:
    """Return the optimizer for a stage of `total_steps` steps.

    Args:
        config: Hyper-parameters.
        total_steps: Steps from the warm-up to a rate of 0.
        learning_rate: Peak; the configuration's when not given.

    It does not clip: the engine does, after gradients are added up over replicas (`zoo.training.workarounds`). Under
    `mixed_float16` Keras wraps it in a loss-scaling optimizer by itself when the model is compiled.
    """
    import keras

    peak = config.learning_rate if learning_rate is None else learning_rate
    warmup_steps = min(int(round(config.warmup * total_steps)), max(total_steps - 1, 0))
    schedule = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0 if warmup_steps else peak,
        decay_steps=max(total_steps - warmup_steps, 1),
        warmup_target=peak if warmup_steps else None,
        warmup_steps=warmup_steps,
    )
    kind = keras.optimizers.AdamW
    if keras.backend.backend() == "tensorflow":
        from zoo.training.optimizer_tensorflow import FusedAdamW

        kind = FusedAdamW
    optimizer = kind(
        learning_rate=schedule,
        weight_decay=config.weight_decay,
        beta_2=config.beta_2,
        use_ema=config.ema > 0,
        ema_momentum=config.ema or 0.99,
        name="adam_w",  # of its variables, on both backends
    )
    optimizer.exclude_from_weight_decay(var_names=list(_NO_DECAY))
    return optimizer
