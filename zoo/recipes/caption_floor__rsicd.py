"""The plain floor on `rsicd`, there to be compared with.

A decoder of two layers on the same frozen features, cross-entropy on the different captions of a picture, and none of
what `caption_attn__rsicd` has more: attention before the decoder, weights of repeated captions, label smoothing,
fine-tuning, reward. The best epoch is chosen by the same rule.

    zoo train caption_floor__rsicd --data-dir DIR
"""

from __future__ import annotations

from zoo.registry import Recipe

RECIPE = Recipe(
    architecture="caption_attn",
    data="rsicd",
    title="sentences for aerial photographs: the plain floor",
    cost="15 min on 2 cores",
    expected={"cider": 2.24, "bleu4": 0.39},
    expected_split="valid",
    model={
        "encoder": "efficientnet_lite0",
        "attention": None,
        "vocabulary": "words",
        "vocab_size": 3000,
        "max_length": 30,
        "d_model": 256,
        "mlp_dim": 1024,
    },
    train={
        "epochs": 8,
        "batch_size": 32,
        "learning_rate": 1e-3,
        "repeats": False,
        "monitor": "val_cider",
        "monitor_mode": "max",
    },
    quick_train={"epochs": 1, "steps_per_epoch": 5},
)
