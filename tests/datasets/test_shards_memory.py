"""Memory does not grow with the dataset: the same records ten times over, in shards."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest


@pytest.mark.full
@pytest.mark.parametrize("task", ["captioning", "text_classification", "forecasting"])
def test_ten_times_the_data_takes_no_more_memory(task: str, repository: Path, tmp_path: Path) -> None:
    """Over 140 MB of records, which take more once decoded; the whole process has about a gigabyte."""
    benchmark = runpy.run_path(str(repository / "benchmarks" / "shards_memory.py"))
    report = benchmark["measure"](task, benchmark["RECORDS"][task], 10, tmp_path)
    assert report["records"][1] == 10 * report["records"][0] and report["bytes"][1] > 9 * report["bytes"][0]
    assert report["bytes"][1] > 140e6
    assert report["peak_mb"][1] < 1.1 * report["peak_mb"][0], report
