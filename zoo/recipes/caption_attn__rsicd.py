"""`caption_attn` on `rsicd`: sentences for aerial photographs, from EfficientNet-Lite0.

Papers: Xu et al. 2015 (arXiv:1502.03044), Rennie et al. 2017 (arXiv:1612.00563), Luo 2020 (arXiv:2003.09971); data: Lu
et al. 2017 (arXiv:1712.07835).

Three epochs of cross-entropy from frozen features, two in which the encoder's last stages learn too, four of
self-critical training. Measured once by `benchmarks/rsicd.py` on the validation split: 1,094 pictures, of which 496 are
novel (none of their captions is a training caption). CIDEr, with that of the novel part and its bootstrap interval
against `caption_floor__rsicd`:

| | BLEU-4 | CIDEr | novel: BLEU-4, CIDEr | against the floor, 95% | copied |
|---|---|---|---|---|---|
| nearest training picture by pixels | .089 | .354 | .070, .248 | | 1 |
| nearest training picture by features | .255 | 1.419 | .189, .899 | | 1 |
| floor, greedy | .394 | 2.244 | .255, 1.253 | | .727 |
| floor, beam search of width 3 | .417 | 2.339 | .288, 1.357 | +8% (2 to 16) | .832 |
| after cross-entropy, greedy | .418 | 2.318 | .278, 1.293 | +3% (-4 to 12) | .744 |
| after cross-entropy, beam | .458 | 2.523 | .320, 1.430 | +14% (5 to 23) | .867 |
| after fine-tuning, greedy | .431 | 2.478 | .289, 1.402 | +12% (4 to 22) | .754 |
| after fine-tuning, beam | .463 | 2.596 | .321, 1.481 | +18% (10 to 28) | .851 |
| **after the reward, greedy** | .471 | 2.754 | .327, 1.591 | +27% (17 to 38) | .741 |
| after the reward, beam | .470 | 2.755 | .327, 1.601 | +28% (18 to 39) | .750 |

With a frozen encoder, no mirrored views and rewards that are not scaled, after the reward, greedy and beam:

| | CIDEr | novel: CIDEr | against the floor | copied |
|---|---|---|---|---|
| lite0 | 2.638, 2.652 | 1.500, 1.501 | +20%, +20% | .827, .830 |
| lite0, no channel and spatial attention | 2.673, 2.690 | 1.567, 1.578 | +25%, +26% | .809, .822 |
| lite2 | 2.578, 2.617 | 1.460, 1.453 | +17%, +16% | .797, .821 |

One seed each: neither channel and spatial attention before the decoder nor the larger encoder is seen to pay on this
data. Scaled rewards do: after one epoch of the reward the fine-tuned model had 2.640, novel 1.519, with them, and
2.614, 1.480, without. The captions use 75 different words after the reward and 114 before it.

The stages took 432 s, 788 s and 3,482 s on two cores that had other work, with at most 4.1 GB. The file with 8-bit
weights and activations takes 7.9 MB and loses .3% of CIDEr on 500 pictures; one core answers in 6.8 ms (float32: 26.4
MB, 14.0 ms; 8-bit weights alone: 8.1 MB, 19.5 ms).

    zoo train caption_attn__rsicd --data-dir DIR
    zoo evaluate runs/caption_attn-rsicd-001 --split valid
"""

from __future__ import annotations

from zoo.registry import Recipe

RECIPE = Recipe(
    architecture="caption_attn",
    data="rsicd",
    title="sentences for aerial photographs",
    cost="80 min on 2 cores",
    expected={"cider": 2.75, "bleu4": 0.47},
    expected_split="valid",
    model={
        "encoder": "efficientnet_lite0",
        "vocabulary": "words",
        "vocab_size": 1118,
        "max_length": 20,
        "d_model": 256,
        "mlp_dim": 1024,
        "views": "mirror",
    },
    train={
        "epochs": 3,
        "batch_size": 32,
        "learning_rate": 1e-3,
        "weight_decay": 0.05,
        "label_smoothing": 0.1,
        "finetune_epochs": 2,
        "reward_epochs": 4,
        "reward_rate": 1e-4,
        "precision": "mixed_bfloat16",
        "monitor": "val_cider",
        "monitor_mode": "max",
    },
    quick_train={"epochs": 1, "finetune_epochs": 1, "reward_epochs": 1, "steps_per_epoch": 5},
    limits=(
        "It knows photographs from the air, and about 75 English words.",
        "Three of four captions are sentences of the training set.",
    ),
)
