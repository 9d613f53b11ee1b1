"""`quantize="auto"`: the smallest or fastest variant whose answers are still good enough."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from zoo.errors import ConfigError, ExportError, unknown_name
from zoo.export.variants import Comparison, Variant

PREFERENCES = ("size", "latency")


def check_prefer(prefer: str) -> None:
    """Refuse an unknown preference.

    Raises:
        UnknownNameError: If `prefer` is not one of `PREFERENCES`.
    """
    if prefer not in PREFERENCES:
        raise unknown_name("preference", prefer, PREFERENCES)


def choose(comparison: Comparison, prefer: str = "size") -> Variant:
    """Return the smallest or the fastest variant that passed the gate.

    Args:
        comparison: What `compare_variants` measured.
        prefer: "size": bytes of the bundle; "latency": median of an answer, first number of threads.

    Raises:
        ConfigError: If there is no metric to choose by.
        ExportError: If no variant passed.
        UnknownNameError: If there is no such preference.
    """
    check_prefer(prefer)
    if comparison.metric is None:
        raise ConfigError(
            "quantize='auto' chooses by the task's metric, and there is none without training and true answers; name a "
            "variant."
        )
    passed = [variant for variant in comparison.variants if variant.passed]
    if not passed:
        reasons = {variant.name: variant.error or variant.refused for variant in comparison.variants}
        name, reason = next(iter(reasons.items()))
        raise ExportError(f"None of {', '.join(reasons)} passed the export gate; {name}: {reason}")
    size: Callable[[Variant], float] = lambda variant: len(variant.bundle)  # noqa: E731
    return min(passed, key=size if prefer == "size" else latency)


def choice(comparison: Comparison, prefer: str) -> dict[str, Any]:
    """Return what a report says of the choice: how it was made, and every variant's numbers."""
    return {
        "prefer": prefer,
        "budget": comparison.budget,
        "timing": comparison.timing,
        "variants": [variant.record() for variant in comparison.variants],
    }


def latency(variant: Variant) -> float:
    """Return the median milliseconds of an answer."""
    return float(variant.latency[0]["p50_ms"]) if variant.latency else float("inf")
