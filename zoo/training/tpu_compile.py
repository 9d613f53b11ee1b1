"""Compile an architecture's real train step for a TPU, on a machine that has none.

libtpu holds the compiler of the chips and needs no chip to run it: JAX is given the description of a slice, lowers the
step for it, and gets a finished program or the compiler's refusal. What is compiled is `zoo.training.engine_jax`'s own
step with the recipe's optimizer: the state is donated and copied to every chip, the batch is split over them.

    parent:  compile_step(...)  ->  python -m zoo.training.tpu_compile SPEC.json REPORT.json  ->  report

libtpu wants environment variables before JAX starts, and it may abort: so each compilation is a process of its own.
"""

from __future__ import annotations

import importlib.metadata
import re
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from zoo.config import BaseConfig
from zoo.errors import ConfigError, ZooError, is_installed, not_installed
from zoo.export._process import run_command, run_worker
from zoo.files import read_json, write_json
from zoo.registry import architecture
from zoo.tasks import get_task
from zoo.training.config import TrainConfig

if TYPE_CHECKING:
    import jax
    import keras

    from zoo.tasks import Task
    from zoo.training.tpu_lint import Finding

GIB = 1 << 30
HBM = {"v5e": int(15.75 * GIB), "v6e": int(31.25 * GIB)}
"""Bytes of memory of one chip that the compiler lets a program use (of 16 and 32 GiB)."""
SLICES = {"1x1": 1, "2x2": 4}
"""Chips of each slice."""
COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "collective-permute", "all-to-all")

_ENVIRONMENT = {
    "KERAS_BACKEND": "jax",
    "JAX_PLATFORMS": "cpu",  # of the process; the program is for the chips described
    "TPU_SKIP_MDS_QUERY": "1",  # no question to Google's metadata server
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # no lock file: no chip is opened
    "TPU_LOG_DIR": "disabled",
    "TF_CPP_MIN_LOG_LEVEL": "3",
}
_STEPS = 10_000  # of the learning rate's schedule: constants of the program, no more
_NEEDED = (
    re.compile(r"\(([\d.]+)([KMGT]?)\) exceeds available HBM \(([\d.]+)([KMGT]?)\)"),
    re.compile(r"Used ([\d.]+)([KMGT]?) of ([\d.]+)([KMGT]?) hbm"),
)
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


@dataclass(frozen=True)
class Target:
    """A slice of TPU chips, written `v5e:2x2`.

    Attributes:
        chip: A key of `HBM`.
        slice: A key of `SLICES`.
    """

    chip: str
    slice: str

    @classmethod
    def parse(cls, text: str) -> Target:
        """Read `CHIP:SLICE`.

        Raises:
            ConfigError: If there is no such chip or slice.
        """
        chip, _, shape = text.partition(":")
        if chip not in HBM or shape not in SLICES:
            known = ", ".join(f"{chip}:{shape}" for chip in HBM for shape in SLICES)
            raise ConfigError(f"'{text}' is no TPU slice to compile for; known: {known}.")
        return cls(chip, shape)

    def __str__(self) -> str:
        """Return what `parse` reads."""
        return f"{self.chip}:{self.slice}"

    @property
    def devices(self) -> int:
        """Number of chips."""
        return SLICES[self.slice]


def check_installed(*, compiler: bool) -> None:
    """Check that Keras, JAX and, if `compiler`, libtpu are there.

    Raises:
        MissingExtraError: If one is not.
    """
    for module, extra in (("keras", "jax"), ("jax", "jax"), ("libtpu", "tpu")):
        if (module != "libtpu" or compiler) and not is_installed(module):
            purpose = "Compiling for a TPU" if compiler else "Examining a train step"
            raise not_installed(module, extra=extra, purpose=purpose)


