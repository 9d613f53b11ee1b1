"""How large, how fast and how hungry a `.tflite` file is, measured in processes without TensorFlow."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from zoo.errors import ConfigError, ModelFileError
from zoo.export._process import run_worker, write_arrays
from zoo.export.bundle import read_bundle
from zoo.export.golden import read_golden
from zoo.export.verify import EDGE_WORKER
from zoo.files import read_json


def bench_file(
    path: str | os.PathLike[str], threads: Sequence[int] = (1, 2), runs: int = 50, *, timeout: float = 600.0
) -> dict[str, Any]:
    """Measure a bundle with its own first golden example, each number of threads in a fresh process.

    Args:
        path: The `.tflite` file.
        threads: Numbers of threads.
        runs: Counted runs after the first.
        timeout: Seconds a process may take.

    Returns:
        `bytes`, `flatbuffer_bytes` and, for every number of threads, `load_ms` (read, check, reserve memory),
        `first_ms`, `p50_ms`, `p95_ms` of the later runs, and in MiB `runtime_memory_mb` (what importing LiteRT takes),
        `model_memory_mb` (peak above that) and `peak_memory_mb` (the whole process; null where there is no /proc).

    Raises:
        ModelFileError: If the file cannot be read or trusted.
        ConfigError: If a number is below 1.
        ExportError: If a process fails.
    """
    bundle = read_bundle(path)
    cases = read_golden(bundle)
    if not cases:
        raise ModelFileError(f"'{os.fspath(path)}' holds no golden examples; export it again.")
    return {
        "file": os.fspath(path),
        "bytes": Path(path).stat().st_size,
        "flatbuffer_bytes": len(bundle.flatbuffer),
        "name": bundle.name,
        "quantize": bundle.quantize,
        "latency": measure(path, cases[0].inputs, threads, runs, timeout=timeout),
    }


def check_timing(threads: Sequence[int], runs: int) -> None:
    """Refuse a number below 1.

    Raises:
        ConfigError: If there is one.
    """
    if runs < 1 or not threads or min(threads) < 1:
        raise ConfigError(f"A benchmark takes at least 1 run and 1 thread, not {runs} and {tuple(threads)}.")


def measure(
    path: str | os.PathLike[str],
    requests: Mapping[str, np.ndarray],
    threads: Sequence[int] = (1, 2),
    runs: int = 50,
    *,
    timeout: float = 600.0,
) -> list[dict[str, Any]]:
    """Time requests (first axis = example), in turn, on a bundle (see `bench_file`); a record for every `threads`."""
    check_timing(threads, runs)
    records = []
    with tempfile.TemporaryDirectory(prefix="zoo-bench-") as scratch:
        inputs, result = Path(scratch) / "inputs.npz", Path(scratch) / "result.json"
        write_arrays(inputs, requests)
        for number in threads:
            run_worker(
                EDGE_WORKER,
                ["bench", path, inputs, result, str(number), str(runs)],
                what="Timing the .tflite file",
                timeout=timeout,
            )
            records.append(read_json(result))
    return records
