"""From nothing to the first answer of a `.tflite` file, in fresh processes.

Each process imports `zoo.export.runtime`, opens the file and answers its first golden example as a person gives it: a
picture file, a text or a CSV file. Files take turns, and the table shows medians over the rounds:

- `cold s`: wall time from the first import to the first answer; `cpu s`: processor time of the same, which other work
  on the machine does not lengthen.
- `import s`, `load s`, `answer s`: its three parts.
- `process s`: wall time of the whole process, Python's own start included.
- `peak MiB`: peak memory of the whole process (VmHWM).

A process that has imported TensorFlow, Keras or JAX ends the benchmark with an error, and so does a value over
`--limit-s` (of processor time) or `--limit-mib`. On a busy machine `chrt -f 1 python ...` gives the wall times of an
idle one.

    python benchmarks/edge_start.py text.tflite caption.tflite price.tflite
    python benchmarks/edge_start.py text.tflite --rounds 31 --json > edge_start.json
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

from zoo.export.bundle import read_bundle
from zoo.export.golden import SUFFIXES, read_golden

CHILD = """
import time
wall, cpu = time.perf_counter(), time.process_time()
from zoo.export.runtime import Edge
imported = time.perf_counter()
import sys
edge = Edge(sys.argv[1])
loaded = time.perf_counter()
edge.predict(sys.argv[2])
done = time.perf_counter()
used = time.process_time() - cpu
import json
with open("/proc/self/status") as file:
    peak = next(int(line.split()[1]) / 1024 for line in file if line.startswith("VmHWM:"))
print(json.dumps({
    "cold s": done - wall, "cpu s": used, "import s": imported - wall, "load s": loaded - imported,
    "answer s": done - loaded, "peak MiB": peak,
    "frameworks": [name for name in ("tensorflow", "keras", "jax", "torch") if name in sys.modules],
}))
"""
COLUMNS = ("cold s", "cpu s", "import s", "load s", "answer s", "process s", "peak MiB")


def request_of(path: Path, folder: Path) -> str:
    """Return what a person would type for the first golden example of a file: a text, or a path."""
    request = next((case.request for case in read_golden(read_bundle(path)) if case.request is not None), None)
    if request is None:
        raise SystemExit(f"'{path}' is of bundle format 1, which holds no requests; export it again.")
    if request.kind == "text":
        return request.content.decode("utf-8")
    out = folder / f"{path.stem}.{SUFFIXES[request.kind]}"
    if request.kind == "image_rgb":
        out = out.with_suffix(".png")
        Image.fromarray(request.value()).save(out)
    else:
        out.write_bytes(request.content)
    return str(out)


def start(path: Path, request: str) -> dict[str, float]:
    """Answer once in a fresh process."""
    begin = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-P", "-c", CHILD, str(path), request], capture_output=True, text=True, check=False
    )
    wall = time.perf_counter() - begin
    if done.returncode:
        sys.exit(done.stderr)
    found = json.loads(done.stdout)
    if found["frameworks"]:
        sys.exit(f"{path}: the process imported {', '.join(found['frameworks'])}")
    return {**{name: found[name] for name in COLUMNS if name in found}, "process s": wall}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--limit-s", type=float, default=0.5)
    parser.add_argument("--limit-mib", type=float, default=150.0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        requests = {path: request_of(path, Path(folder)) for path in options.files}
        rounds: dict[Path, list[dict[str, float]]] = {path: [] for path in options.files}
        for _ in range(options.rounds):
            for path, request in requests.items():
                rounds[path].append(start(path, request))
    table = {
        str(path): {name: statistics.median(one[name] for one in found) for name in COLUMNS}
        for path, found in rounds.items()
    }
    if options.json:
        print(json.dumps({"rounds": options.rounds, "files": table}, indent=2))
    else:
        print(f"{'':32}" + "".join(f"{name:>11}" for name in COLUMNS))
        for name, row in table.items():
            print(f"{name[-31:]:32}" + "".join(f"{row[column]:11.3f}" for column in COLUMNS))
    for name, row in table.items():
        for column, limit in (("cpu s", options.limit_s), ("peak MiB", options.limit_mib)):
            if row[column] > limit:
                sys.exit(f"{name}: {column} is {row[column]:.3f}, over {limit}")


if __name__ == "__main__":
    main()
