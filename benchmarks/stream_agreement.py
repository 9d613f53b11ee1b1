"""Whether a captioner says the same in three ways: word by word, in a single call, and in Keras.

The run is exported (float32, greedy) and captions pictures of a split it was not trained on with `Edge.stream`, with
`Edge.predict`, and with the Keras model; captions must be the same token for token. Exit code 1 if one is not.

The times are medians over the pictures of a process that does nothing else: until the first word, until the last, and
of the single call; the two ways take turns.

    python benchmarks/stream_agreement.py runs/caption_attn-emoji-001
    python benchmarks/stream_agreement.py runs/caption_attn-emoji-001 --quantize int8 --json

Of a quantised file the table says how many captions are the same; only stream and single call of one file may be
expected to agree, and rounding can part even these where two tokens are equally probable.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import zoo
from zoo.export.runtime import Edge
from zoo.results import Caption


def compare(folder: str, split: str, count: int, quantize: str) -> dict[str, Any]:
    """Return how many captions of `count` pictures agree, and the times in milliseconds."""
    run = zoo.load(folder)
    requests = run.task.requests(run.dataset().split(split), run.preprocessor, limit=count)
    outputs = run.serving_outputs(requests.inputs)
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "caption.tflite"
        report = run.export(path, quantize=quantize, budget=1.0)
        edge = Edge(path)
    same = {"stream = single": 0, "single = Keras": 0, "all three": 0}
    times: dict[str, list[float]] = {"first word ms": [], "last word ms": [], "single call ms": []}
    tokens = 0
    for row, picture in enumerate(requests.inputs["image"]):
        begin = time.perf_counter()
        caption = edge.predict(picture)
        times["single call ms"].append(time.perf_counter() - begin)
        assert isinstance(caption, Caption)
        streamed: list[str] = []
        begin = time.perf_counter()
        for number, word in enumerate(edge.stream(picture)):
            if number == 0:
                times["first word ms"].append(time.perf_counter() - begin)
            streamed += word.tokens
        times["last word ms"].append(time.perf_counter() - begin)
        keras = run.preprocessor.pieces(outputs["tokens"][row][: outputs["length"][row]])
        alike = tuple(streamed) == caption.tokens, caption.tokens == keras
        for name, value in zip(same, (*alike, all(alike)), strict=True):
            same[name] += value
        tokens += len(keras)
    medians = {name: round(1e3 * statistics.median(values), 2) for name, values in times.items()}
    return {
        "run": folder,
        "quantize": quantize,
        "pictures": len(requests),
        "tokens": tokens,
        "same": same,
        **medians,
        "flatbuffer_bytes": report["flatbuffer_bytes"],
    }


def main() -> None:
    """Compare, print, and exit with 1 where float32 captions differ."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", help="run folder of a captioner")
    parser.add_argument("--split", default="test")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--quantize", default="float32")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = compare(options.run, options.split, options.count, options.quantize)
    if options.json:
        print(json.dumps(found, indent=2))
    else:
        print(f"{found['run']}, {found['quantize']}: {found['pictures']} pictures, {found['tokens']} tokens")
        for name, value in found["same"].items():
            print(f"{name:>16}  {value} of {found['pictures']}")
        for name in ("first word ms", "last word ms", "single call ms"):
            print(f"{name:>16}  {found[name]}")
    sys.exit(int(options.quantize == "float32" and found["same"]["all three"] < found["pictures"]))


if __name__ == "__main__":
    main()
