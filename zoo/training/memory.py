"""How much memory training takes, on the host and on its devices, where the system tells."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import keras


def host_bytes() -> int | None:
    """Return the resident memory of this process in bytes; None where there is no /proc (macOS, Windows)."""
    return _status("VmRSS")


def peak_host_bytes(*, reset: bool = False) -> int | None:
    """Return the largest resident memory of this process so far in bytes; None where there is no /proc.

    Args:
        reset: Count from now on at the next call, where the system allows it.
    """
    peak = _status("VmHWM")
    if reset:
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
    return peak


def _status(field: str) -> int | None:
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None


def device_bytes() -> dict[str, int]:
    """Return the memory of this process's accelerators in bytes, all of them together.

    Returns:
        `device_bytes` in use and `device_peak_bytes`; empty where the backend does not tell: on CPUs, and for
        TensorFlow on TPUs.
    """
    if keras.config.backend() == "jax":
        import jax

        return total(device.memory_stats() for device in jax.local_devices())
    import tensorflow as tf

    count = len(tf.config.list_logical_devices("GPU"))
    found = [tf.config.experimental.get_memory_info(f"GPU:{index}") for index in range(count)]
    return total({"bytes_in_use": info["current"], "peak_bytes_in_use": info["peak"]} for info in found)


def total(stats: Iterable[Mapping[str, int] | None]) -> dict[str, int]:
    """Add up what JAX's `Device.memory_stats` gives for each device; a device that does not tell gives None."""
    known = [item for item in stats if item]
    names = {"device_bytes": "bytes_in_use", "device_peak_bytes": "peak_bytes_in_use"}
    return {
        name: sum(item[key] for item in known)
        for name, key in names.items()
        if known and all(key in item for item in known)
    }
