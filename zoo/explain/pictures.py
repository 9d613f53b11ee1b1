"""Pictures of evaluations: confusion matrix, forecast fan, weights of tokens; captions from `zoo.explain.captions`."""

from __future__ import annotations

import html
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from zoo.errors import DataError, require
from zoo.explain._canvas import BLUE, INK, MUTED, ORANGE, RULE, Script, new_figure, save, shorten, width_of
from zoo.explain.captions import attention_overlay, caption_sheet

__all__ = [
    "attention_overlay",
    "caption_sheet",
    "confusion_matrix_picture",
    "forecast_fan_picture",
    "token_weights_html",
    "token_weights_picture",
]

_MAX_NUMBERED = 20  # with more classes the cells are too small for numbers
_MAX_NAMED = 40  # with more classes the figure grows no larger, and its cells are too small for names
_TINT = np.array([37, 99, 235], np.float64)  # the full shade of bands and tokens


def confusion_matrix_picture(
    confusion: Sequence[Sequence[int]] | np.ndarray,
    names: Sequence[str],
    path: str | os.PathLike[str],
    title: str = "",
) -> None:
    """Draw a confusion matrix: shares of each true class as shades, counts and shares as numbers.

    Args:
        confusion: int (C, C), rows are true classes, columns predicted ones.
        names: C class names.
        path: The PNG to write.
        title: Line over the matrix; by default the accuracy.

    Raises:
        DataError: If the matrix does not fit the names.
        MissingExtraError: If matplotlib is not installed.
    """
    counts = np.asarray(confusion)
    size = len(names)
    if counts.shape != (size, size) or not size or counts.min() < 0:
        raise DataError(f"A confusion matrix of {size} classes must be counts ({size}, {size}), got {counts.shape}.")
    total = int(counts.sum())
    title = title or f"Accuracy {np.trace(counts) / max(total, 1):.1%} of {total:,}"
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    labels = [shorten(name, 18) for name in names]
    script = Script([title, *labels])
    cell = 0.9 if size <= 6 else max(0.3, 5.6 / size) if size <= _MAX_NAMED else 0.3 * _MAX_NAMED / size
    ticks = range(size) if size <= _MAX_NAMED else ()
    longest = max((0.085 * width_of(script(labels[tick])) for tick in ticks), default=0.0)
    turned = size > 3 or longest > cell
    edge, below = 0.5 + longest, 0.72 + (0.57 * longest if turned else 0.0)
    side = max(cell * size, 1.8)
    figure = new_figure(edge + side + 0.8, below + side + 0.45)
    width, height = figure.get_size_inches()
    axes = figure.add_axes((edge / width, below / height, side / width, side / height))
    shown = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    style = script.style
    shown_names = [script(labels[tick]) for tick in ticks]
    axes.set_xticks(ticks, shown_names, rotation=35 if turned else 0, size=9, **style)
    axes.set_yticks(ticks, shown_names, size=9, **style)
    if turned:
        for label in axes.get_xticklabels():
            label.set_horizontalalignment("right")
            label.set_rotation_mode("anchor")
    axes.set_xlabel("predicted", color=MUTED)
    axes.set_ylabel("true", color=MUTED)
    axes.tick_params(length=0)
    if ticks:
        axes.set_xticks(np.arange(size - 1) + 0.5, minor=True)
        axes.set_yticks(np.arange(size - 1) + 0.5, minor=True)
        axes.grid(which="minor", color="white", linewidth=1.2)
    axes.tick_params(which="minor", length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    if size <= _MAX_NUMBERED:
        for row, column in np.ndindex(size, size):
            text = f"{counts[row, column]:,}" + (f"\n{shares[row, column]:.0%}" if cell >= 0.55 else "")
            colour = "white" if shares[row, column] > 0.55 else INK
            axes.text(column, row, text, ha="center", va="center", size=9 if cell >= 0.55 else 7, color=colour)
    axes.set_title(script(title), size=11, weight=script.bold, loc="left", **style)
    bar_axes = figure.add_axes(((edge + side + 0.14) / width, below / height, 0.12 / width, side / height))
    bar = figure.colorbar(shown, cax=bar_axes, format=lambda value, _: f"{value:.0%}")
    bar.outline.set_visible(False)
    bar_axes.tick_params(labelsize=7, length=0, colors=MUTED)
    save(figure, path)


def forecast_fan_picture(
    history: np.ndarray,
    dates: Sequence[Any] | np.ndarray | None,
    mean: np.ndarray,
    quantiles: np.ndarray,
    levels: Sequence[float] | np.ndarray,
    future: np.ndarray | None,
    title: str,
    path: str | os.PathLike[str],
) -> None:
    """Draw one forecast: the past, the mean path and the bands between the quantiles.

    Args:
        history: float (W,), the window, in the series' unit.
        dates: Optional (W + H,) or (W,) dates (anything numpy reads as datetime64). With W only, the future is drawn at
            their median spacing. Without, steps are numbered, 0 the last known one.
        mean: float (H,).
        quantiles: float (H, Q).
        levels: float (Q,), ascending; the outermost pair is the widest band.
        future: Optional float (H,), what happened.
        title: Line over the picture.
        path: The PNG to write.

    Raises:
        DataError: If the shapes do not fit.
        MissingExtraError: If matplotlib is not installed.
    """
    history, mean, quantiles = (np.asarray(value, np.float64) for value in (history, mean, quantiles))
    window, horizon = len(history), len(mean)
    if (
        history.ndim != 1
        or not window
        or mean.ndim != 1
        or not horizon
        or quantiles.shape != (horizon, len(levels))
        or (future is not None and np.shape(future) != (horizon,))
    ):
        raise DataError(
            f"A forecast picture got history {history.shape}, mean {mean.shape}, quantiles {quantiles.shape}, "
            f"{len(levels)} levels and future {None if future is None else np.shape(future)}; "
            "give (W,), (H,), (H, Q), Q and (H,)."
        )
    ticks = _time_axis(dates, window, horizon)
    script = Script([title])
    figure = new_figure(8.0, 4.0)
    axes = figure.add_axes((0.085, 0.12, 0.89, 0.76))
    ahead = ticks[window - 1 :]
    start = history[-1]
    for low in range(len(levels) // 2):
        high = len(levels) - 1 - low
        lower, upper = np.append(start, quantiles[:, low]), np.append(start, quantiles[:, high])
        name = f"{levels[high] - levels[low]:.0%} band"
        shade = tuple(1 - (1 - _TINT / 255) * min(0.9, 0.16 + 0.2 * low))
        axes.fill_between(ahead, lower, upper, color=shade, linewidth=0, label=name)
    axes.plot(ticks[:window], history, color=INK, linewidth=1.4, label="known")
    if future is not None:
        axes.plot(ahead, np.append(start, future), color=ORANGE, linewidth=1.5, linestyle=(0, (4, 1.5)), label="actual")
    axes.plot(ahead, np.append(start, mean), color=BLUE, linewidth=1.8, label="forecast")
    axes.axhline(start, color=MUTED, linewidth=0.7, linestyle=(0, (1, 2)), label="last value")
    axes.axvline(ticks[window - 1], color=RULE, linewidth=1.0, zorder=0)
    axes.grid(axis="y", color=RULE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelsize=8, colors=MUTED)
    axes.margins(x=0.01)
    for name, spine in axes.spines.items():
        spine.set_visible(name == "bottom")
        spine.set_color(RULE)
    if dates is None:
        axes.set_xlabel("steps", size=8, color=MUTED)
    else:
        locator = axes.xaxis.get_major_locator()
        dating = require("matplotlib.dates", extra="eval", purpose="A picture")
        axes.xaxis.set_major_formatter(dating.ConciseDateFormatter(locator))
        axes.xaxis.get_offset_text().set(size=8, color=MUTED)
    axes.legend(frameon=False, fontsize=8, loc="upper left", ncols=6, bbox_to_anchor=(0.0, 1.015), borderaxespad=0.0)
    figure.text(0.085, 0.955, script(title), size=11, weight=script.bold, va="center", **script.style)
    save(figure, path)


def token_weights_picture(
    tokens: Sequence[str], weights: np.ndarray | Sequence[float], title: str, path: str | os.PathLike[str]
) -> None:
    """Draw a text with every token shaded by its weight; the heaviest gets the full shade.

    Args:
        tokens: T pieces of the text, in order.
        weights: float (T,), not negative.
        title: Line over the text.
        path: The PNG to write.

    Raises:
        DataError: If tokens and weights do not fit.
        MissingExtraError: If matplotlib is not installed.
    """
    shades = _shades(tokens, weights)
    script = Script([title, *tokens])
    shown = [script(token.strip() or "␣") for token in tokens]
    width, margin, line, gap = 7.6, 0.2, 0.36, 0.07
    measure = new_figure(width, 1.0)
    renderer = measure.canvas.get_renderer()
    lengths = []
    for token in shown:
        text = measure.text(0, 0, token, size=11, **script.style)
        lengths.append(text.get_window_extent(renderer).width / measure.dpi)
        text.remove()
    places, x, row = [], margin, 0
    for length in lengths:
        if x > margin and x + length + 0.12 > width - margin:
            x, row = margin, row + 1
        places.append((x, row))
        x += length + 0.12 + gap
    top = 0.62 if title else 0.2
    height = top + (row + 1) * line + 0.12
    figure = new_figure(width, height)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.axis("off")
    if title:
        axes.text(margin, 0.32, script(title), size=11, weight=script.bold, va="center", **script.style)
    patches = require("matplotlib.patches", extra="eval", purpose="A picture")
    for token, length, shade, (x, row) in zip(shown, lengths, shades, places, strict=True):
        middle = top + (row + 0.5) * line
        colour = tuple((255 - (255 - _TINT) * shade) / 255)
        box = patches.FancyBboxPatch(
            (x, middle - 0.14),
            length + 0.12,
            0.28,
            boxstyle="round,pad=0,rounding_size=0.05",
            facecolor=colour,
            linewidth=0,
        )
        axes.add_patch(box)
        ink = "white" if shade > 0.55 else INK
        axes.text(x + 0.06, middle, token, size=11, va="center_baseline", **(script.style | {"color": ink}))
    save(figure, path)


def token_weights_html(tokens: Sequence[str], weights: np.ndarray | Sequence[float], title: str) -> str:
    """Return a page of its own with the same shaded text; a browser has glyphs for every script.

    Args:
        tokens: T pieces of the text, in order.
        weights: float (T,), not negative; shown when the pointer rests on a token.
        title: Heading.

    Returns:
        HTML, everything escaped, nothing loaded from elsewhere.

    Raises:
        DataError: If tokens and weights do not fit.
    """
    pieces = []
    for token, weight, shade in zip(tokens, weights, _shades(tokens, weights), strict=True):
        ink = "#fff" if shade > 0.55 else INK
        red, green, blue = (255 - (255 - _TINT) * shade).astype(int)
        pieces.append(
            f'<span title="{float(weight):.4f}" style="background:rgb({red},{green},{blue});color:{ink}">'
            f"{html.escape(token)}</span>"
        )
    return (
        f'<!doctype html>\n<html><head><meta charset="utf-8"><title>{html.escape(title)}</title><style>'
        f"body{{font:18px/2 system-ui,sans-serif;color:{INK};max-width:48em;margin:2em auto;padding:0 1em}}"
        "span{border-radius:4px;padding:2px 5px;margin:0 1px}h1{font-size:1.1em}</style></head>\n"
        f"<body><h1>{html.escape(title)}</h1>\n<p>{' '.join(pieces)}</p></body></html>\n"
    )


def _shades(tokens: Sequence[str], weights: np.ndarray | Sequence[float]) -> np.ndarray:
    """Scale weights (T,) so that the largest is 1."""
    values = np.asarray(weights, np.float64)
    if values.shape != (len(tokens),) or not len(tokens) or not np.isfinite(values).all() or values.min() < 0:
        raise DataError(f"Got {len(tokens)} tokens and weights {values.shape}; give one finite weight >= 0 a token.")
    return values / values.max() if values.max() > 0 else values


def _time_axis(dates: Sequence[Any] | np.ndarray | None, window: int, horizon: int) -> np.ndarray:
    if dates is None:
        return np.arange(1 - window, horizon + 1)
    stamps = np.asarray(dates, "datetime64[s]")
    if len(stamps) == window and window > 1:
        step = np.median(np.diff(stamps).astype(np.int64)).astype("timedelta64[s]")
        stamps = np.concatenate([stamps, stamps[-1] + step * np.arange(1, horizon + 1)])
    if len(stamps) != window + horizon:
        raise DataError(f"A forecast picture of {window} known and {horizon} future steps got {len(stamps)} dates.")
    return stamps
