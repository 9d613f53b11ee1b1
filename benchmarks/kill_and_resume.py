"""Kill the quick recipes with SIGKILL at random steps, resume them, and compare with trainings that were left alone.

    python benchmarks/kill_and_resume.py [--models caption_attn ...] [--kills 5] [--seed 0]

Prints, for each model, the steps at which it was killed, the number of epochs' values compared, and the largest
difference of any of them and of any weight. On TensorFlow and one device both must be 0.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file


def start(words: list[str]) -> subprocess.Popen[bytes]:
    """Start the command line, silently."""
    quiet = subprocess.DEVNULL
    return subprocess.Popen([sys.executable, "-P", "-m", "zoo", *words], stdout=quiet, stderr=quiet)


def newest_step(run: Path) -> int:
    """Return the step of the newest checkpoint; 0 without one."""
    return max((int(path.stem.removeprefix("state-")) for path in run.glob("checkpoints/state-*")), default=0)


def check(name: str, kills: int, seed: int, folder: Path) -> bool:
    """Train a recipe twice, once with kills, print how they compare, and return whether they are equal."""
    whole, run = folder / name / "whole", folder / name / "run"
    # A checkpoint about every second, so that kills fall between epochs and within them.
    words = ["train", name, "--quick", "--train.checkpoint-minutes", "0.02", "--train.samples", "0", "--out"]
    if start([*words, str(whole)]).wait():
        raise SystemExit(f"zoo {' '.join(words)} failed")
    total = newest_step(whole)
    steps = sorted(random.Random(f"{seed} {name}").sample(range(1, total), kills))
    words, killed = [*words, str(run)], []
    for step in steps:
        process = start(words)
        while process.poll() is None and newest_step(run) < step:
            time.sleep(0.005)
        time.sleep(random.Random(step).random() * 0.3)
        process.send_signal(signal.SIGKILL)
        if process.wait() == -signal.SIGKILL:
            killed.append(f"after checkpoint {newest_step(run)}")
        words = ["train", "--resume", str(run)]
    if start(words).wait():
        raise SystemExit(f"zoo {' '.join(words)} failed")
    before, after = (json.loads((each / "history.json").read_text())["epochs"] for each in (whole, run))
    losses = max(abs(a - b) for key in before for a, b in zip(before[key], after[key], strict=True))
    left, right = (load_file(each / "model.safetensors") for each in (whole, run))
    weights = max(float(np.abs(left[key].astype(np.float64) - right[key]).max()) for key in left)
    count = sum(len(values) for values in before.values())
    print(f"{name}: {total} steps, killed {len(killed)} times ({', '.join(killed)})")
    print(f"    {count} values of epochs differ by at most {losses:g}, {len(left)} weights by {weights:g}", flush=True)
    return losses == weights == 0


def main() -> None:
    """Check every model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["caption_attn", "price_attn", "text_attn"])
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        equal = [check(name, arguments.kills, arguments.seed, Path(folder)) for name in arguments.models]
    sys.exit(0 if all(equal) else 1)


if __name__ == "__main__":
    main()
