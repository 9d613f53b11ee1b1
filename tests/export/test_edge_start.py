"""From nothing to the first answer: fast, small, and without the frameworks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path


def test_the_first_answer_comes_at_once(repository: Path) -> None:
    """Processor time, because other work on the machine lengthens any wall time."""
    stored = repository / "tests" / "fixtures" / "bundle_v2"
    files = [str(stored / f"{name}.tflite") for name in ("text_attn", "caption_attn", "price_attn")]
    script = repository / "benchmarks" / "edge_start.py"
    done = subprocess.run(
        [
            sys.executable,
            "-P",
            str(script),
            *files,
            "--rounds",
            "3",
            "--limit-s",
            "0.5",
            "--limit-mib",
            "150",
            "--json",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["files"]
    assert list(found) == files
    for row in found.values():
        assert 0 < row["answer s"] < row["cold s"] < row["process s"]
        assert 10 < row["peak MiB"] < 150
