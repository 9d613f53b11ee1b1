"""Runs side by side: what differs, how training went, what was measured, whose answers are better.

Reads files; needs no Keras.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from zoo.errors import ConfigError, DataError, ModelFileError
from zoo.evaluations import read_answers
from zoo.files import read_json
from zoo.run import Run, weights_path
from zoo.training.config import TrainConfig
from zoo.training.state import StateFiles

_MAX_HEADER = 64 << 20


def compare_runs(folders: Sequence[str | os.PathLike[str]], evaluations: Sequence[str] = ()) -> dict[str, Any]:
    """Read runs of one task, finished or still training, and put them side by side.

    Args:
        folders: Two run folders or more.
        evaluations: Whose stored answers to compare (see `zoo.evaluations`): one name for all runs, or one for each.

    Returns:
        `{"task", "main_metric", "higher_is_better", "differences", "runs"}`. `differences` holds, for each field that
        all runs have and not all with the same value (`data.<option>`, `model.<field>`, `train.<field>`), the runs'
        values in order. What is not known is None. Each of `runs` has `run` (the folder as given), `architecture`,
        `data`, `parameters`, `finished`, `epochs`, `best_epoch` (from 1, by the value `monitor`), `best` and `last`
        (the values of these epochs), `seconds`, `history` (name -> one value an epoch), and `measured` by split: the
        main metric's `value`, its standard error `se`, the number of `examples`, the best `baseline` and its
        `baseline_value`. With `evaluations` there is also `answers`, `{"evaluations", "results"}`: the name of each
        run's evaluation, and what `Task.compare` returns.

    Raises:
        ConfigError: If there is only one run, one is named twice, they are of different tasks, there are not as many
            evaluations, or the task keeps no answers.
        DataError: If a run has no answers of that evaluation, or they are not to the same examples.
        ModelFileError: If a folder is not a run, or is damaged.
    """
    paths = [Path(folder) for folder in folders]
    if len(paths) < 2:
        raise ConfigError("Name two runs or more to compare.")
    for index, path in enumerate(paths):
        if path.resolve() in [other.resolve() for other in paths[:index]]:
            raise ConfigError(f"The run '{path}' is named twice.")
    runs = [Run.load(path) for path in paths]
    task = runs[0].task
    for run, path in zip(runs, paths, strict=True):
        if run.task.name != task.name:
            raise ConfigError(
                f"'{paths[0]}' is a run of {task.name}, '{path}' one of {run.task.name}; losses and metrics of "
                "different tasks cannot be compared."
            )
    settings = [_settings(run) for run in runs]
    shared = [name for name in settings[0] if all(name in other for other in settings)]
    values = {name: [setting[name] for setting in settings] for name in shared}
    report = {
        "task": task.name,
        "main_metric": task.main_metric,
        "higher_is_better": task.higher_is_better,
        "differences": {name: found for name, found in values.items() if any(value != found[0] for value in found)},
        "runs": [_describe(run, path) for run, path in zip(runs, paths, strict=True)],
    }
    if evaluations:
        names = list(evaluations) * (len(paths) if len(evaluations) == 1 else 1)
        if len(names) != len(paths):
            raise ConfigError(f"Name one evaluation for all {len(paths)} runs or one for each, not {len(names)}.")
        answers = [read_answers(path, name) for path, name in zip(paths, names, strict=True)]
        report["answers"] = {"evaluations": names, "results": task.compare(answers, runs[0].preprocessor)}
    return report


def table(report: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return the report as the rows of a table: one column a run, one row a fact."""
    runs = report["runs"]
    rows: list[tuple[str, list[str]]] = [
        ("model", [run["architecture"] for run in runs]),
        ("data", [run["data"] or "" for run in runs]),
        *((name, [_show(value) for value in values]) for name, values in report["differences"].items()),
        ("parameters", [_show(run["parameters"]) for run in runs]),
        ("epochs", [f"{run['epochs']}{'' if run['finished'] else ', not finished'}" for run in runs]),
        ("best epoch", [_show(run["best_epoch"]) for run in runs]),
    ]
    names = dict.fromkeys(name for run in runs for name in run["best"] if name != "learning_rate")
    rows += [(f"{name}, best epoch", [_show(run["best"].get(name)) for run in runs]) for name in names]
    rows += [(f"{name}, last epoch", [_show(run["last"].get(name)) for run in runs]) for name in ("loss", "val_loss")]
    for split in dict.fromkeys(split for run in runs for split in run["measured"]):
        cells = [_measured(run["measured"].get(split)) for run in runs]
        rows.append((f"{report['main_metric']} on {split}", cells))
    rows.append(("seconds", [_show(run["seconds"]) for run in runs]))
    return [{"": name, **dict(zip(short_names(report), cells, strict=True))} for name, cells in rows]


