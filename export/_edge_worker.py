"""The process without TensorFlow: whoever imports it, Keras or JAX here gets an ImportError.

Usage:
    python -P -m zoo.export._edge_worker run FILE.tflite INPUTS.npz OUTPUTS.npz
    python -P -m zoo.export._edge_worker bench FILE.tflite INPUTS.npz RESULT.json THREADS RUNS
"""

from __future__ import annotations

import functools
import importlib.abc
import sys
import time
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

BLOCKED = ("tensorflow", "keras", "tf_keras", "jax", "jaxlib", "torch")


class Blocker(importlib.abc.MetaPathFinder):
    """Refuses the frameworks, as a phone or a Raspberry Pi would."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Raise for a blocked module, know nothing about any other."""
        if fullname.partition(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"{fullname} is blocked in this process", name=fullname)
        return None


def run(model: str, inputs: str, outputs: str) -> None:
    """Answer the examples of an `.npz` file, as many at a time as the model takes; the last batch is filled up."""
    import numpy as np

    from zoo.export._process import read_arrays, write_arrays
    from zoo.export.runtime import Edge

    edge = Edge(model)
    examples = read_arrays(inputs)
    count, size = len(next(iter(examples.values()))), edge.batch_size
    answers = [
        edge.run(edge.fill({name: array[i : i + size] for name, array in examples.items()}))
        for i in range(0, count, size)
    ]
    write_arrays(Path(outputs), {name: np.stack([answer[name] for answer in answers]) for name in edge.outputs})


def bench(model: str, inputs: str, result: str, threads: str, runs: str) -> None:
    """Time loading and answering; the examples of the `.npz` file take turns."""
    import numpy as np

    from zoo.export._process import read_arrays
    from zoo.files import write_json

    before = _memory("VmRSS")
    import ai_edge_litert.interpreter

    imported = _memory("VmRSS")
    from zoo.export.runtime import Edge

    load_ms, edge = _timed(lambda: Edge(model, num_threads=int(threads)))
    examples, size = read_arrays(inputs), edge.batch_size
    requests = [
        edge.fill({name: array[i : i + size] for name, array in examples.items()})
        for i in range(0, len(next(iter(examples.values()))), size)
    ]
    first_ms, _ = _timed(lambda: edge.run(requests[0]))
    later = [_timed(functools.partial(edge.run, requests[i % len(requests)]))[0] for i in range(int(runs))]
    low, high = np.percentile(later, [50, 95])
    write_json(
        result,
        {
            "threads": int(threads),
            "load_ms": round(load_ms, 3),
            "first_ms": round(first_ms, 3),
            "p50_ms": round(float(low), 3),
            "p95_ms": round(float(high), 3),
            "runs": int(runs),
            "runtime": ai_edge_litert.__version__,
            "runtime_memory_mb": _megabytes(imported, before),
            "model_memory_mb": _megabytes(_memory("VmHWM"), imported),
            "peak_memory_mb": _megabytes(_memory("VmHWM"), 0),
        },
    )


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    value = work()
    return (time.perf_counter() - start) * 1e3, value


def _memory(field: str) -> int | None:
    """Return a field of this process's status in bytes (VmRSS now, VmHWM the peak), or None where there is no /proc.

    Not `resource.getrusage`: on Linux its peak starts from the parent's, which may hold all of TensorFlow.
    """
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None


def _megabytes(value: int | None, base: int | None) -> float | None:
    return None if value is None or base is None else round((value - base) / 2**20, 1)


def main(arguments: list[str]) -> None:
    """Run one command; an error is one line on stderr and exit code 1."""
    sys.meta_path.insert(0, Blocker())
    from zoo.export._process import run_command

    run_command({"run": run, "bench": bench}, arguments)


if __name__ == "__main__":
    main(sys.argv[1:])
