"""What `auto` chooses, from what is there and what the environment says."""

from __future__ import annotations

import json

import pytest

from zoo.errors import ConfigError
from zoo.training.devices import CHOICES, Devices, _choose, choose, has_tpu, preferred_backend, processes


def _cluster(count: int, index: int, kind: str = "worker") -> dict[str, str]:
    addresses = [f"127.0.0.1:{9000 + i}" for i in range(count)]
    return {"TF_CONFIG": json.dumps({"cluster": {"worker": addresses}, "task": {"type": kind, "index": index}})}


def _jax(count: str, index: str | None = None, address: str | None = "127.0.0.1:9000") -> dict[str, str]:
    values = {"NUM_PROCESSES": count, "PROCESS_ID": index, "JOB_ADDRESSES": address}
    return {f"KERAS_DISTRIBUTION_{key}": value for key, value in values.items() if value is not None}


@pytest.mark.parametrize(
    ("backend", "kind", "found", "several", "expected"),
    [
        ("tensorflow", "CPU", 1, 1, "one"),
        ("tensorflow", "CPU", 4, 1, "one"),
        ("tensorflow", "GPU", 1, 1, "one"),
        ("tensorflow", "GPU", 2, 1, "mirrored"),
        ("tensorflow", "TPU", 8, 1, "tpu"),
        ("tensorflow", "GPU", 2, 2, "multiworker"),
        ("jax", "CPU", 1, 1, "one"),
        ("jax", "GPU", 2, 1, "jax"),
        ("jax", "GPU", 1, 4, "jax"),
        ("jax", "TPU", 1, 1, "tpu"),
        ("jax", "TPU", 4, 2, "tpu"),
    ],
)
def test_auto(backend: str, kind: str, found: int, several: int, expected: str) -> None:
    chosen, reason = _choose(backend, kind, found, several)
    assert chosen == expected and chosen in CHOICES
    assert reason and "\n" not in reason


def test_this_machine() -> None:
    chosen = choose()
    assert chosen.kind == "one" and chosen.is_chief and chosen.reason in str(chosen)
    for wrong, message in (
        ("jax", "is for the jax backend, and Keras runs on tensorflow"),
        ("tpu", "the tensorflow backend finds none"),
        ("multiworker", "needs TF_CONFIG with a cluster of two or more workers"),
        ("gpus", "must be one of auto, one"),
    ):
        with pytest.raises(ConfigError, match=message):
            choose(wrong)


def test_processes_from_the_environment() -> None:
    assert processes("tensorflow", {}) == processes("jax", {}) == (0, 1)
    assert processes("tensorflow", _cluster(3, 2)) == (2, 3)
    assert processes("jax", _jax("2", "1")) == (1, 2)
    chief = {"cluster": {"chief": ["a:1"], "worker": ["b:1", "c:1"]}, "task": {"type": "worker", "index": 1}}
    assert processes("tensorflow", {"TF_CONFIG": json.dumps(chief)}) == (2, 3)


@pytest.mark.parametrize(
    ("backend", "environment", "message"),
    [
        ("tensorflow", {"TF_CONFIG": "{"}, "TF_CONFIG cannot be read"),
        ("tensorflow", {"TF_CONFIG": "[]"}, "TF_CONFIG cannot be read"),
        ("tensorflow", _cluster(2, 0, "ps"), "makes this process a 'ps'"),
        ("tensorflow", _cluster(2, 2), "process 2 of 2"),
        ("jax", _jax("two"), "must be a whole number"),
        ("jax", _jax("2"), "PROCESS_ID is not set"),
        ("jax", _jax("2", "0", None), "JOB_ADDRESSES is not set"),
        ("jax", _jax("2", "2"), "process 2 of 2"),
    ],
)
def test_bad_descriptions(backend: str, environment: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        processes(backend, environment)


def test_the_backend_where_nobody_has_chosen() -> None:
    def names(environment: dict[str, str], **installed: bool) -> str:
        return preferred_backend(environment, **{"tensorflow": True, "jax": True, **installed})[0]

    assert names({}) == "tensorflow"
    assert names({}, tensorflow=False) == "jax"
    assert names({"COLAB_TPU_ADDR": "10.0.0.2:8470"}) == "jax"
    assert names({"COLAB_TPU_ADDR": "10.0.0.2:8470"}, jax=False) == "tensorflow"
    assert names(_jax("2", "0")) == "jax"
    assert names({**_jax("2", "0"), **_cluster(2, 0)}) == "tensorflow"
    assert has_tpu({"TPU_NAME": "local"})


def test_a_line_for_a_person() -> None:
    text = str(Devices("jax", "JAX finds 4 GPUs", "GPU", 4, 1, 2))
    assert text == "jax (4 GPUs, process 2 of 2): JAX finds 4 GPUs"