def answers_table(report: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return the comparison of answers as rows: one a metric and part, one column a run and one its difference."""
    first, *others = short_names(report)
    rows = []
    for result in report["answers"]["results"]:
        row = {"": f"{result['metric']}, {result['part']} ({result['count']:,})", first: _show(result["values"][0])}
        for name, value, found in zip(others, result["values"][1:], result["differences"], strict=True):
            row[name] = _show(value)
            row[f"{name} - {first}"] = f"{found['difference']:+.4g} ({found['low']:+.4g} to {found['high']:+.4g})"
            if found["relative"] is not None:
                ends = f"{found['relative_low']:+.1%} to {found['relative_high']:+.1%}"
                row[f"{name} - {first}"] += f", {found['relative']:+.1%} ({ends})"
        rows.append(row)
    return rows


def short_names(report: Mapping[str, Any]) -> list[str]:
    """Return what to call the runs: the names of their folders, or the folders as given where two are alike."""
    folders = [run["run"] for run in report["runs"]]
    names = [Path(folder).name for folder in folders]
    return names if all(names) and len(set(names)) == len(names) else folders


def draw_curves(report: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Draw the losses of training and validation, one colour a run, a dot at its best epoch.

    Args:
        report: What `compare_runs` returns.
        path: The PNG to write.

    Raises:
        DataError: If no run has finished an epoch.
        MissingExtraError: If matplotlib is not installed.
    """
    from zoo.explain._canvas import MUTED, RULE, Script, new_figure, save, shorten

    runs = report["runs"]
    if not any(run["epochs"] for run in runs):
        raise DataError("None of these runs has finished an epoch, so there are no curves to draw.")
    names = [shorten(name, 70) for name in short_names(report)]
    script = Script(names)
    below = 0.62 + 0.21 * len(runs)
    height = 3.5 + below
    figure = new_figure(9.0, height)
    lines = []
    for column, (key, title) in enumerate((("loss", "training loss"), ("val_loss", "validation loss"))):
        axes = figure.add_axes((0.07 + 0.49 * column, below / height, 0.42, 3.1 / height))
        for index, run in enumerate(runs):
            values = [math.nan if value is None else value for value in run["history"].get(key, [])]
            style = {"color": _COLOURS[index % len(_COLOURS)], "linestyle": _DASHES[index // len(_COLOURS) % 3]}
            (line,) = axes.plot(range(1, len(values) + 1), values, linewidth=1.6, **style)
            if run["best_epoch"] is not None and values:
                axes.plot(run["best_epoch"], values[run["best_epoch"] - 1], "o", markersize=5, color=style["color"])
            if column == 0:
                lines.append(line)
        axes.set_title(title, size=10, loc="left", **script.style)
        axes.set_xlabel("epoch", size=8, color=MUTED)
        axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        axes.grid(axis="y", color=RULE, linewidth=0.6)
        axes.set_axisbelow(True)
        axes.tick_params(length=0, labelsize=8, colors=MUTED)
        for side, spine in axes.spines.items():
            spine.set_visible(side == "bottom")
            spine.set_color(RULE)
    legend = figure.legend(
        lines, list(map(script, names)), frameon=False, loc="lower left", bbox_to_anchor=(0.055, 0.0), fontsize=8
    )
    for text in legend.get_texts():
        text.set(**script.style)
    save(figure, path)


_COLOURS = ("#2563eb", "#d97706", "#15803d", "#b91c1c", "#7c3aed", "#0e7490", "#be185d", "#4b5563")
_DASHES = ("-", (0, (4, 1.5)), (0, (1, 1.2)))


def _settings(run: Run) -> dict[str, Any]:
    """Return what decided a run, by the names of the command line; fields added since then have their defaults."""
    train = {**TrainConfig().to_dict(), **(run.train or {})}
    options = (run.data or {}).get("options", {})
    groups = {"data": options, "model": run.config.to_dict(), "train": train}
    return {f"{group}.{name}": value for group, values in groups.items() for name, value in values.items()}


def _describe(run: Run, folder: Path) -> dict[str, Any]:
    history, seconds = _history(folder)
    epochs = len(next(iter(history.values()), []))
    monitor = (run.train or {}).get("monitor", "val_loss")
    scores = [math.nan if value is None else value for value in history.get(monitor, [])]
    finite = [epoch for epoch, score in enumerate(scores) if math.isfinite(score)]
    sign = -1 if (run.train or {}).get("monitor_mode") == "max" else 1
    best = min(finite, key=lambda epoch: sign * scores[epoch], default=None)
    return {
        "run": str(folder),
        "architecture": run.name,
        "data": run.data["reference"] if run.data else None,
        "parameters": _parameters(folder),
        "finished": (folder / "history.json").exists(),
        "epochs": epochs,
        "monitor": monitor,
        "best_epoch": None if best is None else best + 1,
        "best": {} if best is None else {name: values[best] for name, values in history.items()},
        "last": {name: values[-1] for name, values in history.items()} if epochs else {},
        "measured": {split: _main(run, result) for split, result in run.metrics.items()},
        "seconds": seconds,
        "history": history,
    }


def _history(folder: Path) -> tuple[dict[str, list[Any]], float | None]:
    """Return the epochs' values and the seconds: of a finished run, or what the newest checkpoint of another says."""
    path = folder / "history.json"
    states = StateFiles(folder / "checkpoints").paths()
    try:
        if path.exists():
            stored = read_json(path)
        elif states:
            path = states[0]
            info = json.loads(_header(path)["__metadata__"]["info"])
            stored = {"epochs": info["history"], "seconds": info["seconds"]}
        else:
            return {}, None
        epochs = {str(name): list(values) for name, values in stored["epochs"].items()}
        if len({len(values) for values in epochs.values()}) > 1:
            raise ValueError("its values are of different lengths")
        return epochs, stored.get("seconds")
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ModelFileError(f"'{path}' is damaged: {error}.") from error


def _parameters(folder: Path) -> int | None:
    """Count the values of the stored weights; None before there are any."""
    try:
        path = weights_path(folder)
    except ModelFileError:
        return None
    return sum(math.prod(entry["shape"]) for name, entry in _header(path).items() if name != "__metadata__")


def _header(path: Path) -> dict[str, Any]:
    """Read the header of a safetensors file: its length in 8 bytes, then JSON."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > _MAX_HEADER:
                raise ValueError("its header is too long")
            header = json.loads(file.read(length))
        if not isinstance(header, dict):
            raise ValueError("its header is no object")
    except OSError as error:
        raise ModelFileError(f"Cannot read '{path}': {error.strerror or error}.") from error
    except ValueError as error:
        raise ModelFileError(f"'{path}' is damaged: {error}.") from error
    return header


def _main(run: Run, result: Mapping[str, Any]) -> dict[str, Any]:
    """Return the main metric of an evaluation, and the best of the baselines that have it."""
    metric, metrics = run.task.main_metric, result["metrics"]
    scores = {name: values[metric] for name, values in result["baselines"].items() if values.get(metric) is not None}
    best = (max if run.task.higher_is_better else min)(scores, key=scores.__getitem__, default=None)
    return {
        "value": metrics.get(metric),
        "se": metrics.get(f"{metric}_se"),
        "examples": result["examples"],
        "baseline": best,
        "baseline_value": None if best is None else scores[best],
    }


def _measured(result: Mapping[str, Any] | None) -> str:
    if result is None:
        return ""
    error = "" if result["se"] is None else f" ± {_show(result['se'])}"
    baseline = "" if result["baseline"] is None else f" ({result['baseline']} {_show(result['baseline_value'])})"
    return f"{_show(result['value'])}{error}{baseline}, {result['examples']:,} examples"


def _show(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, (int, float, list)):
        return str(value)
    if isinstance(value, list):
        return ", ".join(map(_show, value))
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
