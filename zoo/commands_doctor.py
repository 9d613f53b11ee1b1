"""`zoo doctor`: what this machine can do, and whether a train step is ready for a TPU that it has not."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, UseAppendAction, arg

from zoo import display
from zoo.errors import ConfigError, ZooError

if TYPE_CHECKING:
    from zoo.training.tpu_compile import Target


@dataclass(frozen=True)
class Doctor:
    """Show versions, devices, and what is missing; with a model, examine its train step, for a TPU too."""

    architecture: Annotated[Positional[str | None], arg(metavar="[MODEL|all]")] = None
    """A model, or 'all': look in its train step for what a TPU cannot run (needs JAX)."""
    compile_for: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="CHIP:SLICE")] = ()
    """Compile the train step for these TPUs without having one (needs the extra tpu): v5e:1x1, v5e:2x2, v6e:1x1,
    v6e:2x2, or several with commas."""
    batch: int | None = None
    """Examples of a global batch; the recipe's when not given."""
    tiny: bool = False
    """Take the tiny configuration of the tests, which compiles in seconds, not the default one."""
    precision: Literal["mixed_bfloat16", "float32"] = "mixed_bfloat16"
    """Keras dtype policy; a TPU multiplies in bfloat16."""
    timeout: float = 7200.0
    """Seconds after which one compilation is stopped."""
    json: bool = False
    """Print JSON."""

    def run(self) -> int:
        """Print what was found; exit code 1 if a train step has findings, fails to compile or does not fit."""
        if self.architecture is not None:
            return self._examine_steps(self.architecture)
        for option in ("compile_for", "batch", "tiny"):
            if getattr(self, option):
                name = option.replace("_", "-")
                raise ConfigError(f"--{name} needs a model: zoo doctor NAME --{name} ..., or zoo doctor all.")
        from zoo.doctor import examine

        display.record(examine(), as_json=self.json)
        return 0

    def _examine_steps(self, wanted: str) -> int:
        from zoo.registry import architecture, list_models
        from zoo.training.tpu_compile import Target, check_installed

        names = list_models() if wanted == "all" else [architecture(wanted).name]
        texts = [text for option in self.compile_for for text in option.split(",") if text]
        targets: list[Target | None] = [Target.parse(text) for text in dict.fromkeys(texts)]
        check_installed(compiler=bool(targets))
        pairs = [(name, target) for name in names for target in targets or [None]]
        reports = _one_by_one(pairs, self._report, hint=bool(targets) and not self.tiny)
        if self.json:
            display.rows(reports, as_json=True, empty="")
        else:
            _show(reports, compiled=bool(targets))
        return 0 if all(_passed(report) for report in reports) else 1

    def _report(self, name: str, target: Target | None) -> dict[str, Any]:
        from zoo.registry import architecture, find_recipe
        from zoo.training.config import TrainConfig
        from zoo.training.tpu_compile import compile_step

        cls, recipe = architecture(name), find_recipe(name)
        changes: dict[str, Any] = {"precision": self.precision}
        if self.batch is not None:
            changes["batch_size"] = self.batch
        train = TrainConfig().replace(**{**((recipe and recipe.train) or {}), **changes})
        config = cls.tiny() if self.tiny else cls.Config()
        try:
            return compile_step(name, target, config=config, train=train, timeout=self.timeout)
        except ZooError as error:
            return {"architecture": name, "target": target and str(target), "error": str(error)}


def _passed(report: dict[str, Any]) -> bool:
    return "error" not in report and not report["findings"] and report.get("fits", True)


def _verdict(report: dict[str, Any]) -> str:
    if "error" in report:
        return "error"
    if report["findings"]:
        return f"findings: {len(report['findings'])}"
    return {None: "no findings", True: "fits", False: "does not fit"}[report.get("fits")]


def _one_by_one(
    pairs: list[tuple[str, Target | None]], work: Callable[[str, Target | None], dict[str, Any]], *, hint: bool
) -> list[dict[str, Any]]:
    """Work on every pair; the time that runs is shown on a terminal, a line for each that is done elsewhere too."""
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), MofNCompleteColumn())
    reports = []
    if hint:
        console.print("A compilation takes from seconds to many minutes, by the size of the model; --tiny is quick.")
    with Progress(
        *columns, TimeElapsedColumn(), console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        for number, (name, target) in enumerate(pairs):
            what = f"{name} for {target}" if target else name
            task = bar.add_task(what, total=len(pairs), completed=number)
            started = time.monotonic()
            report = work(name, target)
            bar.remove_task(task)
            console.print(f"{what}: {_verdict(report)}  [{time.monotonic() - started:.0f} s]")
            reports.append(report)
    return reports


def _show(reports: list[dict[str, Any]], *, compiled: bool) -> None:
    """Print tables: the compiled steps, then the findings; and what else there is to say."""
    done = [report for report in reports if "error" not in report]
    if compiled:
        display.rows([_row(report) for report in done if "fits" in report], as_json=False, empty="Nothing compiled.")
    findings = [
        {"architecture": report["architecture"], "for": report["target"] or "any TPU", **finding}
        for report in done
        for finding in report["findings"]
    ]
    examined = ", ".join(dict.fromkeys(report["architecture"] for report in done))
    if done:
        display.rows(findings, as_json=False, empty=f"No findings in the train step of {examined}.")
    for report in done:
        if not report.get("fits", True):
            print(f"{report['architecture']} for {report['target']}: {report['compiler']}")
    for report in reports:
        if "error" in report:
            print(f"error: {report['error']}")
    if any("fits" in report for report in done):
        print("Numbers are of one chip; flops and bytes count the body of a loop once.")
    if done:
        versions = ", ".join(f"{name} {version}" for name, version in done[0]["versions"].items())
        print(f"{done[0]['precision']}; {versions}")


def _row(report: dict[str, Any]) -> dict[str, str]:
    """Return the line of the table of a step that was compiled, or refused because it does not fit."""
    fits = report["fits"]
    memory = report["peak_bytes"] if fits else report["needed_bytes"]
    exchanged = ", ".join(f"{kind} {count}" for kind, count in report.get("collectives", {}).items())
    return {
        "architecture": report["architecture"],
        "for": report["target"],
        "chips": str(report["devices"]),
        "parameters": f"{report['parameters']:,}",
        "batch": f"{report['global_batch']:,}",
        "flops": f"{report['flops']:,}" if fits else "",
        "bytes accessed": f"{report['bytes_accessed']:,}" if fits else "",
        "memory bytes": "unknown" if memory is None else f"{memory:,}",
        "of": f"{report['hbm_bytes']:,}",
        "fits": "yes" if fits else "NO",
        "loops": str(report["loops"]) if fits else "",
        "collectives": exchanged or ("none" if fits else ""),
        "compiled in s": f"{report['compile_seconds']:.1f}",
    }
