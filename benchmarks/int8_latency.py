"""Size and latency of int8 against float32 and dynamic range, on one core, the variants taking turns in one run.

Two captioners: a trained `caption_attn` on emoji (a run folder, or one trained by the recipe's quick form), and one of
EfficientNet-Lite0's size with random weights (Tan & Le 2019, arXiv:1905.11946, without squeeze-excitation and with
ReLU6, as the Lite variants are; 224 x 224 pixels, 49 positions of 1,280 channels), whose captions have a fixed length.

    python benchmarks/int8_latency.py runs/caption_attn-emoji-001
    python benchmarks/int8_latency.py --only large --out int8.json
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import zoo
from zoo.export.bundle import SIGNATURE
from zoo.export.quantize import quantize_int8
from zoo.export.runtime import Graph
from zoo.export.samples import calibration_samples, random_requests
from zoo.export.saved_model import write_saved_model
from zoo.export.tflite import convert
from zoo.files import write_json
from zoo.tasks import Serving, get_task

VARIANTS = ("float32", "dynamic", "int8")
STAGES = (
    (1, 16, 1, 3, 1),
    (6, 24, 2, 3, 2),
    (6, 40, 2, 5, 2),
    (6, 80, 3, 3, 2),
    (6, 112, 3, 5, 1),
    (6, 192, 4, 5, 2),
    (6, 320, 1, 3, 1),
)
"""Of EfficientNet-B0 and Lite0: expansion, channels, blocks, kernel, stride of the first block."""
TOKENS = 8


def large_captioner() -> Any:
    """Return an EfficientNet-Lite0 without its head, and the decoder of `caption_attn`, with random weights."""
    import keras

    from zoo.layers.transformer_decoder import TransformerDecoder

    def convolution(x: Any, channels: int, kernel: int, stride: int = 1, active: bool = True) -> Any:
        x = keras.layers.Conv2D(channels, kernel, stride, padding="same", use_bias=False)(x)
        x = keras.layers.BatchNormalization(epsilon=1e-3)(x)
        return keras.layers.ReLU(6.0)(x) if active else x

    picture = keras.Input((224, 224, 3), dtype="float32", name="image")
    x = convolution(keras.layers.Rescaling(1 / 128, offset=-127 / 128)(picture), 32, 3, 2)
    for expansion, channels, blocks, kernel, stride in STAGES:
        for block in range(blocks):
            y = convolution(x, expansion * x.shape[-1], 1) if expansion > 1 else x
            y = keras.layers.DepthwiseConv2D(kernel, 1 if block else stride, padding="same", use_bias=False)(y)
            y = keras.layers.ReLU(6.0)(keras.layers.BatchNormalization(epsilon=1e-3)(y))
            y = convolution(y, channels, 1, active=False)
            x = keras.layers.Add()([x, y]) if block else y
    encoder = keras.Model(picture, keras.layers.Dense(128)(convolution(x, 1280, 1)), name="encoder")

    image = keras.Input((224, 224, 3), dtype="float32", name="image")
    tokens = keras.Input((TOKENS,), dtype="int32", name="tokens")
    decoder = TransformerDecoder(
        vocab_size=1500, d_model=128, num_heads=4, mlp_dim=512, num_layers=2, max_length=TOKENS, name="decoder"
    )
    logits = decoder(tokens, keras.layers.Reshape((-1, 128))(encoder(image)))
    model = keras.Model({"image": image, "tokens": tokens}, {"logits": logits})
    bias = np.zeros(1500, np.float32)
    bias[2] = -20.0  # the end never comes, so that every variant makes as many steps
    decoder.head_bias.assign(bias)
    return model


def make_files(serving: Serving, samples: dict[str, np.ndarray]) -> dict[str, bytes]:
    """Return the flatbuffer of every variant; `samples` are pictures to calibrate int8 with."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "saved_model"
        write_saved_model(serving, folder)
        files = {name: convert(folder, name) for name in VARIANTS if name != "int8"}
    return files | {"int8": quantize_int8(files["float32"], {SIGNATURE: samples})}


def measure(files: dict[str, bytes], inputs: dict[str, np.ndarray], rounds: int) -> dict[str, dict[str, float]]:
    """Time every file on every example in every round, in turn, one thread; medians in milliseconds."""
    graphs = {name: Graph(content, num_threads=1) for name, content in files.items()}
    requests = [{key: array[[i]] for key, array in inputs.items()} for i in range(len(next(iter(inputs.values()))))]
    times: dict[str, list[float]] = {name: [] for name in graphs}
    steps = {name: sum(int(graph.run(request)["length"]) for request in requests) for name, graph in graphs.items()}
    for _ in range(rounds):
        for request in requests:
            for name, graph in graphs.items():
                start = time.perf_counter()
                graph.run(request)
                times[name].append((time.perf_counter() - start) * 1e3)
    medians = {name: float(np.median(taken)) for name, taken in times.items()}
    return {
        name: {
            "bytes": len(files[name]),
            "size_ratio": len(files[name]) / len(files["float32"]),
            "p50_ms": medians[name],
            "best_ms": float(np.min(times[name])),
            "of_float32": medians[name] / medians["float32"],
            "of_dynamic": medians[name] / medians["dynamic"],
            "tokens": steps[name] / len(requests),
        }
        for name in files
    }


def emoji(folder: Path | None, rounds: int) -> dict[str, Any]:
    """Measure a trained captioner on pictures it has not seen."""
    run = zoo.load(folder) if folder else zoo.train("caption_attn", "emoji", quick=True)
    serving = run.serving()
    files = make_files(serving, calibration_samples(run, serving).inputs)
    requests = run.task.requests(run.dataset().split("test"), run.preprocessor, limit=12)
    return {"parameters": int(run.model.count_params()), "variants": measure(files, requests.inputs, rounds)}


def large(rounds: int) -> dict[str, Any]:
    """Measure the captioner of EfficientNet-Lite0's size."""
    model = large_captioner()
    serving = get_task("captioning").serving(model)
    pictures = random_requests(serving, 8, tokens=2).inputs
    variants = measure(make_files(serving, pictures), {"image": pictures["image"][:2]}, rounds)
    encoder = int(model.get_layer("encoder").count_params())
    return {"parameters": int(model.count_params()), "encoder_parameters": encoder, "variants": variants}


def main() -> None:
    """Measure, print, and write the numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="?", type=Path, help="run folder of a trained caption_attn")
    parser.add_argument("--only", choices=("emoji", "large"), help="one of the two")
    parser.add_argument("--rounds", type=int, default=40, help="times every example is answered")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    results = {}
    if arguments.only != "large":
        results["emoji"] = emoji(arguments.run, arguments.rounds)
    if arguments.only != "emoji":
        results["large"] = large(arguments.rounds)
    for title, result in results.items():
        print(f"{title}: {result['parameters']:,} parameters")
        for name, row in result["variants"].items():
            print(
                f"  {name:8} {row['bytes']:>11,} bytes ({row['size_ratio']:.1%})  {row['p50_ms']:8.3f} ms"
                f"  {row['of_float32']:.2f} of float32  {row['of_dynamic']:.2f} of dynamic  {row['tokens']:.1f} tokens"
            )
    if arguments.out:
        write_json(arguments.out, results)


if __name__ == "__main__":
    sys.exit(main())