def compile_step(
    name: str, target: Target | None, *, config: BaseConfig, train: TrainConfig, timeout: float = 7200.0
) -> dict[str, Any]:
    """Lint an architecture's train step and compile it for a slice, in a process of its own.

    Args:
        name: Registered name.
        target: The slice; None to lint only.
        config: Configuration of the architecture.
        train: Hyper-parameters; `batch_size` is that of the whole slice.
        timeout: Seconds after which the compiler is stopped.

    Returns:
        `architecture`, `target`, `devices`, `parameters`, `global_batch`, `micro_batches`, `precision`, `versions` and
        `findings`. With a target and without findings also `fits`, `hbm_bytes` and `compile_seconds`, and then, if it
        does not fit, `needed_bytes` (None if the compiler did not say) and `compiler`, its words; if it fits, per chip
        `flops`, `bytes_accessed` (both count the body of each of `loops` once), `argument_bytes`, `output_bytes`,
        `temp_bytes`, `code_bytes`, `peak_bytes`, and `collectives`, kind -> number of instructions.

    Raises:
        MissingExtraError: If Keras, JAX or libtpu is not installed.
        ZooError: If the process fails, crashes or takes too long, or the compiler stops for another reason.
    """
    check_installed(compiler=target is not None)
    what = f"Compiling {name} for {target}" if target else f"Tracing {name}"
    spec = {"name": name, "target": target and str(target), "config": config.to_dict(), "train": train.to_dict()}
    with tempfile.TemporaryDirectory(prefix="zoo-tpu-") as folder:
        paths = Path(folder) / "spec.json", Path(folder) / "report.json"
        write_json(paths[0], spec)
        run_worker(
            "zoo.training.tpu_compile",
            ["compile", *paths],
            what=what,
            timeout=timeout,
            # Without a target nothing but the initial weights is compiled, for this process.
            environment=_ENVIRONMENT if target else {**_ENVIRONMENT, "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"},
        )
        report = read_json(paths[1])
    assert isinstance(report, dict)
    return report


def example_batch(task: Task, config: Any) -> tuple[Any, Any, np.ndarray]:
    """Return a training batch of one made-up example, through the task's own code: (inputs, targets, weights)."""
    examples = task.examples([task.default_record(config)], task.default_preprocessor(config), config)
    inputs, targets, weights = examples.batch(np.arange(1), np.random.default_rng(0))
    return inputs, targets, np.ones(1, np.float32) if weights is None else weights


def trace_step(
    model: keras.Model, batch: Any, train: TrainConfig, devices: list[Any] | None = None
) -> tuple[jax.stages.Traced | None, list[Finding]]:
    """Trace the real train step, and lint it.

    Args:
        model: Built and compiled.
        batch: (inputs, targets, weights) of any number of rows; the step is for `train.batch_size`.
        train: Hyper-parameters.
        devices: Chips to split the batch over; the process's own device when not given.

    Returns:
        The traced step, or None if it cannot be traced; and the findings (see `zoo.training.tpu_lint`).
    """
    import jax
    from jax.sharding import Mesh, NamedSharding, PartitionSpec

    from zoo.training.devices import Devices
    from zoo.training.engine_jax import JaxEngine, read_state, train_step_function
    from zoo.training.tpu_lint import lint_trace

    everywhere = split = None
    if devices is not None:
        mesh = Mesh(np.array(devices), ("batch",))
        everywhere, split = NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec("batch"))

    def whole(array: Any) -> Any:
        return jax.ShapeDtypeStruct(np.shape(array), array.dtype, sharding=everywhere)

    def rows(array: Any) -> Any:
        return jax.ShapeDtypeStruct((train.batch_size, *np.shape(array)[1:]), array.dtype, sharding=split)

    def trace() -> jax.stages.Traced:
        model._symbolic_build(data_batch=batch)  # makes the variables of metrics and optimizer, and computes nothing
        model.optimizer.build(model.trainable_variables)
        engine = JaxEngine(Devices("one", "nothing runs"), train)
        engine.model = model
        step = train_step_function(model, clip_norm=train.clip_norm, micro_batches=train.micro_batches)
        compiled = jax.jit(step, donate_argnums=0, out_shardings=everywhere)
        state, sums = jax.tree.map(whole, (read_state(model), engine.zeros()))
        return compiled.trace(state, sums, jax.tree.map(rows, batch))

    return lint_trace(model, trace)


