"""Time of one training step of the same Transformer encoder with different attention layers.

Every contender is the same model: the same number of weights, pre-norm blocks, dropout on attention scores and on
residual branches, and a padding mask. They differ in the attention layer (and `blocks` in all layers of a block) and in
compilation only:

- `ours`: `zoo.layers.MultiHeadSelfAttention`; its dropout of 0.1 is 26 in 256 (see `zoo.layers.ByteDropout`).
- `stock`: `keras.layers.MultiHeadAttention`.
- `blocks`: `zoo.layers.TransformerEncoderBlock`, so that norms, hidden layers and residual dropout are ours too: what a
  model of the zoo is made of, and not a comparison of attention alone.
- `sdpa`: a fused projection and `keras.ops.dot_product_attention`, which drops no scores and so does less work.
- `products`: the matrix products of the model and of its gradients alone, on TensorFlow: what is left of a step when
  all that lies between them costs nothing.
- `torch`: the same model in PyTorch, eager, with `scaled_dot_product_attention`; measured when PyTorch is installed.

`plain` is the default of Keras on a CPU, `xla` is `jit_compile=True`. Each round takes one step of every contender, in
an order that is shuffled anew, so that a slow moment of the machine hits them alike; the table shows medians over the
rounds.

    python benchmarks/attention_step.py
    python benchmarks/attention_step.py --rounds 50 --json > attention_step.json

Run it on an otherwise idle machine. With 30 rounds it takes about three minutes on two cores.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import random
import statistics
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from keras import ops

from zoo.layers import MultiHeadSelfAttention, TransformerEncoderBlock

VOCABULARY = 8000
CLASSES = 2
LEARNING_RATE = 1e-3

Step = Callable[[], None]


class FunctionalAttention(keras.layers.Layer):
    """What one writes by hand around `ops.dot_product_attention`: a fused projection and no dropout of scores."""

    def __init__(self, d_model: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = keras.layers.Dense(3 * d_model)
        self.out = keras.layers.Dense(d_model)

    def build(self, x_shape: tuple[int | None, ...]) -> None:
        self.qkv.build(x_shape)
        self.out.build(x_shape)

    def call(self, x: Any, mask: Any) -> Any:
        _, length, d_model = x.shape
        split = ops.reshape(self.qkv(x), (-1, length, 3, self.num_heads, d_model // self.num_heads))
        query, key, value = ops.unstack(split, 3, axis=2)
        y = ops.dot_product_attention(query, key, value, mask=mask[:, None, None, :])
        return self.out(ops.reshape(y, (-1, length, d_model)))


def attend(kind: str, h: Any, mask: Any, args: argparse.Namespace) -> Any:
    """Applies a new attention layer of the given kind to `h` `(batch, length, d_model)`."""
    if kind == "ours":
        return MultiHeadSelfAttention(args.d_model, args.heads, args.dropout)(h, mask=mask)
    if kind == "stock":
        layer = keras.layers.MultiHeadAttention(args.heads, args.d_model // args.heads, dropout=args.dropout)
        return layer(h, h, attention_mask=mask[:, None, :])
    return FunctionalAttention(args.d_model, args.heads)(h, mask)


def keras_model(kind: str, args: argparse.Namespace) -> keras.Model:
    """The encoder with attention layers of the given kind, uncompiled."""
    tokens = keras.Input((args.length,), dtype="int32")
    mask = ops.not_equal(tokens, 0)
    x = keras.layers.Embedding(VOCABULARY, args.d_model)(tokens)
    for _ in range(args.layers):
        if kind == "blocks":
            x = TransformerEncoderBlock(args.d_model, args.heads, 4 * args.d_model, args.dropout)(x, mask=mask)
            continue
        h = attend(kind, keras.layers.LayerNormalization()(x), mask, args)
        x = x + keras.layers.Dropout(args.dropout)(h)
        h = keras.layers.Dense(4 * args.d_model, activation="gelu")(keras.layers.LayerNormalization()(x))
        x = x + keras.layers.Dropout(args.dropout)(keras.layers.Dense(args.d_model)(h))
    x = keras.layers.GlobalAveragePooling1D()(keras.layers.LayerNormalization()(x))
    return keras.Model(tokens, keras.layers.Dense(CLASSES)(x))


def keras_step(model: keras.Model, compiled: bool, tokens: np.ndarray, labels: np.ndarray) -> Step:
    """One training step of a Keras model, as `fit` would do it."""
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(LEARNING_RATE), loss, jit_compile=compiled)
    return lambda: model.train_on_batch(tokens, labels)


def products_step(args: argparse.Namespace) -> Step:
    """The matrix products of one training step of the blocks, forward and backward, with nothing between them."""
    import tensorflow as tf

    def new(*shape: int) -> Any:
        return tf.Variable(tf.random.normal(shape))

    rows, width = args.batch * args.length, args.d_model
    sizes = ((width, 3 * width), (width, width), (width, 4 * width), (4 * width, width))
    dense = [(new(rows, i), new(i, o), new(rows, o)) for _ in range(args.layers) for i, o in sizes]
    head = (args.batch, args.heads, args.length)
    attention = [
        [*(new(*head, width // args.heads) for _ in range(4)), new(*head, args.length), new(*head, args.length)]
        for _ in range(args.layers)
    ]

    @tf.function
    def products() -> Any:
        made = []
        for x, kernel, gradient in dense:
            made += [
                x @ kernel,
                tf.matmul(gradient, kernel, transpose_b=True),
                tf.matmul(x, gradient, transpose_a=True),
            ]
        for query, key, value, gradient, weights, slope in attention:  # slope: the gradient of the scores
            made += [tf.matmul(query, key, transpose_b=True), weights @ value]
            made += [tf.matmul(gradient, value, transpose_b=True), tf.matmul(weights, gradient, transpose_a=True)]
            made += [slope @ key, tf.matmul(slope, query, transpose_a=True)]
        return tf.add_n([tf.reshape(product, [-1])[0] for product in made])

    return lambda: products().numpy()


def torch_step(args: argparse.Namespace, tokens: np.ndarray, labels: np.ndarray) -> tuple[Step, int]:
    """One eager training step of the same model in PyTorch, and its number of weights."""
    import torch
    from torch import nn
    from torch.nn import functional

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            d_model = args.d_model
            self.norm_1, self.norm_2 = nn.LayerNorm(d_model, eps=1e-3), nn.LayerNorm(d_model, eps=1e-3)
            self.qkv, self.out = nn.Linear(d_model, 3 * d_model), nn.Linear(d_model, d_model)
            self.mlp = nn.Sequential(nn.Linear(d_model, 4 * d_model), nn.GELU(), nn.Linear(4 * d_model, d_model))
            self.dropout = nn.Dropout(args.dropout)

        def forward(self, x: Any, mask: Any) -> Any:
            batch, length, d_model = x.shape
            split = self.qkv(self.norm_1(x)).view(batch, length, 3, args.heads, d_model // args.heads)
            query, key, value = split.permute(2, 0, 3, 1, 4)
            y = functional.scaled_dot_product_attention(query, key, value, mask, dropout_p=args.dropout)
            x = x + self.dropout(self.out(y.transpose(1, 2).reshape(batch, length, d_model)))
            return x + self.dropout(self.mlp(self.norm_2(x)))

    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(VOCABULARY, args.d_model)
            self.blocks = nn.ModuleList(Block() for _ in range(args.layers))
            self.norm = nn.LayerNorm(args.d_model, eps=1e-3)
            self.head = nn.Linear(args.d_model, CLASSES)

        def forward(self, batch: Any) -> Any:
            x, mask = self.embedding(batch), (batch != 0)[:, None, None, :]
            for block in self.blocks:
                x = block(x, mask)
            return self.head(self.norm(x).mean(1))

    torch.manual_seed(0)
    model = Encoder().train()
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    inputs, targets = torch.from_numpy(tokens).long(), torch.from_numpy(labels).long()

    def step() -> None:
        optimizer.zero_grad()
        functional.cross_entropy(model(inputs), targets).backward()
        optimizer.step()

    return step, sum(parameter.numel() for parameter in model.parameters())


def contenders(args: argparse.Namespace) -> tuple[dict[str, Step], int]:
    """Every contender's step by name, and the number of weights that all of them have."""
    rng = np.random.default_rng(0)
    tokens = rng.integers(1, VOCABULARY, (args.batch, args.length)).astype("int32")
    lengths = rng.integers(args.length // 4, args.length + 1, args.batch)
    tokens[np.arange(args.length)[None] >= lengths[:, None]] = 0
    labels = rng.integers(0, CLASSES, args.batch).astype("int32")
    steps: dict[str, Step] = {}
    sizes: dict[str, int] = {}
    # Keras on JAX without compilation runs op by op, which nobody trains with.
    modes = (False, True) if keras.backend.backend() == "tensorflow" else (True,)
    for kind in ("ours", "blocks", "stock", "sdpa"):
        for compiled in modes:
            name = f"{kind}, {'xla' if compiled else 'plain'}"
            keras.utils.set_random_seed(0)
            model = keras_model(kind, args)
            steps[name], sizes[name] = keras_step(model, compiled, tokens, labels), model.count_params()
    if keras.backend.backend() == "tensorflow":
        steps["products"] = products_step(args)
    if importlib.util.find_spec("torch") is not None:
        steps["torch, eager"], sizes["torch, eager"] = torch_step(args, tokens, labels)
    if len(set(sizes.values())) != 1:
        raise AssertionError(f"the contenders are not the same model: {sizes}")
    return steps, next(iter(sizes.values()))


def measure(steps: dict[str, Step], rounds: int, warmup: int) -> dict[str, list[float]]:
    """Milliseconds of every step of every contender, in interleaved rounds."""
    for step in steps.values():
        for _ in range(warmup):
            step()
    times: dict[str, list[float]] = {name: [] for name in steps}
    order, shuffler = list(steps), random.Random(0)
    for _ in range(rounds):
        shuffler.shuffle(order)
        for name in order:
            started = time.perf_counter()
            steps[name]()
            times[name].append(1e3 * (time.perf_counter() - started))
    return times


def report(times: dict[str, list[float]], weights: int, args: argparse.Namespace) -> dict[str, Any]:
    """Medians, quartiles and the ratios that matter, ready for JSON."""
    median = {name: statistics.median(values) for name, values in times.items()}
    default = "plain" if "ours, plain" in median else "xla"
    ours = median[f"ours, {default}"]
    stock = {name: value for name, value in median.items() if name.startswith("stock")}
    ratios = {
        f"stock ({default}) / ours ({default})": stock[f"stock, {default}"] / ours,
        f"stock ({default}) / blocks ({default})": stock[f"stock, {default}"] / median[f"blocks, {default}"],
        f"best stock / ours ({default})": min(stock.values()) / ours,
        f"best stock or sdpa / ours ({default})": min(v for k, v in median.items() if k[:4] in ("stoc", "sdpa")) / ours,
    }
    if "products" in median:
        ratios[f"stock ({default}) / products"] = stock[f"stock, {default}"] / median["products"]
    if "torch, eager" in median:
        ratios[f"ours ({default}) / torch"] = ours / median["torch, eager"]
        ratios["best ours / torch"] = min(v for k, v in median.items() if k.startswith("ours")) / median["torch, eager"]
    return {
        "backend": keras.backend.backend(),
        "keras": keras.__version__,
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "machine": platform.machine(),
        "settings": {**{name: value for name, value in vars(args).items() if name != "json"}, "weights": weights},
        "milliseconds": {
            name: dict(zip(("first_quartile", "median", "third_quartile"), statistics.quantiles(values), strict=True))
            for name, values in times.items()
        },
        "ratios": ratios,
        "torch": "measured" if "torch, eager" in median else "torch is not installed",
    }


def print_table(result: dict[str, Any]) -> None:
    """The report for a reader."""
    print(f"keras {result['keras']} on {result['backend']}, {result['cpus']} CPUs, {result['settings']}")
    print(f"{'attention':<16}{'median ms':>12}{'quartiles':>20}")
    for name, value in sorted(result["milliseconds"].items(), key=lambda item: item[1]["median"]):
        quartiles = f"{value['first_quartile']:.1f} - {value['third_quartile']:.1f}"
        print(f"{name:<16}{value['median']:>12.1f}{quartiles:>20}")
    for name, ratio in result["ratios"].items():
        print(f"{name}: {ratio:.2f}")
    if result["torch"] != "measured":
        print(f"no ratio to PyTorch: {result['torch']}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Median training step of one encoder with different attention layers.")
    parser.add_argument("--batch", type=int, default=32, help="sequences a step")
    parser.add_argument("--length", type=int, default=128, help="tokens a sequence")
    parser.add_argument("--layers", type=int, default=4, help="encoder blocks")
    parser.add_argument("--d-model", type=int, default=128, help="width of the model")
    parser.add_argument("--heads", type=int, default=4, help="attention heads")
    parser.add_argument("--dropout", type=float, default=0.1, help="probability of dropout")
    parser.add_argument("--rounds", type=int, default=30, help="steps measured of every contender, at least 2")
    parser.add_argument("--warmup", type=int, default=3, help="steps before the measurement, at least 1")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    args = parser.parse_args()
    if args.rounds < 2 or args.warmup < 1:
        parser.error("--rounds must be at least 2 and --warmup at least 1")
    steps, weights = contenders(args)
    result = report(measure(steps, args.rounds, args.warmup), weights, args)
    if args.json:
        print(json.dumps(result, indent=2))
    else:
        print_table(result)


if __name__ == "__main__":
    main()
