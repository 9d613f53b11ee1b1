"""Small made-up data for every task, and whether two answers are the same; needs numpy and Pillow only.

The smoke tests run where nothing but the wheel is installed, so this imports neither pytest nor a backend.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def _pictures(folder: Path) -> Path:
    """Squares of a named colour at a named place, with their caption."""
    rng = np.random.default_rng(0)
    colours = {"red": (220, 30, 30), "green": (30, 180, 60), "blue": (40, 60, 220)}
    lines = []
    for number in range(60):
        colour, place = rng.choice(list(colours)), rng.choice(["left", "right"])
        pixels = rng.integers(200, 256, (32, 32, 3)).astype(np.uint8)
        column = rng.integers(1, 5) + (0 if place == "left" else 16)
        pixels[8:24, column : column + 10] = colours[str(colour)]
        Image.fromarray(pixels).save(folder / f"{number}.png")
        lines.append(json.dumps({"file": f"{number}.png", "captions": [f"{colour} square {place}"]}))
    (folder / "captions.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return folder


def _labelled_pictures(folder: Path) -> Path:
    """Squares of a colour, which is their class, on a noisy ground: a folder a class."""
    rng = np.random.default_rng(0)
    for label, colour in (("red", (220, 30, 30)), ("green", (30, 180, 60)), ("blue", (40, 60, 220))):
        (folder / label).mkdir()
        for number in range(30):
            pixels = rng.integers(200, 256, (40, 40, 3)).astype(np.uint8)
            row, column = rng.integers(2, 18, 2)
            pixels[row : row + 18, column : column + 18] = colour
            Image.fromarray(pixels).save(folder / label / f"{number}.png")
    return folder


def _texts(folder: Path) -> Path:
    """Sentences whose class is decided by one word."""
    rng = np.random.default_rng(0)
    words = ["film", "plot", "music", "the", "a", "scene", "actor", "was", "quite", "very"]
    lines = ["text,label"]
    for number in range(120):
        label = "good" if number % 2 else "bad"
        text = [*rng.choice(words, 6), {"good": "lovely", "bad": "awful"}[label], str(number)]
        lines.append(f"{' '.join(rng.permutation(text))},{label}")
    path = folder / "reviews.csv"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def _series(folder: Path) -> Path:
    """A random walk of daily prices."""
    rng = np.random.default_rng(0)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, 400)))
    days = np.datetime64("2020-01-01") + np.arange(400)
    lines = ["date,open,high,low,close,volume"]
    for day, price, spread, volume in zip(
        days, close, rng.uniform(0.001, 0.02, 400), rng.integers(1000, 9000, 400), strict=True
    ):
        lines.append(f"{day},{price:.4f},{price * (1 + spread):.4f},{price * (1 - spread):.4f},{price:.4f},{volume}")
    path = folder / "prices.csv"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


MAKERS: dict[str, Callable[[Path], Path]] = {
    "captioning": _pictures,
    "image_classification": _labelled_pictures,
    "text_classification": _texts,
    "forecasting": _series,
}
"""Task -> function that writes a small dataset of a user's own into a folder and returns the path to train on."""

INPUTS: dict[str, Callable[[Path], str]] = {
    "captioning": lambda path: str(path / "7.png"),
    "image_classification": lambda path: str(path / "red" / "7.png"),
    "text_classification": lambda path: "a lovely film",
    "forecasting": str,
}
"""Task -> function from that path to one input for `predict`."""


SHIPPED = {
    "caption_attn/emoji-en": "captioning",
    "caption_attn/emoji-zh": "captioning",
    "price_attn/stocks": "forecasting",
    "text_attn/reviews_zh": "text_classification",
    "text_attn/tweets": "text_classification",
}
"""Weights in the wheel -> their task."""


def shipped_inputs(folder: Path) -> dict[str, str]:
    """Return one input for each of the weights in the wheel, made in a folder."""
    made: dict[str, str] = {}
    for task in sorted(set(SHIPPED.values())):
        place = folder / f"shipped_{task}"
        place.mkdir()
        made[task] = INPUTS[task](MAKERS[task](place))
    return {name: made[task] for name, task in SHIPPED.items()}


def assert_same_answer(first: Any, second: Any, *, tolerance: float, where: str = "the answer") -> None:
    """Compare two answers as JSON holds them: words exactly, numbers within an absolute and relative tolerance."""
    if isinstance(first, dict):
        assert isinstance(second, dict) and set(first) == set(second), f"{where}: {second} instead of {first}"
        for key in first:
            assert_same_answer(first[key], second[key], tolerance=tolerance, where=f"{where}, {key}")
    elif isinstance(first, list):
        assert isinstance(second, list) and len(first) == len(second), f"{where}: {second} instead of {first}"
        for index, pair in enumerate(zip(first, second, strict=True)):
            assert_same_answer(*pair, tolerance=tolerance, where=f"{where}[{index}]")
    elif isinstance(first, float):
        near = math.isclose(first, second, rel_tol=tolerance, abs_tol=tolerance)
        assert near, f"{where}: {second} instead of {first}"
    else:
        assert first == second, f"{where}: {second} instead of {first}"
