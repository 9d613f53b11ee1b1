"""The examples of the report's page: what went in, the float answer and the variant's answer, side by side.

The kind of the input says what it is: a picture, a text, or a series; the fields of the answer say how it is shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from zoo.export._report_html import REFERENCE, number, region, swatch
from zoo.export._report_plots import forecasts

Record = Mapping[str, Any]

_CLASSES = 5  # shown of an answer with many


def case_list(cases: Sequence[Record], variant: str, place: int, pictures: Mapping[int, str]) -> str:
    """Return the list of examples, in the order given.

    Args:
        cases: Entries of `worst` (see `zoo.export.report`).
        variant: Name of the variant.
        place: Its number, for the colour.
        pictures: Row of an example -> its picture as a `data:` address.
    """
    items = []
    for case in cases:
        verdict = "same answer" if case["same"] else "another answer"
        heading = f"{escape(case['id'])} · difference {number(case['difference'], digits=3)} · {verdict}"
        items.append(f'<li class="case"><h4>{heading}</h4>{_body(case, variant, place, pictures)}</li>')
    return f'<p class="note">{_note(cases[0])}</p><ol class="cases">{"".join(items)}</ol>'


def _note(case: Record) -> str:
    if "mean" in case["expected"]:
        low, high = (f"{case['expected']['levels'][i]:.0%}" for i in (0, -1))
        return f"Dotted: what happened. In numbers: the mean at the last step, and the quantiles {low} to {high}."
    return "★ marks the answer." if "probabilities" in case["expected"] else "In brackets: the caption's score."


def _body(case: Record, variant: str, place: int, pictures: Mapping[int, str]) -> str:
    expected, actual = case["expected"], case["actual"]
    if "mean" in expected:
        return _forecast(case, variant, place)
    parts = []
    if case["row"] in pictures:
        about = f"Picture: {case['truth']}" if case["truth"] else f"Picture {case['id']}"
        parts.append(f'<img src="{escape(pictures[case["row"]])}" alt="{escape(about)}">')
    if isinstance(case["input"], str):
        parts.append(f"<blockquote>{escape(case['input'])}</blockquote>")
    if "probabilities" in expected:
        return "".join(parts) + _classes(case, variant, place)
    rows = [("true", escape(case["truth"]))] if case["truth"] else []
    for name, answer in (("float", expected), (swatch(place) + escape(variant), actual)):
        score = f" ({number(answer['score'])})" if "score" in answer else ""
        rows.append((name, f"{escape(answer['text'])}{score}"))
    return "".join(parts) + f"<dl>{''.join(f'<dt>{name}</dt><dd>{text}</dd>' for name, text in rows)}</dl>"


def _classes(case: Record, variant: str, place: int) -> str:
    """Return the probabilities of both answers; of many classes the likeliest and the most changed."""
    expected, actual = case["expected"]["probabilities"], case["actual"]["probabilities"]
    names = sorted(expected, key=lambda name: (-max(expected[name], actual[name]), name))[:_CLASSES]
    rows = []
    for name in names:
        marks = ["★ " * (name == label) for label in (case["expected"]["label"], case["actual"]["label"])]
        cells = "".join(
            f"<td>{mark}{number(answer[name])}</td>" for mark, answer in zip(marks, (expected, actual), strict=True)
        )
        true = " (true)" if name == case["truth"] else ""
        rows.append(f'<tr><th scope="row">{escape(name)}{true}</th>{cells}</tr>')
    head = f'<th scope="col">class</th><th scope="col">float</th><th scope="col">{swatch(place)}{escape(variant)}</th>'
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    return region(f"Probabilities for {case['id']}", table)


def _forecast(case: Record, variant: str, place: int) -> str:
    expected, actual = case["expected"], case["actual"]
    end = f"{expected['mean'][-1]:.6g} against {actual['mean'][-1]:.6g}"
    plot = forecasts(
        case["input"],
        [
            ("float", REFERENCE, expected["mean"], expected["quantiles"]),
            (variant, place, actual["mean"], actual["quantiles"]),
        ],
        case["truth"],
        title=f"Forecasts for {case['id']}",
        description=f"Mean at the last step: float {end} of {variant}",
    )
    rows = []
    for name, answer in (
        (f"{swatch(REFERENCE)}float, solid", expected),
        (f"{swatch(place)}{escape(variant)}, dashed", actual),
    ):
        low, high = answer["quantiles"][-1][0], answer["quantiles"][-1][-1]
        values = [number(value, digits=6) for value in (answer["mean"][-1], low, high)]
        rows.append(f"<dt>{name}</dt><dd>{values[0]} ({values[1]} to {values[2]})</dd>")
    return f"{plot}<dl>{''.join(rows)}</dl>"
