"""Latency in LiteRT of our text encoder beside the same encoder made of stock Keras layers.

The two networks have the same depth, width, heads, length and vocabulary: token and position embeddings, pre-norm
Transformer blocks with a padding mask, a final norm, pooling, softmax. Ours is `text_attn` without its n-grams (its
pooling is attention, and its file also gives the weight of every token); theirs is `keras.layers.MultiHeadAttention`,
`Embedding`, `LayerNormalization`, `Dense` and `GlobalAveragePooling1D`. The contenders:

- `ours, float32` and `ours, int8`: files of `Run.export`, which went through the export gate.
- `stock, float32` and `stock, int8`: the stock network through the same converter and the same quantiser.
- `stock, Keras's litert`: the stock network through Keras's own `model.export(format="litert")`, and the same with
  every size fixed (`input_signature`). Where such a file does not run, the table says why.

Every round runs each of them once, in an order shuffled anew, on one thread pinned to one core; the table shows medians
over the rounds of that thread's processor time, which is the latency on an idle core and does not count the turns of
other programs on a busy one.

    python benchmarks/peer_latency.py
    python benchmarks/peer_latency.py --layers 6 --d-model 256 --heads 8 --rounds 300 --out peer_latency.json

It takes about two minutes, most of them for the conversions.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import ai_edge_litert
import keras
import numpy as np
from keras import ops

from zoo.errors import ZooError
from zoo.export.bundle import SIGNATURE, read_bundle
from zoo.export.quantize import quantize_int8
from zoo.export.runtime import Graph
from zoo.export.saved_model import write_saved_model
from zoo.export.tflite import convert
from zoo.export.verify import check_operators
from zoo.files import write_json
from zoo.run import Run
from zoo.tasks import Serving

CLASSES = 2
CALIBRATION = 64

Call = Callable[[], Any]


class Positions(keras.layers.Layer):
    """A learned vector for every position, added: what stock Keras has no layer for."""

    def build(self, shape: tuple[int | None, ...]) -> None:
        self.table = self.add_weight(shape=shape[1:], initializer="uniform", name="table")

    def call(self, x: Any) -> Any:
        return x + self.table


def stock_model(args: argparse.Namespace) -> keras.Model:
    """The encoder made of stock layers: `tokens` int32 (B, L) -> probabilities (B, C)."""
    tokens = keras.Input((args.length,), dtype="int32", name="tokens")
    mask = ops.not_equal(tokens, 0)
    x = Positions()(keras.layers.Embedding(args.vocabulary, args.d_model)(tokens))
    for _ in range(args.layers):
        h = keras.layers.LayerNormalization(epsilon=1e-6)(x)
        attention = keras.layers.MultiHeadAttention(args.heads, args.d_model // args.heads)
        x = x + attention(h, h, attention_mask=mask[:, None, :])
        h = keras.layers.LayerNormalization(epsilon=1e-6)(x)
        x = x + keras.layers.Dense(args.d_model)(keras.layers.Dense(args.mlp_dim, activation="gelu")(h))
    x = keras.layers.LayerNormalization(epsilon=1e-6)(x)
    x = keras.layers.GlobalAveragePooling1D()(x, mask=mask)
    return keras.Model(tokens, keras.layers.Dense(CLASSES, activation="softmax")(x))


def our_run(args: argparse.Namespace) -> Run:
    """The same encoder of this package, untrained."""
    return Run.untrained(
        "text_attn",
        vocab_size=args.vocabulary,
        num_classes=CLASSES,
        max_length=args.length,
        embedding_dim=args.d_model,
        d_model=args.d_model,
        num_heads=args.heads,
        num_layers=args.layers,
        mlp_dim=args.mlp_dim,
        deep_ngrams=(),
        wide_ngrams=(),
    )


def rows_of_tokens(args: argparse.Namespace) -> np.ndarray:
    """Typical inputs: int32 (N, length), from a quarter full to full, the first one full."""
    rng = np.random.default_rng(0)
    rows = rng.integers(4, args.vocabulary, (CALIBRATION, args.length)).astype(np.int32)
    lengths = rng.integers(args.length // 4, args.length + 1, CALIBRATION)
    lengths[0] = args.length
    rows[np.arange(args.length)[None] >= lengths[:, None]] = 0
    return rows


def our_files(args: argparse.Namespace, scratch: Path) -> dict[str, bytes]:
    """Our flatbuffers by variant."""
    run, files = our_run(args), {}
    for quantize in ("float32", "int8"):
        path = scratch / f"ours-{quantize}.tflite"
        run.export(path, quantize=quantize)
        files[f"ours, {quantize}"] = read_bundle(path).flatbuffer
    return files


def stock_files(model: keras.Model, rows: np.ndarray, scratch: Path) -> dict[str, bytes]:
    """The stock network's flatbuffers by variant, through our converter and quantiser."""
    serving = Serving(
        function=lambda tokens: {"probabilities": model(tokens, training=False)},
        inputs={"tokens": ((1, rows.shape[1]), "int32")},
        outputs=("probabilities",),
        model=model,
    )
    write_saved_model(serving, scratch / "stock")
    plain = convert(scratch / "stock")
    return {"stock, float32": plain, "stock, int8": quantize_int8(plain, {SIGNATURE: {"tokens": rows[:, None]}})}


