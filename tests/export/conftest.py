"""What the tests of the browser client share."""

from __future__ import annotations

import datetime
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def run_node() -> Callable[[str, Path, dict[str, Any]], dict[str, Any]]:
    """Return a function that runs a script beside this file: JSON in, JSON out."""
    if shutil.which("node") is None:
        pytest.fail("The tests of the browser client need Node.js 18 or newer; install it.")

    def run(script: str, folder: Path, job: dict[str, Any]) -> dict[str, Any]:
        command = ["node", HERE / script, folder]
        done = subprocess.run(command, input=json.dumps(job), capture_output=True, text=True, timeout=400, check=False)
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout))

    return run


@pytest.fixture(scope="session")
def price_table() -> Callable[[int], str]:
    """Return a function from a number to prices as people write them."""
    return make_table


def make_table(number: int) -> str:
    """Return prices as people write them: other separators, orders, dates, quotes, share splits."""
    rng = np.random.default_rng(number)
    count = int(rng.integers(12, 60))
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.03, count)))
    first = datetime.date(2021, 3, 1)
    write_day = [str, "{:%Y/%m/%d}".format, "{:%d.%m.%Y}".format, "{:%Y%m%d}".format, "{:%d-%b-%Y}".format][number % 5]
    lines = []
    for row, price in enumerate(close):
        cells = [write_day(first + datetime.timedelta(row))]
        cells += [f"{price * factor:.2f}" for factor in (1.0, 1.01, 0.98, 1.0)]
        lines.append([*cells, str(rng.integers(1000, 9000)), "2" if number == 7 and row == count - 4 else "1"])
    header = ["Date", "open", " High ", '"low"', "CLOSE", "volume", "split_factor"]
    if number % 3 == 1:
        lines.reverse()
    if number % 4 == 2:
        lines = [[f'"{cell}"' for cell in cells] for cells in lines]
    end = "\r\n" if number % 2 else "\n"
    return ("\ufeff" if number % 6 == 5 else "") + end.join(
        ",;\t"[number % 3].join(cells) for cells in [header, *lines]
    )
