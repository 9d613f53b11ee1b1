"""Examples a second of one process and of two that train together, on this machine.

    python benchmarks/scaling.py [--models price_attn ...] [--backends tensorflow jax]

Two processes on one machine share its cores, so this shows what working together costs, not what a second machine would
bring: nothing is claimed from it. Each row is the median over the logged steps of a short training of the quick recipe,
with the same global batch; efficiency is the ratio of two processes to one, divided by two.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def speed(name: str, backend: str, count: int, folder: Path) -> float:
    """Train for 60 steps in `count` processes and return the median of the examples a second."""
    with socket.socket() as free, socket.socket() as other:
        for each in (free, other):
            each.bind(("127.0.0.1", 0))
        addresses = [f"127.0.0.1:{each.getsockname()[1]}" for each in (free, other)]
    out = folder / f"{name}-{backend}-{count}"
    words = ["train", name, "--quick", "--out", str(out), "--train.epochs", "1", "--train.steps-per-epoch", "60"]
    command = [sys.executable, "-P", "-m", "zoo", *words, "--train.samples", "0", "--train.log-every", "5"]
    processes = []
    for index in range(count):
        environment = {**os.environ, "KERAS_BACKEND": backend, "PYTHONSAFEPATH": "1"}
        if count > 1 and backend == "tensorflow":
            task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
            environment["TF_CONFIG"] = json.dumps(task)
        elif count > 1:
            names = ("JOB_ADDRESSES", "NUM_PROCESSES", "PROCESS_ID")
            values = (addresses[0], str(count), str(index))
            environment |= {f"KERAS_DISTRIBUTION_{key}": value for key, value in zip(names, values, strict=True)}
        processes.append(
            subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        )
    if any([process.wait() for process in processes]):
        raise SystemExit(f"{name} on {backend} in {count} processes failed")
    events = EventAccumulator(str(out / "logs" / "steps")).Reload()
    tag = "speed/examples_per_second"
    if tag in events.Tags()["scalars"]:
        return statistics.median(event.value for event in events.Scalars(tag))
    return statistics.median(float(event.tensor_proto.float_val[0]) for event in events.Tensors(tag))


def main() -> None:
    """Print a row for each model and backend."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["caption_attn", "price_attn", "text_attn"])
    parser.add_argument("--backends", nargs="+", default=["tensorflow", "jax"])
    arguments = parser.parse_args()
    print(f"{'model':14} {'backend':11} {'one/s':>8} {'two/s':>8}  efficiency")
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.models:
            for backend in arguments.backends:
                one, two = (speed(name, backend, count, Path(folder)) for count in (1, 2))
                print(f"{name:14} {backend:11} {one:8.0f} {two:8.0f}  {two / one / 2:.2f}", flush=True)


if __name__ == "__main__":
    main()