def keras_files(model: keras.Model, length: int, scratch: Path) -> dict[str, bytes]:
    """The stock network's flatbuffers by Keras's own exporter."""
    files = {}
    fixed = [keras.InputSpec(dtype="int32", shape=(1, length), name="tokens")]
    for name, options in (("", {}), (" of fixed size", {"input_signature": fixed})):
        path = scratch / f"keras{len(files)}.tflite"
        model.export(path, format="litert", verbose=False, **options)
        files[f"stock, Keras's litert{name}"] = path.read_bytes()
    return files


def graph_call(flatbuffer: bytes, row: np.ndarray) -> Call:
    """What answers one row with a file of ours."""
    check_operators(flatbuffer)
    graph = Graph(flatbuffer)
    return lambda: graph.run({"tokens": row})


def interpreter_call(flatbuffer: bytes, row: np.ndarray) -> Call:
    """What answers one row with anybody's file.

    Raises:
        ValueError: If LiteRT cannot load it.
        RuntimeError: If LiteRT cannot run it.
    """
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=flatbuffer, num_threads=1)
    place, output = interpreter.get_input_details()[0], interpreter.get_output_details()[0]["index"]
    interpreter.resize_tensor_input(place["index"], row.shape)
    interpreter.allocate_tensors()

    def call() -> Any:
        interpreter.set_tensor(place["index"], row)
        interpreter.invoke()
        return interpreter.get_tensor(output)

    return call


def measure(calls: dict[str, Call], rounds: int, warmup: int) -> dict[str, list[float]]:
    """Milliseconds of this thread's processor time of every call, in interleaved rounds."""
    for call in calls.values():
        for _ in range(warmup):
            call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    order, shuffler = list(calls), random.Random(0)
    for _ in range(rounds):
        shuffler.shuffle(order)
        for name in order:
            started = time.thread_time()
            calls[name]()
            times[name].append(1e3 * (time.thread_time() - started))
    return times


def compare(args: argparse.Namespace) -> dict[str, Any]:
    """Make every file, run them side by side; the report, ready for JSON."""
    rows = rows_of_tokens(args)
    model = stock_model(args)
    calls: dict[str, Call] = {}
    failures: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="zoo-peers-") as folder:
        ours, stock = our_files(args, Path(folder)), stock_files(model, rows, Path(folder))
        theirs = keras_files(model, args.length, Path(folder))
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    for name, flatbuffer in {**ours, **stock}.items():
        calls[name] = graph_call(flatbuffer, rows[:1])
    for name, flatbuffer in theirs.items():
        try:
            call = interpreter_call(flatbuffer, rows[:1])
            call()
        except (ValueError, RuntimeError) as error:
            failures[name] = " ".join(str(error).split())[:300]
        else:
            calls[name] = call
    times = measure(calls, args.rounds, args.warmup)
    median = {name: statistics.median(values) for name, values in times.items()}
    pairs = [("ours, float32", "stock, float32"), ("ours, int8", "stock, int8"), ("ours, int8", "stock, float32")]
    pairs += [("ours, int8", "ours, float32"), *(("ours, float32", name) for name in theirs if name in median)]
    return {
        "versions": {"keras": keras.__version__, "ai_edge_litert": ai_edge_litert.__version__},
        "machine": platform.machine(),
        "settings": {name: value for name, value in vars(args).items() if name != "out"},
        "weights": {"ours": our_run(args).model.count_params(), "stock": model.count_params()},
        "bytes": {name: len(content) for name, content in {**ours, **stock, **theirs}.items()},
        "milliseconds": {
            name: dict(zip(("first_quartile", "median", "third_quartile"), statistics.quantiles(values), strict=True))
            for name, values in times.items()
        },
        "failures": failures,
        "ratios": {f"{one} / {other}": median[one] / median[other] for one, other in pairs},
    }


def print_table(result: dict[str, Any]) -> None:
    """The report for a reader."""
    print(f"{result['versions']}, one core, {result['settings']}, weights {result['weights']}")
    print(f"{'file':<38}{'KB':>8}{'median ms':>12}{'quartiles':>20}")
    for name, size in result["bytes"].items():
        if name in result["failures"]:
            print(f"{name:<38}{size / 1000:>8.0f}  does not run: {result['failures'][name]}")
            continue
        value = result["milliseconds"][name]
        quartiles = f"{value['first_quartile']:.2f} - {value['third_quartile']:.2f}"
        print(f"{name:<38}{size / 1000:>8.0f}{value['median']:>12.2f}{quartiles:>20}")
    for name, ratio in result["ratios"].items():
        print(f"{name}: {ratio:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Latency in LiteRT of our text encoder and of stock Keras layers.")
    parser.add_argument("--length", type=int, default=128, help="tokens a text")
    parser.add_argument("--vocabulary", type=int, default=8000, help="rows of the embedding")
    parser.add_argument("--layers", type=int, default=4, help="encoder blocks")
    parser.add_argument("--d-model", type=int, default=128, help="width of the model")
    parser.add_argument("--heads", type=int, default=4, help="attention heads")
    parser.add_argument("--mlp-dim", type=int, default=512, help="width of the blocks' hidden layer")
    parser.add_argument("--rounds", type=int, default=200, help="runs measured of every file, at least 2")
    parser.add_argument("--warmup", type=int, default=10, help="runs before the measurement, at least 1")
    parser.add_argument("--out", type=Path, help="also write the report here, as JSON")
    args = parser.parse_args()
    if args.rounds < 2 or args.warmup < 1:
        parser.error("--rounds must be at least 2 and --warmup at least 1")
    try:
        result = compare(args)
    except ZooError as error:
        parser.exit(1, f"{error}\n")
    print_table(result)
    if args.out:
        write_json(args.out, result)


if __name__ == "__main__":
    main()
