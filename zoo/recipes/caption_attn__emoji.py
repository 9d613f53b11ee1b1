"""`caption_attn` on `emoji`: the name of a Twemoji picture.

Paper: Xu et al. 2015, Show, Attend and Tell (arXiv:1502.03044), with a Transformer decoder (arXiv:1706.03762).

Cost: about 7 minutes on 2 cores. Measured with one seed and 20 epochs (value, standard error; greedy search):

| split | measure | model | nearest picture | recoloured nearest picture |
|---|---|---|---|---|
| variants (253) | exact match | .850 (.023) | 0 | .727 (.028) |
| variants | CIDEr | 8.81 (.15) | 4.69 (.11) | 8.27 (.16) |
| test (212, names never seen) | CIDEr | .52 (.06) | .40 (.06) | .55 (.06) |
| test without flags (185) | CIDEr | .57 (.06) | .44 (.06) | .61 (.07) |

Beam search of width 3 changes little (variants .854 and 8.85, test .51). Whole words with augment=0.7 in place of byte
pairs with 0.4: variants .723 (.028), test .49 after 18 epochs. A 5 x 5 map from a wider stem costs the same.

    zoo train caption_attn --data emoji
    zoo evaluate runs/caption_attn-emoji-001 --split variants
"""

from __future__ import annotations

from zoo.registry import Recipe

RECIPE = Recipe(
    architecture="caption_attn",
    data="emoji",
    title="names of emoji pictures",
    cost="7 min on 2 cores",
    expected={"exact_match": 0.85, "cider": 8.8},
    expected_split="variants",
    model={"dropout": 0.1, "augment": 0.4},
    train={
        "epochs": 28,
        "batch_size": 32,
        "learning_rate": 3e-3,
        "weight_decay": 0.05,
        "label_smoothing": 0.05,
        "monitor": "val_accuracy",
        "monitor_mode": "max",
    },
    quick_train={"epochs": 2},
    default=True,
)