def examine(name: str, target: Target | None, config: BaseConfig, train: TrainConfig) -> dict[str, Any]:
    """Do what `compile_step` promises, in this process, whose environment must be as libtpu wants it."""
    import keras

    from zoo.api import build_from_config
    from zoo.training.optimizer import make_optimizer
    from zoo.training.tpu_lint import STRINGS, lint_model

    keras.config.set_dtype_policy(train.precision)
    task = get_task(architecture(name).task)
    model = build_from_config(name, config)
    arguments = task.compile_arguments(label_smoothing=train.label_smoothing)
    model.compile(optimizer=make_optimizer(train, _STEPS), **arguments)
    batch = example_batch(task, config)
    count = target.devices if target else 1
    findings = lint_model(
        model, batch_size=train.batch_size, devices=count, micro_batches=train.micro_batches, batch=batch
    )
    report: dict[str, Any] = {
        "architecture": name,
        "target": target and str(target),
        "devices": count,
        "parameters": model.count_params(),
        "global_batch": train.batch_size,
        "micro_batches": train.micro_batches,
        "precision": train.precision,
        "versions": _versions("keras", "jax", *(["libtpu"] if target else [])),
    }
    traced = None
    if not any(finding.rule == STRINGS for finding in findings):  # JAX has no strings: the model cannot even be called
        devices = _topology(target) if target and not findings else None
        traced, more = trace_step(model, batch, train, devices)
        findings += more
    report["findings"] = [finding.to_dict() for finding in findings]
    if target and traced and not findings:
        report |= _compile(traced, target)
    return report


def _topology(target: Target) -> list[Any]:
    """Return the description of a slice's chips, all on one host."""
    from jax.experimental import topologies

    bounds = (*map(int, target.slice.split("x")), 1)
    found = topologies.get_topology_desc(platform="tpu", topology_name=str(target), chips_per_host_bounds=bounds)
    return list(found.devices)


def _compile(traced: jax.stages.Traced, target: Target) -> dict[str, Any]:
    import jax

    started = time.monotonic()
    try:
        compiled = traced.lower().compile()
    except jax.errors.JaxRuntimeError as error:
        seconds = round(time.monotonic() - started, 1)
        return {**read_refusal(str(error), target), "compile_seconds": seconds}
    seconds = round(time.monotonic() - started, 1)
    memory, cost, program = compiled.memory_analysis(), compiled.cost_analysis(), compiled.as_text()
    return {
        "fits": True,
        "hbm_bytes": HBM[target.chip],
        "compile_seconds": seconds,
        "flops": int(cost["flops"]),
        "bytes_accessed": int(cost["bytes accessed"]),
        "argument_bytes": memory.argument_size_in_bytes,
        "output_bytes": memory.output_size_in_bytes,
        "temp_bytes": memory.temp_size_in_bytes,
        "code_bytes": memory.generated_code_size_in_bytes,
        "peak_bytes": memory.peak_memory_in_bytes,
        "loops": len(re.findall(r"\swhile\(", program)),
        "collectives": count_collectives(program),
    }


def read_refusal(said: str, target: Target) -> dict[str, Any]:
    """Return `fits` False with the bytes that the compiler's out-of-memory message gives (it rounds to 0.01 GiB).

    Raises:
        ZooError: If it is about something else than memory.
    """
    said = " ".join(said.split())
    sentence = said[:400]
    if "RESOURCE_EXHAUSTED" not in said and "out of memory" not in said.lower():
        raise ZooError(f"The compiler refused the train step for {target}: {sentence}")
    needed, available = None, HBM[target.chip]
    for pattern in _NEEDED:
        if match := pattern.search(said):
            needed, available = (int(float(match[i]) * _UNITS[match[i + 1]]) for i in (1, 3))
    return {"fits": False, "hbm_bytes": available, "needed_bytes": needed, "compiler": sentence}


def count_collectives(program: str) -> dict[str, int]:
    """Count the instructions in a compiled program's text by which chips exchange data, by kind.

    An asynchronous one is a pair, of which the start is counted.
    """
    found = re.findall(rf"\s({'|'.join(COLLECTIVES)})(?:-start)?\(", program)
    return dict(sorted(Counter(found).items()))


def _versions(*packages: str) -> dict[str, str]:
    return {package: importlib.metadata.version(package) for package in packages}


def _worker(spec_path: str, report_path: str) -> None:
    spec = read_json(spec_path)
    config = architecture(spec["name"]).Config.from_dict(spec["config"])
    target = Target.parse(spec["target"]) if spec["target"] else None
    write_json(report_path, examine(spec["name"], target, config, TrainConfig.from_dict(spec["train"])))


if __name__ == "__main__":
    run_command({"compile": _worker}, sys.argv[1:])
