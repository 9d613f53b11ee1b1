"""Train steps compiled for TPUs by libtpu, on a machine without one."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import zoo
from zoo.api import build_from_config
from zoo.errors import ConfigError, ZooError, is_installed
from zoo.files import replace_folder
from zoo.registry import architecture
from zoo.training.config import TrainConfig
from zoo.training.tpu_compile import GIB, HBM, Target, compile_step, count_collectives, read_refusal

FLAGSHIPS = ("caption_attn", "price_attn", "text_attn")
TARGETS = ("v5e:1x1", "v6e:1x1", "v5e:2x2")

WITHOUT_LIBTPU = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name == "libtpu":
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Blocker())
from zoo.cli import main
main(["doctor", "price_attn", "--compile-for", "v5e:1x1"])
"""


def _zoo(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "zoo", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=1500, check=False)


@pytest.mark.parametrize("name", zoo.list_models())
def test_tiny_configurations_compile_in_seconds(name: str) -> None:
    assert build_from_config(name, architecture(name).tiny()).count_params() < 100_000


def test_targets_are_read() -> None:
    target = Target.parse("v6e:2x2")
    assert (target.chip, target.devices, str(target)) == ("v6e", 4, "v6e:2x2")
    for text in ("v5e", "v5e:3x1", "v4:1x1", ""):
        with pytest.raises(ConfigError, match=f"'{text}' is no TPU slice to compile for; known: v5e:1x1, v5e:2x2"):
            Target.parse(text)


@pytest.mark.parametrize(
    ("said", "needed", "available"),
    [
        (
            "RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required for HLO temporaries (92.42G)\n"
            "exceeds available HBM (15.75G).",
            92.42 * GIB,
            15.75 * GIB,
        ),
        (
            "RESOURCE_EXHAUSTED: XLA:TPU compile permanent error. Ran out of memory in memory space hbm. "
            "Used 18.40G of 15.48G hbm. Exceeded hbm capacity by 2.92G.",
            18.40 * GIB,
            15.48 * GIB,
        ),
        ("RESOURCE_EXHAUSTED: Ran out of memory in memory space vmem.", None, HBM["v5e"]),
    ],
)
def test_the_compilers_out_of_memory_is_read(said: str, needed: float | None, available: float) -> None:
    report = read_refusal(said, Target.parse("v5e:1x1"))
    assert report["fits"] is False and "\n" not in report["compiler"]
    assert report["needed_bytes"] == (None if needed is None else int(needed))
    assert report["hbm_bytes"] == int(available)


def test_other_refusals_are_errors() -> None:
    with pytest.raises(ZooError, match="refused the train step for v5e:1x1: UNIMPLEMENTED: no such thing"):
        read_refusal("UNIMPLEMENTED: no such thing", Target.parse("v5e:1x1"))


def test_collectives_are_counted() -> None:
    program = """
      %all-reduce.1 = f32[8]{0} all-reduce(%x), channel_id=1
      %ar = (f32[8]{0}, f32[2]{0}) all-reduce(%a, %b), channel_id=2
      %start = f32[8]{0} all-gather-start(%x)
      %done = f32[8]{0} all-gather-done(%start)
      %fusion = f32[8]{0} fusion(%all-reduce.1), kind=kLoop
    """
    assert count_collectives(program) == {"all-gather": 1, "all-reduce": 2}


