"""How to train: the hyper-parameters that every task shares."""

from __future__ import annotations

from dataclasses import dataclass

from zoo.config import BaseConfig, setting


@dataclass(frozen=True)
class TrainConfig(BaseConfig):
    """Hyper-parameters of training.

    AdamW (Loshchilov and Hutter 2019) with linear warm-up and cosine decay to zero; weight decay leaves biases,
    normalisation and position tables alone.
    """

    epochs: int = setting(20, low=1, high=100_000)
    """Passes over the training examples."""
    batch_size: int = setting(32, low=1, high=65_536)
    """Examples a step; made smaller where there are fewer examples."""
    steps_per_epoch: int | None = setting(None, low=1)
    """Steps an epoch; all training examples when not given."""
    learning_rate: float = setting(1e-3, low=0.0, high=10.0)
    """Peak learning rate."""
    warmup: float = setting(0.05, low=0.0, high=1.0)
    """Share of all steps in which the learning rate rises linearly."""
    weight_decay: float = setting(0.01, low=0.0, high=10.0)
    """Decoupled weight decay."""
    beta_2: float = setting(0.98, low=0.0, high=1.0)
    """Decay of AdamW's second moment."""
    micro_batches: int = setting(1, low=1, high=4096)
    """Gradient accumulation: parts of a batch computed one after the other, for batches that do not fit the memory."""
    clip_norm: float = setting(1.0, low=0.0)
    """Largest global norm of the gradient; 0 means no clipping."""
    label_smoothing: float = setting(0.0, low=0.0, high=0.9)
    """Share of the target probability spread over all classes or tokens."""
    ema: float = setting(0.0, low=0.0, high=0.999999)
    """Momentum of the exponential moving average of the weights; 0 means none."""
    patience: int = setting(0, low=0)
    """Stop after this many epochs without a better `monitor`; 0 means never. The best weights are restored always."""
    monitor: str = setting("val_loss")
    """Validation value that decides which weights are best."""
    monitor_mode: str = setting("min", choices=("min", "max"))
    """Whether a smaller or a larger monitored value is better."""
    precision: str = setting("float32", choices=("float32", "mixed_bfloat16", "mixed_float16"))
    """Keras dtype policy."""
    seed: int = setting(0, low=0, high=2**31 - 1)
    """Seed of weights, shuffling, dropout and augmentation."""
    samples: int = setting(3, low=0)
    """How often example answers are written to TensorBoard during training."""
    log_every: int = setting(10, low=1)
    """Steps between two values of a step in TensorBoard; reading them waits for the device."""
    checkpoint_minutes: float = setting(5.0, low=0.0)
    """Longest time without a checkpoint; there is always one at the end of an epoch."""
    steps_per_call: int = setting(1, low=1, high=1000)
    """TensorFlow: optimizer steps in one call of a graph, for fast accelerators; JAX runs ahead without it."""
    stall_minutes: float = setting(10.0, low=0.0)
    """Several processes: give up when a step takes longer than this, as when another process is gone; 0 means never."""
    profile_steps: tuple[int, int] | None = setting(None, low=0)
    """First step of a profiler trace, and the step after the last; none when not given."""
    wandb: bool = setting(False)
    """Whether to log to Weights & Biases too."""

    def check(self) -> None:
        """Check relations between fields."""
        if self.batch_size % self.micro_batches:
            raise self.fail("micro_batches", f"a divisor of batch_size ({self.batch_size})")
        if self.profile_steps is not None and self.profile_steps[0] >= self.profile_steps[1]:
            raise self.fail("profile_steps", "two numbers, the first smaller than the second")
