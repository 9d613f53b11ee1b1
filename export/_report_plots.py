"""Small plots as inline SVG: points with names, bars in groups, and forecasts over their window.

Colours are the page's CSS variables, so that a plot is dark or light with the page; every series has a marker or a
name beside its colour. All text is escaped here. A plot has `role="img"` and a label that says in words what it shows.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

WIDTH, HEIGHT = 360, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 24, 14, 46
_LETTER, _BOLD = 6.6, 7.4  # width of a letter at the plots' font size
_COLOURS = 8


@dataclass(frozen=True)
class Point:
    """A named point; `series` chooses colour and marker."""

    x: float
    y: float
    name: str
    series: int


def scatter(
    points: Sequence[Point],
    *,
    title: str,
    description: str,
    x_label: str,
    y_label: str,
    lines: Iterable[tuple[float, str]] = (),
) -> str:
    """Draw named points; x starts at 0.

    Args:
        points: At least one.
        title: Short name of the plot.
        description: What it shows, in words, for those who cannot see it.
        x_label: Name and unit of x.
        y_label: Name and unit of y.
        lines: Horizontal lines (y, name).
    """
    levels = list(lines)
    x_ticks = ticks(0.0, max(point.x for point in points) * 1.04)
    y_ticks = ticks(*_padded([point.y for point in points] + [y for y, _ in levels]))
    frame = _Frame((x_ticks[0], x_ticks[-1]), (y_ticks[0], y_ticks[-1]))
    parts = frame.axes(x_ticks, y_ticks, x_label, y_label)
    taken: list[tuple[float, float, float, float]] = []
    for y, name in levels:
        height = frame.y(y)
        text = height - 4 if y == max(y for y, _ in levels) else height + 13  # the upper one above, others below
        parts.append(f'<line class="level" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{height:.1f}" y2="{height:.1f}"/>')
        parts.append(_text(WIDTH - _RIGHT, text, name, "muted", anchor="end"))
        taken.append(_box(WIDTH - _RIGHT, text, "end", len(name) * _LETTER))
    places = [(frame.x(point.x), frame.y(point.y)) for point in points]
    taken += [(x - 6, y - 6, x + 6, y + 6) for x, y in places]
    for point, (x, y) in zip(points, places, strict=True):
        parts.append(marker(x, y, point.series))
    for point, (x, y) in zip(points, places, strict=True):
        left, top, anchor = _free_place(x, y, len(point.name) * _BOLD, taken)
        parts.append(_text(left, top, point.name, "name", anchor=anchor))
    return _svg(parts, title, description, WIDTH, HEIGHT)


def bars(
    groups: Sequence[str],
    series: Sequence[tuple[str, int, Sequence[float]]],
    *,
    title: str,
    description: str,
    x_label: str,
    y_label: str,
    highest: float = math.inf,
) -> str:
    """Draw bars side by side in groups, each group named below; the page's legend names the series.

    Args:
        groups: Names of the groups.
        series: (name, number of its colour, one value a group); a value that is not a number has no bar.
        title: Short name of the plot.
        description: What it shows, in words.
        x_label: What the groups are.
        y_label: Name and unit of the values.
        highest: Where the axis ends at the latest.
    """
    top = max((value for *_, values in series for value in values if math.isfinite(value)), default=1.0)
    y_ticks = ticks(0.0, min(highest, (top or 1.0) * 1.02))
    frame = _Frame((0.0, float(len(groups))), (0.0, y_ticks[-1]))
    parts = frame.axes([], y_ticks, x_label, y_label)
    room = frame.x(1) - frame.x(0)
    width = min(44.0, room * 0.8 / max(1, len(series)))
    crowded = (max(len(name) for name in groups) + 1) * _LETTER > room  # then every second name goes a line lower
    for number, name in enumerate(groups):
        left = frame.x(number) + (room - width * len(series)) / 2
        for place, (_, colour, values) in enumerate(series):
            if math.isfinite(values[number]):
                height = min(frame.y(values[number]), frame.y(0) - 2 * (values[number] > 0))  # a little is not nothing
                parts.append(
                    f'<rect class="bar c{colour % _COLOURS}" x="{left + place * width:.1f}" y="{height:.1f}" '
                    f'width="{max(1.0, width - 1):.1f}" height="{frame.y(0) - height:.1f}"/>'
                )
        lower = 12 * (crowded and number % 2)
        parts.append(_text(frame.x(number) + room / 2, HEIGHT - _BOTTOM + 13 + lower, name, "tick", anchor="middle"))
    return _svg(parts, title, description, WIDTH, HEIGHT)


def forecasts(
    known: Sequence[float],
    paths: Sequence[tuple[str, int, Sequence[float], Sequence[Sequence[float]]]],
    future: Sequence[float] | None,
    *,
    title: str,
    description: str,
) -> str:
    """Draw forecasts over the end of their window.

    Args:
        known: The window's values; of a long one the last part is shown.
        paths: (name, number of the colour, mean (H,), quantiles (H, Q)).
        future: What happened (H,), or None.
        title: Short name of the plot.
        description: What it shows, in words.
    """
    horizon = len(paths[0][2])
    shown = list(known)[-max(12, 4 * horizon) :]
    ends = [value for *_, mean, quantiles in paths for value in (*mean, *np.ravel(quantiles))]
    values = [value for value in (*shown, *ends, *(future or ())) if math.isfinite(value)]
    y_ticks = ticks(*_padded(values))
    frame = _Frame((1.0 - len(shown), float(horizon)), (y_ticks[0], y_ticks[-1]), height=220)
    parts = frame.axes(
        [tick for tick in ticks(1.0 - len(shown), float(horizon)) if 1 - len(shown) <= tick <= horizon],
        y_ticks,
        "steps from the last known value",
        "",
    )
    ahead = list(range(horizon + 1))
    for _, colour, _, quantiles in paths:
        low = [shown[-1], *(row[0] for row in quantiles)]
        high = [shown[-1], *(row[-1] for row in quantiles)]
        outline = [*zip(ahead, high, strict=True), *reversed(list(zip(ahead, low, strict=True)))]
        parts.append(f'<polygon class="band c{colour % _COLOURS}" points="{frame.points(outline)}"/>')
    parts.append(_line("known", frame.points(zip(range(1 - len(shown), 1), shown, strict=True))))
    if future is not None:
        parts.append(_line("truth", frame.points(zip(ahead, [shown[-1], *future], strict=True))))
    for place, (_, colour, mean, _) in enumerate(paths):
        kind = f"path c{colour % _COLOURS}" + (" dashed" if place else "")
        parts.append(_line(kind, frame.points(zip(ahead, [shown[-1], *mean], strict=True))))
    return _svg(parts, title, description, WIDTH, 220)


def marker(x: float, y: float, series: int) -> str:
    """Return the mark of a series at a place: colour and shape both tell it from the others."""
    kind = f'class="mark c{series % _COLOURS}"'
    shape = series % 4
    if shape == 0:
        return f'<circle {kind} cx="{x:.1f}" cy="{y:.1f}" r="5"/>'
    corners = (
        ((-4.5, -4.5), (4.5, -4.5), (4.5, 4.5), (-4.5, 4.5)),
        ((0, -6), (5.5, 4.5), (-5.5, 4.5)),
        ((0, -6.5), (6.5, 0), (0, 6.5), (-6.5, 0)),
    )[shape - 1]
    return f'<polygon {kind} points="{" ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in corners)}"/>'


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Return round numbers, evenly spaced, the first at or below `low` and the last at or above `high`."""
    span = high - low
    if not math.isfinite(span) or span <= 0:
        span = abs(low) or 1.0
        low, high = low - span / 2, low + span / 2
    raw = span / count
    unit = 10.0 ** math.floor(math.log10(raw))
    step = next(unit * factor for factor in (1, 2, 2.5, 5, 10) if unit * factor >= raw * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [number * step for number in range(first, last + 1)]


class _Frame:
    """Places values in the rectangle between the axes."""

    def __init__(self, x: tuple[float, float], y: tuple[float, float], height: int = HEIGHT) -> None:
        self._x, self._y, self._height = x, y, height

    def x(self, value: float) -> float:
        low, high = self._x
        return _LEFT + (value - low) / (high - low) * (WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        low, high = self._y
        return self._height - _BOTTOM - (value - low) / (high - low) * (self._height - _TOP - _BOTTOM)

    def points(self, pairs: Iterable[tuple[float, float]]) -> str:
        return " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in pairs if math.isfinite(y))

    def axes(self, x_ticks: Sequence[float], y_ticks: Sequence[float], x_label: str, y_label: str) -> list[str]:
        """Return grid, numbers and names of the axes; the name of y stands above the first line, not turned."""
        bottom = self._height - _BOTTOM
        parts = []
        for value, label in zip(y_ticks, _labels(y_ticks), strict=True):
            y = self.y(value)
            parts.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
            parts.append(_text(_LEFT - 6, y + 4, label, "tick", anchor="end"))
        parts.append(f'<line class="axis" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{bottom}" y2="{bottom}"/>')
        for value, label in zip(x_ticks, _labels(x_ticks), strict=True):
            parts.append(_text(self.x(value), bottom + 15, label, "tick", anchor="middle"))
        parts.append(_text((_LEFT + WIDTH - _RIGHT) / 2, self._height - 6, x_label, "label", anchor="middle"))
        if y_label:
            middle = (_TOP + bottom) / 2
            turned = f' transform="rotate(-90 12 {middle:.0f})"'
            parts.append(_text(12, middle, y_label, "label", anchor="middle", more=turned))
        return parts


def _free_place(
    x: float, y: float, width: float, taken: list[tuple[float, float, float, float]]
) -> tuple[float, float, str]:
    """Return (x, y, anchor) for a name of that width beside a point, clear of what is there; the place is taken."""
    best, least = (x + 9, y + 4, "start"), math.inf
    for distance in (0, 13, 26):
        for place in (
            (x + 9, y + 4 - distance, "start"),
            (x - 9, y + 4 - distance, "end"),
            (x, y - 10 - distance, "middle"),
            (x, y + 19 + distance, "middle"),
            (x + 9, y + 4 + distance, "start"),
            (x - 9, y + 4 + distance, "end"),
        ):
            box = _box(*place, width)
            outside = box[0] < _LEFT or box[2] > WIDTH or box[1] < 0 or box[3] > HEIGHT - _BOTTOM + 4
            cost = 10 * outside + sum(_overlap(box, other) for other in taken)
            if cost < least:
                best, least = place, cost
        if not least:
            break
    taken.append(_box(*best, width))
    return best


def _box(x: float, y: float, anchor: str, width: float) -> tuple[float, float, float, float]:
    left = {"start": x, "end": x - width, "middle": x - width / 2}[anchor]
    return left, y - 10, left + width, y + 3


def _overlap(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _padded(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    room = (high - low) * 0.12 or abs(high) * 0.02 or 1.0
    return low - room, high + room


def _labels(values: Sequence[float]) -> list[str]:
    """Write ticks with as few digits as tell neighbours apart."""
    if len(values) < 2:
        return [f"{value:g}" for value in values]
    digits = max(0, -math.floor(math.log10(abs(values[1] - values[0])) + 1e-9))
    if f"{values[1] - values[0]:.6g}" != f"{round(values[1] - values[0], digits):.6g}":
        digits += 1  # steps of 2.5
    return [f"{round(value, digits) + 0.0:,.{digits}f}" for value in values]


def _line(kind: str, points: str) -> str:
    return f'<polyline class="{kind}" points="{points}"/>'


def _text(x: float, y: float, text: str, kind: str, *, anchor: str = "start", more: str = "") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{more}>{escape(text)}</text>'


def _svg(parts: Sequence[str], title: str, description: str, width: int, height: int) -> str:
    label = escape(f"{title}. {description}")
    return f'<svg role="img" viewBox="0 0 {width} {height}" aria-label="{label}">{"".join(parts)}</svg>'
