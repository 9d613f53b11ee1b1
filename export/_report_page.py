"""The report as one HTML page that needs nothing else: inline style, inline plots, pictures as `data:` addresses.

Everything that comes from data is escaped. No script, and a content policy that forbids the page to load anything.
Numbers stand in `<data value="...">` with their full value, so that what is shown can be checked against the JSON.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from zoo.export._report_cases import case_list
from zoo.export._report_html import STYLE, number, percent, region, swatch
from zoo.export._report_plots import Point, bars, scatter

Record = Mapping[str, Any]

_BEST = {"size": "smallest", "latency": "fastest"}


def render_page(report: Record, pictures: Mapping[int, str]) -> str:
    """Return the page.

    Args:
        report: What `report.json` holds (see `zoo.export.report`).
        pictures: Row of an example -> its picture as a `data:` address.
    """
    made = [variant for variant in report["variants"] if not variant["error"]]
    model = report["model"]
    title = escape(f"{model['name']}: variants of the file")
    parts = [_head(report), _advice(report, made), _quality(report, made), _speed(made), *_plots(report, made)]
    parts += [_differences(report, made), _worst(report, made, pictures), _operators(made), _about(report)]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'\">\n"
        f'<meta name="color-scheme" content="light dark">\n<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n'
        f"<body>\n<main>\n{chr(10).join(part for part in parts if part)}\n</main>\n</body>\n</html>\n"
    )


def _head(report: Record) -> str:
    model = report["model"]
    facts = [model["task"].replace("_", " "), f"trained on {model['data']}" if model["trained"] else "not trained"]
    if model["run"]:
        facts.append(f"run {model['run']}")
    where = f"examples of the split “{report['split']}”" if report["split"] else "made-up or given examples"
    facts += [f"{report['examples']} {where}", report["made"]]
    return f"<header><h1>{escape(model['name'])}: variants of the file</h1><p>{escape(' · '.join(facts))}</p></header>"


def _advice(report: Record, made: Sequence[Record]) -> str:
    """Say in sentences which file to take and how to write it, what it gives up, and what failed."""
    metric, lines = report["metric"], []
    chosen = {what: name for what, name in report["choice"].items() if name}
    for variant in made:
        kinds = [_BEST[what] for what, name in chosen.items() if name == variant["name"]]
        if kinds:
            within = f"{' and '.join(kinds)} within the budget of {percent(metric['budget'])}"
            lines.append(
                f"<strong>{escape(variant['name'])}</strong> is the {within}: {_in_words(variant, metric)}. "
                f"Write it with <code>{escape(variant['command'])}</code>."
            )
    if metric and not chosen:
        lines.append("No variant passes the export gate.")
    for variant in report["variants"]:
        reason = variant["error"] or variant["refused"]
        if reason:
            what = "was not made" if variant["error"] else "does not pass the export gate"
            lines.append(f"<strong>{escape(variant['name'])}</strong> {what}: {escape(reason)}")
    if not metric:
        lines.append("There is no metric: the model is not trained, or its examples have no true answers.")
    items = "".join(f"<li>{line}</li>" for line in lines)
    return f'<section class="advice"><h2>Which file to take</h2><ul>{items}</ul></section>'


def _in_words(variant: Record, metric: Record) -> str:
    first, same = variant["latency"][0], variant["agreement"]
    size = number(variant["bytes"], "bytes")
    if variant["size_ratio"] is not None:
        size += f" ({percent(variant['size_ratio'])} of float32)"
    change = f"{percent(abs(variant['drop']))} {'worse' if variant['drop'] > 0 else 'better'}"
    if abs(variant["drop"]) < 5e-5:
        change = "the same"
    return ", ".join(
        (
            size,
            f"{number(first['p50_ms'], 'ms', digits=3)} an answer on {_threads(first['threads'])}",
            f"{escape(metric['name'])} {number(variant['metric'])} against the Keras model's {number(metric['keras'])} "
            f"({change})",
            f"{number(same['same'])} of {number(same['of'])} answers the same",
        )
    )


def _quality(report: Record, made: Sequence[Record]) -> str:
    metric = report["metric"]
    header = ["Variant", "File", "Model alone", "Of float32"]
    header += [metric["name"], "Drop"] if metric else []
    header += ["Gate", "Same answers", "Mean difference", "Largest"]
    rows = []
    for place, variant in enumerate(made):
        same, apart = variant["agreement"], variant["difference"]
        cells = [number(variant["bytes"], "bytes"), number(variant["flatbuffer_bytes"], "bytes")]
        cells.append(percent(variant["size_ratio"]))
        if metric:
            cells += [number(variant["metric"]), percent(variant["drop"], signed=True)]
        refused = '<span class="bad">✗ refused</span>'
        cells.append(refused if variant["refused"] else '<span class="good">✓ passed</span>')
        cells.append(f"{number(same['same'])} of {number(same['of'])}")
        cells += [number(apart[key], digits=2) for key in ("mean", "max")]
        rows.append((swatch(place) + escape(variant["name"]), cells))
    notes = [f"Difference: {escape(report['difference']['what'])}; measured against the Keras model in float32."]
    if metric:
        error = f" ± {number(metric['se'], digits=2)} (standard error)" if metric["se"] is not None else ""
        better = "Higher" if metric["higher_is_better"] else "Lower"
        notes = [
            f"Keras model: {escape(metric['name'])} {number(metric['keras'])}{error}. {better} is better. A drop is "
            f"relative to it, on the same examples; a negative one is a gain.",
            *notes,
        ]
    table = _table("Size and answers", header, rows)
    return f"<section><h2>Size and answers</h2>{table}<p>{' '.join(notes)}</p></section>"


def _speed(made: Sequence[Record]) -> str:
    header = ["Variant", "Threads", "Load", "First answer", "Later, p50", "Later, p95", "Peak memory", "Model's part"]
    rows = []
    for place, variant in enumerate(made):
        for record in variant["latency"]:
            cells = [number(record["threads"])]
            cells += [number(record[key], "ms", digits=3) for key in ("load_ms", "first_ms", "p50_ms", "p95_ms")]
            cells += [number(record[key], "MiB", digits=3) for key in ("peak_memory_mb", "model_memory_mb")]
            rows.append((swatch(place) + escape(variant["name"]), cells))
    note = (
        "Every row is a fresh process without TensorFlow. Load: read the file, check it, reserve memory. Peak memory "
        "is the whole process with Python; the model's part is what the peak lies above an empty process with LiteRT."
    )
    return f"<section><h2>Speed and memory</h2>{_table('Speed and memory', header, rows)}<p>{note}</p></section>"


def _plots(report: Record, made: Sequence[Record]) -> list[str]:
    metric = report["metric"]
    if metric:
        sign = 1 if metric["higher_is_better"] else -1
        worst = metric["keras"] - sign * metric["budget"] * abs(metric["keras"])
        lines = [(metric["keras"], "Keras"), (worst, f"budget {metric['budget'] * 100:.2g} %")]
        y_label = metric["name"]
        heights = [variant["metric"] for variant in made]
    else:
        lines, y_label = [], "share of same answers"
        heights = [variant["agreement"]["same"] / variant["agreement"]["of"] for variant in made]
    threads = [record["threads"] for record in made[0]["latency"]]
    figures = []
    for title, x_label, values in (
        (f"Size against {y_label}", "file, MB", [variant["bytes"] / 1e6 for variant in made]),
        (
            f"Latency against {y_label}",
            f"p50 of later answers, ms, {_threads(threads[0])}",
            [variant["latency"][0]["p50_ms"] for variant in made],
        ),
    ):
        names = [variant["name"] for variant in made]
        points = [
            Point(x, y, name, place) for place, (x, y, name) in enumerate(zip(values, heights, names, strict=True))
        ]
        words = "; ".join(f"{point.name}: {x_label} {point.x:.4g}, {y_label} {point.y:.4g}" for point in points)
        plot = scatter(points, title=title, description=words, x_label=x_label, y_label=y_label, lines=lines)
        figures.append(_figure(title, plot))
    figures.append(_latency_bars(made, threads))
    figures.append(_histogram(report, made))
    return [f'<section><h2>Plots</h2>{_legend(made)}<div class="plots">{"".join(figures)}</div></section>']


def _latency_bars(made: Sequence[Record], threads: Sequence[int]) -> str:
    title = "Latency by threads"
    groups = [_threads(count) for count in threads]
    series = [
        (variant["name"], place, [record["p50_ms"] for record in variant["latency"]])
        for place, variant in enumerate(made)
    ]
    return _figure(
        title,
        bars(
            groups,
            series,
            title=title,
            description=_in_turn(groups, series, "ms"),
            x_label="",
            y_label="p50 of later answers, ms",
        ),
    )


def _histogram(report: Record, made: Sequence[Record]) -> str:
    title = "How far the answers are from the Keras model's"
    groups = bin_names(report["difference"]["steps"])
    series = []
    for place, variant in enumerate(made):
        counts = variant["difference"]["histogram"]
        series.append((variant["name"], place, [count / max(1, sum(counts)) * 100 for count in counts]))
    plot = bars(
        groups,
        series,
        title=title,
        description=_in_turn(groups, series, "%"),
        x_label="difference",
        y_label="% of the examples",
        highest=100.0,
    )
    return _figure(title, f"{plot}<p>Difference: {escape(report['difference']['what'])}.</p>")


def bin_names(steps: Sequence[float]) -> list[str]:
    """Name the bins of a histogram whose first is below `steps[0]` and whose last is open."""
    return [f"< {steps[0]:g}", *(f"≥ {step:g}" for step in steps)]


def _in_turn(groups: Sequence[str], series: Sequence[tuple[str, int, Sequence[float]]], unit: str) -> str:
    return "; ".join(
        f"{name}: " + ", ".join(f"{group} {value:.3g} {unit}" for group, value in zip(groups, values, strict=True))
        for name, _, values in series
    )


def _figure(title: str, plot: str) -> str:
    return f"<figure><figcaption>{escape(title)}</figcaption>{plot}</figure>"


def _legend(made: Sequence[Record]) -> str:
    items = "".join(f"<li>{swatch(place)}{escape(variant['name'])}</li>" for place, variant in enumerate(made))
    return f'<ul class="legend">{items}</ul>'


def _differences(report: Record, made: Sequence[Record]) -> str:
    header = ["Difference", *(variant["name"] for variant in made)]
    rows = []
    for row, name in enumerate(bin_names(report["difference"]["steps"])):
        rows.append((escape(name), [number(variant["difference"]["histogram"][row]) for variant in made]))
    table = _table("Examples by difference", header, rows)
    what = escape(report["difference"]["what"])
    return f"<details><summary>Examples by difference, in numbers</summary><p>{what}</p>{table}</details>"


def _worst(report: Record, made: Sequence[Record], pictures: Mapping[int, str]) -> str:
    parts = []
    for place, variant in enumerate(made):
        heading = f"{swatch(place)}{escape(variant['name'])}"
        apart = [case for case in variant["worst"] if case["difference"] > 0]
        if not apart:
            parts.append(f"<h3>{heading}</h3><p>All answers are exactly the Keras model's.</p>")
            continue
        count = f"{len(apart)} largest difference{'s' * (len(apart) > 1)}"
        opened = " open" if any(not case["same"] for case in apart) else ""
        cases = case_list(apart, variant["name"], place, pictures)
        parts.append(f"<details{opened}><summary><h3>{heading}</h3> {count}</summary>{cases}</details>")
    return f"<section><h2>Where the answers differ most</h2>{''.join(parts)}</section>"


def _operators(made: Sequence[Record]) -> str:
    """Count operators by the type of what they return: it shows where a quantised graph stays float."""
    names = sorted({name for variant in made for name in variant["operators"]})
    rows = []
    for name in names:
        counts = [variant["operators"].get(name, {}) for variant in made]
        rows.append((escape(name), [_counts(count) for count in counts]))
    totals = [sum(sum(count.values()) for count in variant["operators"].values()) for variant in made]
    rows.append(("All", [number(total) for total in totals]))
    table = _table("Operators", ["Operator", *(variant["name"] for variant in made)], rows)
    return f"<details><summary>Operators, by the type of their output</summary>{table}</details>"


def _counts(by_type: Mapping[str, int]) -> str:
    return ", ".join(f"{number(count)} {escape(kind)}" for kind, count in by_type.items()) or number(0)


def _about(report: Record) -> str:
    timing = report["timing"]
    facts = {**report["machine"], **{f"version of {name}": value for name, value in report["versions"].items()}}
    facts |= report["model"]["serving_options"]
    facts["timing"] = (
        f"{timing['rounds']} rounds, in each a fresh process for every variant in turn; {timing['runs']} answers to "
        f"{timing['examples']} examples each; medians over the rounds. Other work on the machine makes them larger."
    )
    items = "".join(f"<dt>{escape(str(name))}</dt><dd>{escape(str(value))}</dd>" for name, value in facts.items())
    return f"<details><summary>How this was measured</summary><dl>{items}</dl></details>"


def _threads(count: int) -> str:
    return f"{count} thread{'s' * (count > 1)}"


def _table(caption: str, header: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]]) -> str:
    """Return a table that scrolls by itself where it is wider than the screen; texts of rows are HTML already."""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in header)
    body = "".join(
        f'<tr><th scope="row">{name}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>' for name, cells in rows
    )
    return region(caption, f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>")
