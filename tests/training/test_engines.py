"""Every engine gives the losses of one device: replicas, micro-batches, clipping, averages, mixed precision."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zoo.registry import architecture

VARIANTS = Path(__file__).with_name("variants.py")
FLAGSHIPS = ("caption_attn", "price_attn", "text_attn")
# Masks of dropout are drawn for a replica's own rows under tf.distribute, so they are not those of one device.
STILL = {
    "caption_attn": {"dropout": 0.0, "augment": 0.0},
    "price_attn": {"dropout": 0.0},
    "text_attn": {"dropout": 0.0, "token_dropout": 0.0, "embedding_dropout": 0.0, "pooled_dropout": 0.0},
}
# Gradients are clipped in every step, weights averaged, the rate rises and falls. At three times the rate, rounding in
# another order of additions grows to 1e-4 in twenty steps: Adam divides small gradients by small ones.
HARD = {"clip_norm": 0.3, "ema": 0.9, "warmup": 0.3}


def train_variants(
    name: str, data: Path, out: Path, variants: dict[str, Any], *, backend: str, count: int = 2
) -> dict[str, Any]:
    """Train in a process of its own, which has several devices."""
    request = {"name": name, "data": str(data), "out": str(out), "logical_cpus": count, "variants": variants}
    environment = {
        **os.environ,
        "KERAS_BACKEND": backend,
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={count}",
    }
    done = subprocess.run(
        [sys.executable, "-P", str(VARIANTS), json.dumps(request)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    results: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return results


def assert_equal(results: dict[str, Any], first: str, second: str, rtol: float = 1e-5) -> None:
    """Compare the losses of twenty steps, and what every epoch measured."""
    one, other = results[first], results[second]
    assert len(one["losses"]) == 20
    assert max(one["losses"]) > 1.02 * min(one["losses"])  # it does something
    np.testing.assert_allclose(other["losses"], one["losses"], rtol=rtol)
    assert other["history"].keys() == one["history"].keys()
    for key, values in one["history"].items():
        # Counts such as accuracy may turn over at a tie.
        np.testing.assert_allclose(other["history"][key], values, rtol=rtol, atol=1e-6 if "loss" in key else 0.1)


@pytest.mark.full
@pytest.mark.parametrize("name", FLAGSHIPS)
def test_mirrored_replicas_and_micro_batches_on_tensorflow(
    name: str, tiny_data: Callable[[str], Path], tmp_path: Path
) -> None:
    still = {"model": STILL[name], "train": HARD}
    whole, halves = _for_micro_batches(name)
    variants = {
        "one": still,
        "mirrored": {**still, "devices": "mirrored"},
        "calls": {**still, "devices": "mirrored", "train": {**HARD, "steps_per_call": 3}},
        "whole": whole,
        "halves": halves,
        "mirrored_halves": {**halves, "devices": "mirrored"},
    }
    results = train_variants(name, tiny_data(architecture(name).task), tmp_path, variants, backend="tensorflow")
    for first, second in (("one", "mirrored"), ("one", "calls"), ("whole", "halves"), ("whole", "mirrored_halves")):
        assert_equal(results, first, second)


@pytest.mark.full
@pytest.mark.parametrize("name", FLAGSHIPS)
def test_data_parallel_and_micro_batches_on_jax(name: str, tiny_data: Callable[[str], Path], tmp_path: Path) -> None:
    # One program sees the whole batch, so dropout is that of one device; micro-batches draw their own.
    whole, halves = _for_micro_batches(name)
    variants = {
        "one": {"train": HARD},
        "parallel": {"train": HARD, "devices": "jax"},
        "whole": whole,
        "parallel_halves": {**halves, "devices": "jax"},
    }
    results = train_variants(name, tiny_data(architecture(name).task), tmp_path, variants, backend="jax", count=4)
    for first, second in (("one", "parallel"), ("whole", "parallel_halves")):
        assert_equal(results, first, second)


@pytest.mark.full
@pytest.mark.parametrize(("backend", "devices"), [("tensorflow", "mirrored"), ("jax", "jax")])
def test_mixed_precision(backend: str, devices: str, tiny_data: Callable[[str], Path], tmp_path: Path) -> None:
    variants = {"float32": {"model": STILL["text_attn"], "train": HARD}}
    for precision in ("bfloat16", "float16"):
        low = {"model": STILL["text_attn"], "train": {**HARD, "precision": f"mixed_{precision}"}}
        variants |= {precision: low, f"{precision}_replicas": {**low, "devices": devices}}
    results = train_variants("text_attn", tiny_data("text_classification"), tmp_path, variants, backend=backend)
    # Sums in another order round otherwise, and with so few digits that grows from step to step.
    assert_equal(results, "bfloat16", "bfloat16_replicas", rtol=2e-2)
    assert_equal(results, "float16", "float16_replicas", rtol=2e-3)
    assert_equal(results, "float32", "bfloat16", rtol=4e-2)
    # Where the first scale of the loss is too large a step is left out, on all replicas: only the first loss is equal.
    whole, half = results["float32"]["losses"], results["float16"]["losses"]
    np.testing.assert_allclose(half[0], whole[0], rtol=1e-3)
    assert np.mean(half[-5:]) < 0.9 * half[0]


def _for_micro_batches(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a training with whole batches and one with halves. Batch statistics are of a micro-batch: the one thing
    that accumulation changes, so the captioner has group normalisation there."""
    model = {**STILL[name], **({"norm": "group"} if name == "caption_attn" else {})}
    return {"model": model, "train": HARD}, {"model": model, "train": {**HARD, "micro_batches": 2}}
