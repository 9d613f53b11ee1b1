"""Tables on a terminal, JSON where asked for."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from zoo.errors import printable
from zoo.files import to_json
from zoo.results import Result, StreamedWord


@contextlib.contextmanager
def progress(*, quiet: bool = False) -> Iterator[Callable[[str], None] | None]:
    """Yield what shows a line on what is done next, on standard error: in place on a terminal, else one below another.

    Args:
        quiet: Show nothing; yields None.
    """
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True, highlight=False, markup=False)
    started = time.monotonic()
    if quiet:
        yield None
    elif console.is_terminal:
        with console.status("Start") as status:
            yield lambda line: status.update(Text(f"{line}  [{time.monotonic() - started:.0f} s]"))
    else:
        yield lambda line: console.print(f"{line}  [{time.monotonic() - started:.0f} s]", soft_wrap=True)


def rows(items: list[dict[str, Any]], *, as_json: bool, empty: str) -> None:
    """Print records of equal keys as a table."""
    if as_json:
        print(to_json(items), end="")
        return
    if not items:
        print(empty)
        return
    _table(list(items[0]), [[_text(value) for value in item.values()] for item in items])


def record(item: Mapping[str, Any], *, as_json: bool, note: str = "") -> None:
    """Print one record: a line a field, nested fields indented; `note` goes below it on a terminal."""
    if as_json:
        print(to_json(dict(item)), end="")
        return
    print("\n".join(_lines(item, "")))
    if note:
        print(note)


def result(answer: Result, *, as_json: bool, note: str = "") -> None:
    """Print a prediction."""
    print(to_json(answer.to_dict()), end="") if as_json else print(printable(str(answer)))
    if note and not as_json:
        print(note)


def words(answer: Iterable[StreamedWord], *, as_json: bool) -> None:
    """Print a stream: words as they come on one line, or one JSON object a line."""
    for word in answer:
        print(to_json(word.to_dict(), indent=None) if as_json else printable(str(word)), end="", flush=True)
    if not as_json:
        print()


def evaluation(report: Mapping[str, Any], *, as_json: bool, folder: Path) -> None:
    """Print the model's metrics beside the baselines', standard errors after a ±."""
    if as_json:
        print(to_json(dict(report)), end="")
        return
    columns = {"model": report["metrics"], **report["baselines"]}
    print(f"{report['split']}: {report['examples']} examples (main metric: {report['main_metric']})")
    keys = [key for key, value in report["metrics"].items() if isinstance(value, (int, float)) and key[-3:] != "_se"]
    body = [[key, *(_cell(metrics, key) for metrics in columns.values())] for key in keys]
    _table(["metric", *columns], body)
    for key, value in report["metrics"].items():
        if isinstance(value, (list, tuple)) and len(value) == 2:
            print(f"{key}: {_text(value[0])} to {_text(value[1])}")
    for name, metrics in columns.items():
        if isinstance(metrics.get("note"), str):
            print(_text(f"{name}: {metrics['note']}"))
    for picture in report["pictures"]:
        print(f"picture: {folder / picture}")


def inspection(report: Mapping[str, Any], *, as_json: bool) -> None:
    """Print what `zoo.export.inspection.inspect_file` found in a file."""
    if as_json:
        print(to_json(dict(report)), end="")
        return
    print(_text(f"{report['architecture']} ({report['task']}), {report['quantize']}"))
    print(_text(f"{report['file']}: {report['bytes']:,} bytes, bundle format {report['format_version']}"))
    tensors = [
        [
            signature,
            side.removesuffix("s"),
            name,
            " x ".join(map(str, item["shape"])) or "scalar",
            item["dtype"],
            item["unit"],
        ]
        for signature, sides in report["signatures"].items()
        for side, items in sides.items()
        for name, item in items.items()
    ]
    _table(["signature", "side", "name", "shape", "type", "what"], tensors)
    print(f"weights: {report['parameters']:,} values")
    body = [
        [kind, *(f"{item[key]:,}" for key in ("tensors", "values", "bytes"))]
        for kind, item in report["constants"].items()
    ]
    _table(["constants", "tensors", "values", "bytes"], body)
    total = report["bytes"]
    _table(
        ["part", "bytes", "share"],
        [[part, f"{size:,}", f"{size / total:.1%}"] for part, size in report["sizes"].items()],
    )
    operators = report["operators"]
    print(f"{sum(operators.values())} operators in {report['graphs']} graphs: ", end="")
    print(_text(", ".join(f"{name} {count}" for name, count in operators.items())))
    shown = (
        "preprocessing",
        "training",
        "serving_options",
        "agreement",
        "metric",
        "latency",
        "licences",
        "golden",
        "made_by",
    )
    print("\n".join(_lines({key: report[key] for key in shown}, "")))


def variants(report: Mapping[str, Any]) -> None:
    """Print what an export with `quantize="auto"` compared, the chosen variant marked."""
    choice, metric = report["choice"], report["metric"]["name"]
    header = ["", "variant", "file", "model", metric, "drop", "same answers", "p50 ms", "p95 ms", "refused"]
    body = [
        [
            "*" if item["quantize"] == report["quantize"] else "",
            item["quantize"],
            _number(item["bytes"], ",d"),
            _number(item["flatbuffer_bytes"], ",d"),
            _number(item["metric"], ".4g"),
            _number(item["drop"], "+.2%"),
            _number(item["same"], "d") and f"{item['same']} of {report['agreement']['of']}",
            _number(item["p50_ms"], ".3g"),
            _number(item["p95_ms"], ".3g"),
            item["refused"] or "",
        ]
        for item in choice["variants"]
    ]
    _table(header, body)
    wanted = {"size": "the smallest file", "latency": "the fastest"}[choice["prefer"]]
    print(f"* {wanted} of those whose {metric} drops by at most {choice['budget']:.3g} relative\n")


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _cell(metrics: Mapping[str, Any], key: str) -> str:
    value, error = metrics.get(key), metrics.get(f"{key}_se")
    if not isinstance(value, (int, float)):
        return ""
    return _text(value) + (f" ± {_text(error)}" if isinstance(error, (int, float)) else "")


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_text, value))
    return printable(str(value))


def _lines(item: Mapping[str, Any], indent: str) -> list[str]:
    item = {printable(str(key)): value for key, value in item.items()}
    width = max(map(len, item), default=0)
    lines = []
    for key, value in item.items():
        if isinstance(value, Mapping) and value:
            lines += [f"{indent}{key}:", *_lines(value, indent + "  ")]
        elif isinstance(value, (list, tuple)) and value and all(isinstance(entry, Mapping) for entry in value):
            lines.append(f"{indent}{key}:")
            for entry in value:
                lines += [f"{indent}- " + ", ".join(f"{_text(name)} {_text(part)}" for name, part in entry.items())]
        else:
            lines.append(f"{indent}{key:<{width}}  {_shorten(_text(value))}")
    return lines


def _shorten(text: str, limit: int = 160) -> str:
    text = re.sub(r"\s+", " ", text)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _table(header: list[str], body: list[list[str]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in header:
        table.add_column(escape(name), overflow="fold")
    for line in body:
        table.add_row(*map(escape, line))
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 200  # a file or a pipe has no width of its own
    console.print(table)
