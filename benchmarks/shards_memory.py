"""Peak memory of training from shards, once on some records and once on ten times as many (the same, repeated).

    python benchmarks/shards_memory.py
    python benchmarks/shards_memory.py captioning --records 2000 --times 10 --out memory.json

Every training runs in a process of its own, a few steps of a small model, and says the most memory it ever had
(VmHWM of /proc/self/status, so Linux only; `ru_maxrss` would begin with what the parent process had). The records are
made here: noise pictures, texts of random words, random walks.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from zoo.datasets import Dataset, Licence, Record, Source
from zoo.datasets._write_shards import write_shards
from zoo.files import write_json

MODELS = {"captioning": "caption_attn", "text_classification": "text_attn", "forecasting": "price_attn"}
SIZES = {"captioning": {"image_size": 64}, "text_classification": {"max_length": 64}, "forecasting": {}}
RECORDS = {"captioning": 2000, "text_classification": 50_000, "forecasting": 220}
VALID = 32

CHILD = """
import json, re, sys
from pathlib import Path
import zoo
from zoo.registry import architecture
name, data, out, sizes = sys.argv[1:]
train = {"epochs": 1, "batch_size": 16, "steps_per_epoch": 20, "samples": 1}
model = {**architecture(name).tiny().to_dict(), **json.loads(sizes)}
zoo.train(name, data, out=out, model=model, train=train, quiet=True)
print(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
"""


class MadeRecords(Sequence[Record]):
    """Records made when asked for; number i is the same as number i + `distinct`."""

    def __init__(self, task: str, distinct: int, total: int, seed: int) -> None:
        """Keep the numbers."""
        self._make, self._distinct, self._total, self._seed = _MAKERS[task], distinct, total, seed

    def __len__(self) -> int:
        """Return the number of records."""
        return self._total

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        """Return one record."""
        number = index % self._distinct
        return {"id": f"{index:07d}", **self._make(np.random.default_rng((self._seed, number)), number)}


class MadeDataset(Dataset):
    """`records` different training records, `times` times."""

    licence = Licence(name="CC0-1.0", credit="made by a program")
    name = "made"

    def __init__(self, task: str, records: int, times: int) -> None:
        """Keep the numbers."""
        super().__init__()
        self.task = task  # type: ignore[misc]
        self._records, self._times = records, times

    def splits(self) -> dict[str, Source]:
        """Return `train` and a small `valid`."""
        train = MadeRecords(self.task, self._records, self._records * self._times, seed=0)
        return {"train": train, "valid": MadeRecords(self.task, VALID, VALID, seed=1)}


def measure(task: str, records: int, times: int, folder: Path) -> dict[str, Any]:
    """Train on `records` records, and on `times` as many.

    Returns:
        `{"task", "records", "bytes", "peak_mb", "ratio"}`; the lists have the small and the large dataset.
    """
    report: dict[str, Any] = {"task": task, "records": [], "bytes": [], "peak_mb": []}
    for factor in (1, times):
        data = folder / f"{task}-{factor}"
        manifest = write_shards(MadeDataset(task, records, factor), data, shards=4 * factor)
        words = [MODELS[task], str(data), str(folder / f"run-{task}-{factor}"), json.dumps(SIZES[task])]
        done = subprocess.run([sys.executable, "-P", "-c", CHILD, *words], capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(done.stderr[-2000:])
        train = manifest.splits["train"]
        report["records"].append(train.records)
        report["bytes"].append(sum(item.bytes for item in train.files()))
        report["peak_mb"].append(round(int(done.stdout.split()[-1]) / 1024, 1))
    report["ratio"] = round(report["peak_mb"][1] / report["peak_mb"][0], 4)
    return report


def _picture(rng: np.random.Generator, number: int) -> Record:
    stream = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(stream, "PNG")
    caption = f"{('red', 'green', 'blue')[number % 3]} noise number {number % 10}"
    return {"group": str(number), "image": stream.getvalue(), "captions": (caption, f"picture of {caption}")}


def _text(rng: np.random.Generator, number: int) -> Record:
    text = " ".join(_WORDS[place] for place in rng.integers(0, len(_WORDS), 60).tolist())
    return {"group": str(number), "text": text, "label": ("bad", "good", "mixed")[number % 3]}


def _series(rng: np.random.Generator, number: int) -> Record:
    rows = 5000
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, rows)))
    values = np.stack([close, close * 1.01, close * 0.99, close, rng.uniform(1e3, 1e4, rows)], axis=1)
    return {
        "columns": ("open", "high", "low", "close", "volume"),
        "target": "close",
        "dates": np.datetime64("2000-01-01", "D") + np.arange(rows),
        "values": values.astype(np.float32),
        "split_factor": np.ones(rows, np.float32),
        "first_target": 0,
    }


_LETTERS = np.array(list("abcdefghijklmnopqrstuvwxyz"))
_WORDS = ["".join(row) for row in np.random.default_rng(0).choice(_LETTERS, (5000, 6))]
_MAKERS = {"captioning": _picture, "text_classification": _text, "forecasting": _series}


def main() -> None:
    """Measure, and print one line a task."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", default=list(MODELS), metavar="TASK", help=", ".join(MODELS))
    parser.add_argument("--records", type=int, help="different records of the training split")
    parser.add_argument("--times", type=int, default=10, help="how often the larger dataset repeats them")
    parser.add_argument("--out", type=Path, help="JSON file for the report")
    arguments = parser.parse_args()
    reports = []
    for task in arguments.tasks:
        with tempfile.TemporaryDirectory() as folder:
            report = measure(task, arguments.records or RECORDS[task], arguments.times, Path(folder))
        reports.append(report)
        small, large = (
            f"{records:,} records, {size / 1e6:.0f} MB: peak {peak:.0f} MB"
            for records, size, peak in zip(report["records"], report["bytes"], report["peak_mb"], strict=True)
        )
        print(f"{task}: {small}; {large}; ratio {report['ratio']:.3f}", flush=True)
    if arguments.out:
        write_json(arguments.out, reports)


if __name__ == "__main__":
    main()
