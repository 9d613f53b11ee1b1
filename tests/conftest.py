"""What every test needs before Keras is imported: one thread a worker, a quiet log and a configuration of its own."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

REPOSITORY = Path(__file__).resolve().parent.parent

# Tests run side by side, one worker a core; a child process inherits all of this.
for _name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("MPLBACKEND", "Agg")
# Children never find the folders datasets/, layers/ and export/ through the working directory.
os.environ["PYTHONSAFEPATH"] = "1"
# A user's ~/.keras/keras.json may name another backend or float type.
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
_KERAS_HOME = tempfile.TemporaryDirectory(prefix="zoo-keras-")
os.environ["KERAS_HOME"] = _KERAS_HOME.name


@pytest.fixture(scope="session")
def repository() -> Path:
    """The folder that holds setup.cfg."""
    return REPOSITORY


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function from a task's name to a small dataset of a user's own for it, made once."""
    made: dict[str, Path] = {}
    makers = {"captioning": _pictures, "text_classification": _texts, "forecasting": _series}

    def path_of(task: str) -> Path:
        if task not in made:
            made[task] = makers[task](tmp_path_factory.mktemp(task))
        return made[task]

    return path_of


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
