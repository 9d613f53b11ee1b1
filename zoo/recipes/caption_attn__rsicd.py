"""`caption_attn` on `rsicd`."""

from __future__ import annotations

from zoo.registry import Recipe

RECIPE = Recipe(
    architecture="caption_attn",
    data="rsicd",
    title="sentences for aerial photographs",
    cost="50 min on 2 cores",
    expected={"cider": 2.5, "bleu4": 0.42},
    expected_split="valid",
    model={
        "encoder": "efficientnet_lite0",
        "vocabulary": "words",
        "vocab_size": 1118,
        "max_length": 20,
        "d_model": 256,
        "mlp_dim": 1024,
        "views": "all",
    },
    train={
        "epochs": 5,
        "batch_size": 32,
        "learning_rate": 1e-3,
        "weight_decay": 0.05,
        "label_smoothing": 0.1,
        "finetune_epochs": 3,
        "finetune_rate": 2e-4,
        "reward_epochs": 6,
        "reward_rate": 1e-4,
        "precision": "mixed_bfloat16",
        "monitor": "val_cider",
        "monitor_mode": "max",
    },
    quick_model={"views": "none"},
    quick_train={"epochs": 1, "finetune_epochs": 1, "reward_epochs": 1, "steps_per_epoch": 5},
)
