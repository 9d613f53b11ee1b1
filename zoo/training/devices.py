"""Which devices to train on: what is there, what `auto` chooses, and why.

| name | engine |
|---|---|
| `one` | one device: the first accelerator, else the CPU |
| `mirrored` | TensorFlow: `MirroredStrategy` over all local GPUs (or logical CPUs) |
| `multiworker` | TensorFlow: `MultiWorkerMirroredStrategy`, several processes, described by `TF_CONFIG` |
| `jax` | JAX: data-parallel over all devices of one process or several, described by Keras's variables below |
| `tpu` | JAX: data-parallel over TPU cores; TensorFlow: `TPUStrategy`, experimental, not run on hardware by us |

Several JAX processes are described as `keras.distribution.initialize` reads it: `KERAS_DISTRIBUTION_JOB_ADDRESSES`
(`host:port` of the first process), `KERAS_DISTRIBUTION_NUM_PROCESSES` and `KERAS_DISTRIBUTION_PROCESS_ID`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from zoo.errors import ConfigError

Choice = Literal["auto", "one", "mirrored", "multiworker", "jax", "tpu"]
CHOICES: tuple[str, ...] = get_args(Choice)
_BACKENDS = {"mirrored": "tensorflow", "multiworker": "tensorflow", "jax": "jax"}
_JAX_ADDRESS, _JAX_COUNT, _JAX_INDEX = (
    f"KERAS_DISTRIBUTION_{name}" for name in ("JOB_ADDRESSES", "NUM_PROCESSES", "PROCESS_ID")
)


@dataclass(frozen=True)
class Devices:
    """Where to train.

    Attributes:
        kind: One of `CHOICES` but `auto`.
        reason: Why, in a few words.
        device_type: "CPU", "GPU" or "TPU".
        count: Devices of this process.
        process_index: Number of this process; 0 writes the run's files.
        process_count: How many processes train together.
    """

    kind: str
    reason: str
    device_type: str = "CPU"
    count: int = 1
    process_index: int = 0
    process_count: int = 1

    @property
    def is_chief(self) -> bool:
        """Whether this process writes the run's files."""
        return self.process_index == 0

    def __str__(self) -> str:
        """Return a line for a person."""
        where = f"{self.count} {self.device_type}{'s' if self.count > 1 else ''}"
        several = f", process {self.process_index + 1} of {self.process_count}" if self.process_count > 1 else ""
        return f"{self.kind} ({where}{several}): {self.reason}"


def choose(requested: str = "auto") -> Devices:
    """Decide on the devices; Keras's backend is imported and its devices are looked at.

    Args:
        requested: One of `CHOICES`.

    Raises:
        ConfigError: If the name is unknown, or is of the other backend, or the description of the processes is bad.
    """
    if requested not in CHOICES:
        raise ConfigError(f"devices is '{requested}'; it must be one of {', '.join(CHOICES)}.")
    import keras

    backend = keras.backend.backend()
    needed = _BACKENDS.get(requested, backend)
    if needed != backend:
        raise ConfigError(
            f"devices '{requested}' is for the {needed} backend, and Keras runs on {backend}; set "
            f"KERAS_BACKEND={needed} (--backend {needed}) or give another."
        )
    index, count = processes(backend, os.environ)
    if backend == "jax" and count > 1:
        _join_jax(count)
    kind, found = _local_devices(backend, several=count > 1)
    wanted, reason = (requested, "as asked") if requested != "auto" else _choose(backend, kind, found, count)
    if wanted == "one":
        if count > 1:
            raise ConfigError("devices 'one' with several processes; leave devices at 'auto'.")
        found = 1
    if wanted == "multiworker" and count < 2:
        raise ConfigError("devices 'multiworker' needs TF_CONFIG with a cluster of two or more workers; set it.")
    if wanted == "tpu" and kind != "TPU":
        raise ConfigError(f"devices 'tpu', and the {backend} backend finds none, only {found} {kind}; give another.")
    return Devices(wanted, reason, kind, found, index, count)


def preferred_backend(environment: Mapping[str, str], *, tensorflow: bool, jax: bool) -> tuple[str, str]:
    """Return the Keras backend to use where nobody has chosen one, and why.

    Args:
        environment: Environment variables.
        tensorflow: Whether TensorFlow is installed.
        jax: Whether JAX is installed.
    """
    if jax and not tensorflow:
        return "jax", "TensorFlow is not installed"
    if jax and has_tpu(environment):
        return "jax", "there is a TPU, which Keras drives best through JAX"
    if jax and _JAX_COUNT in environment and "TF_CONFIG" not in environment:
        return "jax", f"{_JAX_COUNT} is set"
    return "tensorflow", "it trains anywhere but on TPUs, and exports"


