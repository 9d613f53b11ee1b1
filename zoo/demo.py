"""The demo: the whole road from embedded pictures to captions from a `.tflite`, with a floor it must reach."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from rich.console import Console

from zoo.backend import start_backend
from zoo.display import evaluation
from zoo.errors import ZooError
from zoo.run import new_folder

MODEL, DATA, SPLIT, NEW = "caption_attn", "emoji", "variants", "test"
SEARCH = "consensus"
"""How the file searches. Of emoji it has never seen it says more that is right so than with greedy search."""
FLOOR_EXACT = 0.70
"""Smallest share of exactly named variants; see the recipe for the measured runs this lies below."""
SHEET = 24
"""Pictures on the sheet."""

_ANSWER_SECONDS = 300


def run_demo(out: Path) -> int:
    """Train, evaluate, export, verify, and caption held-out pictures in a process without TensorFlow.

    Args:
        out: Everything goes into a fresh folder below it.

    Returns:
        0, or 1 if the captions are worse than the floor.

    Raises:
        ZooError: If a step fails.
    """
    console = Console(stderr=True, highlight=False)
    started = time.monotonic()

    def step(number: int, text: str) -> None:
        console.print(f"\n[bold]{number}/5  {text}[/bold]  [{time.monotonic() - started:.0f} s]", soft_wrap=True)

    start_backend()
    from zoo.api import train
    from zoo.export.verify import verify_file

    folder = new_folder(out, MODEL, DATA)
    step(1, f"Train {MODEL} on {DATA}")
    run = train(MODEL, DATA, out=folder)
    step(2, "Evaluate on pictures it has not seen, with plain baselines beside it")
    reports = {split: run.evaluate(split, search=SEARCH) for split in (SPLIT, NEW)}
    for report in reports.values():
        evaluation(report, as_json=False, folder=folder)
    step(3, "Export one file that does the whole task")
    model = folder / "caption.tflite"
    exported = run.export(model, quantize="dynamic", search=SEARCH)
    console.print(f"{model}: {model.stat().st_size / 1e6:.2f} MB", soft_wrap=True)
    step(4, "Verify it where TensorFlow cannot be imported")
    if not verify_file(model)["passed"]:
        raise ZooError(f"'{model}' did not pass verification; run 'zoo verify {model}' for the report.")
    step(5, "Caption held-out pictures from the file, without TensorFlow")
    sheet = folder / "captions.png"
    _answer(model, sheet)
    exact = float(reports[SPLIT]["metrics"]["exact_match"])
    print(f"\nMade in {time.monotonic() - started:.0f} s:")
    for what, path in (("run", folder), ("model", model), ("report", f"{model}.report.json"), ("pictures", sheet)):
        print(f"  {what:<9} {path}")
    print(f"  TensorBoard: tensorboard --logdir {folder / 'logs'}")
    print(f"Named exactly: {exact:.1%} of {reports[SPLIT]['examples']} new variants (floor {FLOOR_EXACT:.0%}).")
    new = reports[NEW]
    cider, nearest = new["metrics"]["cider"], new["baselines"]["nearest_image"]["cider"]
    print(f"CIDEr of {new['examples']} new emoji: {cider:.2f}, {cider / nearest:.2f} times the nearest picture's name.")
    if exact < FLOOR_EXACT or not exported:
        print("The captions are worse than the floor: something is broken.", file=sys.stderr)
        return 1
    return 0


def _answer(model: Path, sheet: Path) -> None:
    """Run `zoo.demo_answer` in a process of its own, where it shows its captions."""
    command = [sys.executable, "-P", "-m", "zoo.demo_answer", os.fspath(model), os.fspath(sheet), str(SHEET)]
    try:
        done = subprocess.run(command, timeout=_ANSWER_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise ZooError(f"Captioning from '{model}' took over {_ANSWER_SECONDS} s and was stopped.") from None
    if done.returncode:
        raise ZooError(f"Captioning from '{model}' failed; its message is above.")
