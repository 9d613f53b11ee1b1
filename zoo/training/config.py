"""How to train: the hyper-parameters that every task shares."""

from __future__ import annotations

from dataclasses import dataclass

from zoo.config import BaseConfig, setting

_LARGER_IS_BETTER = ("accuracy", "f1", "cider")


@dataclass(frozen=True)
class TrainConfig(BaseConfig):
    """Hyper-parameters of training.

    AdamW (Loshchilov and Hutter 2019) with linear warm-up and cosine decay to zero; weight decay leaves biases,
    normalisation and position tables alone.
    """

    epochs: int = setting(20, low=1, high=100_000)
    """Passes over the training examples in the first stage, which is the only one where no other is asked for."""
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
    finetune_epochs: int = setting(0, low=0, high=100_000)
    """A second stage of so many epochs in which the last stages of a pretrained encoder are trained too."""
    finetune_rate: float = setting(1e-4, low=0.0, high=10.0)
    """Peak learning rate of fine-tuning."""
    reward_epochs: int = setting(0, low=0, high=100_000)
    """Captioning: a last stage of so many epochs of self-critical training, whose reward is CIDEr-D."""
    reward_rate: float = setting(5e-5, low=0.0, high=10.0)
    """Peak learning rate of self-critical training."""
    reward_baseline: str = setting("mean", choices=("greedy", "mean"))
    """What a sampled caption's reward is compared with: the greedy caption's, or the mean of the other samples'. After
    label smoothing nearly all samples are worse than the greedy caption, and training may go astray with the first."""
    reward_scale: bool = setting(True)
    """Whether a picture's advantages are divided by their standard deviation, so that pictures with one caption that is
    easily met do not outweigh the others."""
    captions: int = setting(2, low=1, high=64)
    """Captioning with a pretrained encoder: different captions of a picture in a step."""
    repeats: bool = setting(True)
    """Captioning with a pretrained encoder: whether a caption given several times weighs as much more."""
    reward_samples: int = setting(5, low=1, high=64)
    """Self-critical training: captions sampled for a picture in a step."""
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
        if self.reward_baseline == "mean" and self.reward_samples < 2:
            raise self.fail("reward_samples", "at least 2 where the baseline is the mean of the others")
        if self.monitor_mode == "min" and self.monitor.endswith(_LARGER_IS_BETTER):
            raise self.fail("monitor_mode", f"'max' where the monitor is '{self.monitor}'")
        if self.batch_size % self.micro_batches:
            raise self.fail("micro_batches", f"a divisor of batch_size ({self.batch_size})")
        if self.profile_steps is not None and self.profile_steps[0] >= self.profile_steps[1]:
            raise self.fail("profile_steps", "two numbers, the first smaller than the second")