def has_tpu(environment: Mapping[str, str]) -> bool:
    """Tell whether this machine has TPU devices, without importing anything."""
    told = any(name in environment for name in ("COLAB_TPU_ADDR", "TPU_NAME", "TPU_WORKER_ID"))
    return told or any(Path("/dev").glob("accel[0-9]*"))


def are_several(environment: Mapping[str, str]) -> bool:
    """Tell whether the environment describes several processes: they must meet before a device is touched."""
    return "TF_CONFIG" in environment or _JAX_COUNT in environment


def processes(backend: str, environment: Mapping[str, str]) -> tuple[int, int]:
    """Return the number of this process and how many there are, from the environment.

    Raises:
        ConfigError: If the description cannot be used.
    """
    if backend == "jax":
        count = _number(environment, _JAX_COUNT, 1)
        index = _number(environment, _JAX_INDEX, 0)
        if count > 1 and _JAX_INDEX not in environment:
            raise ConfigError(f"{_JAX_COUNT} is {count}, and {_JAX_INDEX} is not set; give every process its number.")
        if count > 1 and not environment.get(_JAX_ADDRESS):
            raise ConfigError(f"{_JAX_COUNT} is {count}, and {_JAX_ADDRESS} is not set; give host:port of process 0.")
    else:
        index, count = _tf_config(environment)
    if not 0 <= index < max(count, 1):
        raise ConfigError(f"This is process {index} of {count}; numbers go from 0 to {count - 1}.")
    return index, max(count, 1)


def _tf_config(environment: Mapping[str, str]) -> tuple[int, int]:
    text = environment.get("TF_CONFIG", "")
    if not text:
        return 0, 1
    try:
        described: Any = json.loads(text)
        cluster, task = described.get("cluster", {}), described.get("task", {})
        count = len(cluster.get("worker", [])) + len(cluster.get("chief", []))
        kind, index = task.get("type", "worker"), int(task.get("index", 0))
    except (ValueError, TypeError, AttributeError) as error:
        raise ConfigError(f"TF_CONFIG cannot be read ({error}); it must be JSON with 'cluster' and 'task'.") from error
    if kind not in ("worker", "chief"):
        raise ConfigError(f"TF_CONFIG makes this process a '{kind}'; only worker and chief are supported.")
    return (index + len(cluster.get("chief", [])) if kind == "worker" else index), count


def _number(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name, "")
    if not text:
        return default
    if not text.isdigit():
        raise ConfigError(f"{name} is '{text}'; it must be a whole number.")
    return int(text)


def _choose(backend: str, kind: str, found: int, process_count: int) -> tuple[str, str]:
    if backend == "jax":
        if kind == "TPU":
            return "tpu", f"JAX finds {found} TPU core{'s' if found > 1 else ''}"
        if process_count > 1:
            return "jax", f"{_JAX_COUNT} is {process_count}"
        if found > 1:
            return "jax", f"JAX finds {found} {kind}s"
        return "one", f"JAX finds one {kind}"
    if process_count > 1:
        return "multiworker", f"TF_CONFIG names {process_count} workers"
    if kind == "TPU":
        return "tpu", "TensorFlow finds a TPU (experimental)"
    if kind == "GPU" and found > 1:
        return "mirrored", f"TensorFlow finds {found} GPUs"
    return "one", f"TensorFlow finds one {kind}" if found == 1 else "CPUs are one device"


def _local_devices(backend: str, *, several: bool) -> tuple[str, int]:
    """Return type and number of this process's best devices; several processes must not start TensorFlow by it."""
    if backend == "jax":
        import jax

        devices = jax.local_devices()
        return {"cpu": "CPU", "tpu": "TPU"}.get(devices[0].platform, "GPU"), len(devices)
    import tensorflow as tf

    for kind in ("TPU", "GPU"):
        if found := tf.config.list_physical_devices(kind):
            return kind, len(found)
    return "CPU", 1 if several else len(tf.config.list_logical_devices("CPU"))


def _join_jax(count: int) -> None:
    import jax
    import keras

    if not jax.distributed.is_initialized():
        try:
            keras.distribution.initialize()
        except (RuntimeError, ValueError) as error:
            raise ConfigError(
                f"This process cannot join the other {count - 1}: {error}. It must happen before any use of JAX."
            ) from error
