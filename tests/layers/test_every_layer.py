"""The shared layer check over every layer of `zoo.layers`; a layer without a case here is a failure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import zoo.layers

RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, 6, 8)).astype("float32")
MEMORY = RNG.normal(size=(2, 5, 12)).astype("float32")
TOKENS = RNG.integers(1, 11, (2, 6)).astype("int32")
PADDED_TOKENS = np.where(np.arange(6) < [[4], [6]], TOKENS, 0).astype("int32")
MAP = RNG.normal(size=(2, 3, 4, 8)).astype("float32")
IMAGE = RNG.uniform(size=(2, 24, 24, 4)).astype("float32")
PRICES = RNG.uniform(20, 30, (2, 6, 4)).astype("float32")
SCORES = {"return_scores": True}
KEPT_POSITIONS = {"argument": "mask", "source": 0, "per_position": True}
BLOCK = {"d_model": 8, "num_heads": 2, "mlp_dim": 16}
CNN = {"filters": (8, 16), "blocks": (1, 2), "d_model": 12}

# Layer name -> cases: config, inputs, output shapes, and what else LayerCase takes.
CASES: dict[str, list[dict[str, Any]]] = {
    "AdditiveAttention": [
        {
            "config": {"units": 7},
            "inputs": (X, MEMORY),
            "output_shapes": ((2, 6, 12), (2, 6, 5)),
            "call_arguments": SCORES,
            "masking": {"argument": "mask", "source": 1, "outputs": (0, 1), "per_position": False},
        },
    ],
    "AttentionPooling": [
        {
            "config": {"units": units},
            "inputs": (X,),
            "output_shapes": ((2, 8), (2, 6)),
            "masking": {"argument": "mask", "source": 0, "outputs": (0, 1), "per_position": False},
        }
        for units in (None, 5)
    ],
    "ByteDropout": [{"config": {"rate": 0.3}, "inputs": (X,), "output_shapes": (X.shape,)}],
    "CBAM": [{"config": {"reduction": 2}, "inputs": (MAP,), "output_shapes": (MAP.shape,)}],
    "CNNFeatureExtractor": [
        {
            "config": {**CNN, "attention": attention},
            "inputs": (IMAGE,),
            "output_shapes": ((2, 3, 3, 12),),
            "half_tolerance": 0.3,
        }
        for attention in ("cbam", "se", None)
    ],
    "ChannelAttention": [
        {"config": {"reduction": 2, "use_max": use_max}, "inputs": (MAP,), "output_shapes": (MAP.shape,)}
        for use_max in (True, False)
    ],
    "EfficientNetLite": [
        {
            "config": {"width": 0.1, "depth": 0.3, "head": 12, **stages},
            "inputs": (inputs,),
            "output_shapes": (shape,),
            "half_tolerance": 0.3,
        }
        for stages, inputs, shape in (
            ({"last": 3}, IMAGE[..., :3], (2, 3, 3, 8)),
            ({"variant": "lite2", "first": 4, "last": 5}, MAP, (2, 2, 2, 16)),
            ({"first": 7}, np.tile(MAP, 3), (2, 3, 4, 12)),
        )
    ],
    "InvertedResidual": [
        {"config": {"filters": filters, **options}, "inputs": (MAP,), "output_shapes": (shape,)}
        for filters, options, shape in (
            (8, {}, MAP.shape),
            (8, {"expansion": 1}, MAP.shape),
            (5, {"kernel_size": 5, "stride": 2}, (2, 2, 2, 5)),
        )
    ],
    "LayerNorm": [{"config": {"epsilon": 1e-3}, "inputs": (X,), "output_shapes": (X.shape,)}],
    "MultiHeadCrossAttention": [
        {
            "config": {"d_model": 8, "num_heads": 2, "dropout": dropout},
            "inputs": (X, MEMORY),
            "output_shapes": ((2, 6, 8), (2, 2, 6, 5)),
            "call_arguments": SCORES,
            "masking": {"argument": "memory_mask", "source": 1, "outputs": (0, 1), "per_position": False},
        }
        for dropout in (0.0, 0.2)
    ],
    "MultiHeadSelfAttention": [
        {
            "config": {"d_model": 8, "num_heads": 2, **options},
            "inputs": (X,),
            "output_shapes": ((2, 6, 8), (2, 2, 6, 6)),
            "call_arguments": SCORES,
            "masking": {**KEPT_POSITIONS, "outputs": outputs},
        }
        for options, outputs in (
            ({"dropout": 0.2}, (0,)),
            ({"rotary": True}, (0,)),
            ({"window": 3, "rotary": True}, (0,)),
        )
    ]
    + [
        # Kept positions come first here, so a causal layer cannot see the padding anyway: the effect of masks on causal
        # layers is tested in test_self_attention.py.
        {
            "config": {"d_model": 8, "num_heads": 2, "causal": True, "window": 3, "rotary": True, "dropout": 0.2},
            "inputs": (X,),
            "output_shapes": ((2, 6, 8),),
        },
    ],
    "PathHead": [
        {
            "config": {"horizon": 3, "levels": [0.1, 0.5, 0.8, 0.9], "lags": lags, "log_prices": log_prices},
            "inputs": (X[:, 0], X, MEMORY[:, 0], PRICES[:, -1:, 0], PRICES[:, :1, 1] / 1000),
            "output_shapes": ((2, 3), (2, 3, 4)),
            "float32_outputs": (0, 1),
        }
        for lags, log_prices in ((2, True), (0, False))
    ],
    "NGramClassifier": [
        {
            "config": {"num_classes": 5, "vocab_size": 11, "rows": 3, "longest": longest},
            "inputs": (PADDED_TOKENS,),
            "output_shapes": ((2, 5),),
        }
        for longest in (1, 3)
    ],
    "NGramEmbedding": [
        {
            "config": {"dim": 5, "buckets": 3, "orders": (1, 2), "bag": bag},
            "inputs": (PADDED_TOKENS,),
            "output_shapes": (shape,),
        }
        for bag, shape in ((False, (2, 6, 5)), (True, (2, 5)))
    ],
    "OpinionPool": [{"config": {"share": 0.4}, "inputs": (X[:, 0], X[:, 1]), "output_shapes": ((2, 8),)}],
    "PositionalEncoding": [
        {"config": {"kind": "sinusoidal"}, "inputs": (X,), "output_shapes": (X.shape,)},
        {"config": {"kind": "learned", "max_length": 6}, "inputs": (X,), "output_shapes": (X.shape,)},
        {"config": {"kind": "2d"}, "inputs": (MAP,), "output_shapes": (MAP.shape,)},
        {"config": {"kind": "learned_2d"}, "inputs": (MAP,), "output_shapes": (MAP.shape,)},
    ],
    "ResidualBlock": [
        {"config": {"filters": 8, "attention": "se"}, "inputs": (MAP,), "output_shapes": (MAP.shape,)},
        {
            "config": {"filters": 16, "stride": 2, "attention": "cbam", "activation": "silu"},
            "inputs": (MAP,),
            "output_shapes": ((2, 2, 2, 16),),
        },
    ],
    "RevIN": [
        {
            "config": {"affine": affine},
            "inputs": (X,),
            "output_shapes": (X.shape, (2, 1, 8), (2, 1, 8)),
            "float32_outputs": (1, 2),
        }
        for affine in (True, False)
    ],
    "SpatialAttention": [{"config": {"kernel_size": 3}, "inputs": (MAP,), "output_shapes": (MAP.shape,)}],
    "TokenDropout": [
        {
            "config": {"rate": 0.5, "replacement": 3},
            "inputs": (PADDED_TOKENS,),
            "output_shapes": ((2, 6),),
            "output_dtype": "int32",
        },
    ],
    "TransformerDecoder": [
        {
            "config": {
                **BLOCK,
                "vocab_size": 11,
                "num_layers": 2,
                "max_length": 6,
                "dropout": 0.1,
                "tie_embeddings": tie_embeddings,
            },
            "inputs": (TOKENS, MEMORY),
            "output_shapes": ((2, 6, 11), (2, 6, 5)),
            "call_arguments": SCORES,
            "float32_outputs": (0,),
        }
        for tie_embeddings in (True, False)
    ],
    "TransformerDecoderBlock": [
        {
            "config": {**BLOCK, "dropout": 0.1, "rotary": True},
            "inputs": (X, MEMORY),
            "output_shapes": (X.shape, (2, 2, 6, 5)),
            "call_arguments": SCORES,
            "masking": {"argument": "memory_mask", "source": 1, "outputs": (0, 1), "per_position": False},
        },
    ],
    "TransformerEncoderBlock": [
        {
            "config": {**BLOCK, "dropout": 0.1, "window": 4},
            "inputs": (X,),
            "output_shapes": (X.shape, (2, 2, 6, 6)),
            "call_arguments": SCORES,
            "masking": {**KEPT_POSITIONS, "outputs": (0,)},
        },
    ],
    "WindowFeatures": [
        {
            "config": {"target": 1, "price_columns": [0, 1], "log_columns": [2], "log_prices": log_prices},
            "inputs": (PRICES,),
            "output_shapes": ((2, 6, 8), (2, 4), (2, 1), (2, 1)),
            "float32_outputs": (0, 1, 2, 3),
        }
        for log_prices in (True, False)
    ],
}


def layers_of_the_package() -> set[str]:
    return {
        name
        for name in zoo.layers.__all__
        if isinstance(getattr(zoo.layers, name), type) and issubclass(getattr(zoo.layers, name), keras.layers.Layer)
    }


def test_every_layer_has_a_case() -> None:
    assert set(CASES) == layers_of_the_package()


def test_every_layer_file_is_exported(repository: Path) -> None:
    files = {path.stem for path in (repository / "layers").glob("[a-z]*.py")}
    modules = {getattr(zoo.layers, name).__module__.rpartition(".")[2] for name in zoo.layers.__all__}
    assert files == modules


@pytest.mark.parametrize(
    ("name", "case"),
    [(name, case) for name, cases in CASES.items() for case in cases],
    ids=[f"{name}-{index}" for name, cases in CASES.items() for index in range(len(cases))],
)
def test_layer(name: str, case: dict[str, Any], layer_check: Any, layer_case: Any, masking_rule: Any) -> None:
    fields = dict(case)
    if "masking" in fields:
        fields["masking"] = masking_rule(**fields["masking"])
    layer_check(layer_case(layer=getattr(zoo.layers, name), **fields))