def test_a_missing_compiler_is_one_line() -> None:
    done = subprocess.run([sys.executable, "-P", "-c", WITHOUT_LIBTPU], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.splitlines() == [
        "zoo: error: Compiling for a TPU needs 'libtpu', which is not installed; run: pip install 'attention-zoo[tpu]'."
    ]


def test_bad_usage_is_one_line() -> None:
    for words, message in (
        (["--tiny"], "--tiny needs a model"),
        (["price_atn"], "Did you mean price_attn"),
        (["price_attn", "--compile-for", "v5e:9x9"], "'v5e:9x9' is no TPU slice"),
    ):
        done = _zoo("doctor", *words)
        assert done.returncode == 2 and message in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr


@pytest.fixture(scope="module")
def libtpu(repository: Path) -> Iterator[None]:
    """Let this process and its children find libtpu.

    It is kept in a folder of its own, because wherever it is installed JAX loads it at its start and it complains that
    there is no TPU.
    """
    if is_installed("libtpu"):
        yield
        return
    wanted = next(text for text in importlib.metadata.requires("jax") or () if text.startswith("libtpu"))
    folder = repository / ".cache" / f"libtpu-of-jax-{importlib.metadata.version('jax')}"
    if not folder.is_dir():
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-deps"]
        requirement = wanted.split(";")[0].strip()
        replace_folder(folder, lambda new: subprocess.run([*pip, "--target", str(new), requirement], check=True))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")])))
        yield


@pytest.fixture(scope="module")
def reports(libtpu: None) -> dict[tuple[str, str], dict[str, Any]]:
    """What one command says of every registered architecture, by name and slice."""
    done = _zoo("doctor", "all", "--tiny", "--batch", "32", "--json", "--compile-for", ",".join(TARGETS))
    assert done.returncode == 0, done.stdout + done.stderr
    return {(report["architecture"], report["target"]): report for report in json.loads(done.stdout)}


@pytest.mark.full
def test_every_architecture_compiles_for_every_slice(reports: dict[tuple[str, str], dict[str, Any]]) -> None:
    assert set(reports) == {(name, target) for name in zoo.list_models() for target in TARGETS}
    assert {name for name, _ in reports} >= set(FLAGSHIPS)
    for (name, target), report in reports.items():
        where = f"{name} {target}"
        assert report["fits"] and not report["findings"], where
        assert report["parameters"] < 100_000 and report["global_batch"] == 32, where
        assert 0 < report["peak_bytes"] < report["hbm_bytes"], where
        assert report["argument_bytes"] >= 3 * 4 * report["parameters"], f"{where}: weights and two moments, float32"
        assert set(report["versions"]) == {"keras", "jax", "libtpu"}, where


@pytest.mark.full
@pytest.mark.parametrize("name", zoo.list_models())
def test_four_chips_share_the_work_and_reduce(name: str, reports: dict[tuple[str, str], dict[str, Any]]) -> None:
    one, four = reports[name, "v5e:1x1"], reports[name, "v5e:2x2"]
    assert (one["devices"], four["devices"]) == (1, 4)
    assert one["collectives"] == {} and four["collectives"]["all-reduce"] >= 1
    assert 0.2 < four["flops"] / one["flops"] < 0.35


@pytest.mark.full
def test_a_batch_that_is_too_large_is_refused_with_its_bytes(libtpu: None) -> None:
    done = _zoo("doctor", "price_attn", "--compile-for", "v5e:1x1", "--batch", "65536", "--json")
    assert done.returncode == 1, done.stderr
    (report,) = json.loads(done.stdout)
    assert report["fits"] is False and report["hbm_bytes"] == HBM["v5e"]
    assert 17 * GIB < report["needed_bytes"] < 40 * GIB  # 20.7 GiB with libtpu 0.0.42
    assert "exceeds available HBM" in report["compiler"]
    table = _zoo("doctor", "price_attn", "--compile-for", "v5e:1x1", "--batch", "65536")
    assert table.returncode == 1 and f"{report['needed_bytes']:,}" in table.stdout and "NO" in table.stdout


@pytest.mark.full
def test_the_memory_of_a_chip_is_what_the_compiler_says(libtpu: None) -> None:
    config = architecture("price_attn").Config().replace(window=256)
    train = TrainConfig(batch_size=65_536, precision="mixed_bfloat16")
    report = compile_step("price_attn", Target.parse("v6e:1x1"), config=config, train=train)
    assert report["fits"] is False and report["needed_bytes"] > report["hbm_bytes"] == HBM["v6e"]


@pytest.mark.full
def test_a_step_with_findings_is_not_compiled(libtpu: None) -> None:
    done = _zoo("doctor", "price_attn", "--tiny", "--compile-for", "v5e:2x2", "--batch", "30", "--json")
    (report,) = json.loads(done.stdout)
    assert done.returncode == 1 and "fits" not in report
    assert [(item["rule"], item["layer"]) for item in report["findings"]] == [("batch", "window")]
