"""A captioned picture drawn once per word: where the model looked, how probable the word was, what deletion says."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from zoo.errors import DataError, require
from zoo.explain._canvas import BLUE, INK, MUTED, ORANGE, RULE, Script, new_figure, save, shorten, wrap
from zoo.explain.captions import attention_overlay
from zoo.explain.deletion import DROPS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_WIDTH, _GAP, _MARGIN = 2.5, 0.22, 0.2  # inches: a panel, between two, and around all
_COLUMNS, _MOST = 4, 47
_FLAT, _TALL = 0.5, 1.5  # height of a panel by its width; other pictures get a frame of this form
_WORD, _BAR = 0.3, 0.15
_FINEST = 0.1  # nats: the longest bar stands for at least so much, so that noise stays small


@dataclass(frozen=True)
class WordPanel:
    """What is drawn of a word.

    Attributes:
        text: The word.
        attention: float (h, w), not negative.
        probability: Of the word, given what is before it; None if not known.
        hidden: bool (h, w): cells to outline, those that were hidden for `drops["most"]`; None for none.
        drops: Kind of drop -> nats (see `zoo.explain.faithfulness`); empty if not measured.
    """

    text: str
    attention: np.ndarray
    probability: float | None = None
    hidden: np.ndarray | None = None
    drops: dict[str, float] | None = None


def word_panels(
    image: np.ndarray, caption: str, words: Sequence[WordPanel], path: str | os.PathLike[str], notes: Sequence[str] = ()
) -> None:
    """Draw the picture, and once more for each of at most 47 words.

    Args:
        image: uint8 (H, W, 3), of any size and form.
        caption: The line over all.
        words: The words in order.
        path: The PNG to write.
        notes: Sentences below.

    Raises:
        DataError: If picture or maps have a wrong shape.
        MissingExtraError: If matplotlib is not installed.
    """
    save(_draw(image, caption, words, notes, dpi=150), path)


def word_panels_array(image: np.ndarray, caption: str, words: Sequence[WordPanel]) -> np.ndarray:
    """Return what `word_panels` draws, in a smaller size: uint8 (H, W, 3)."""
    figure = _draw(image, caption, words, (), dpi=72)
    canvas: Any = figure.canvas
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _draw(image: np.ndarray, caption: str, words: Sequence[WordPanel], notes: Sequence[str], dpi: int) -> Figure:
    image = np.asarray(image)
    if image.ndim != 3 or image.shape[-1] != 3 or image.dtype != np.uint8 or not image.size:
        raise DataError(f"Word panels need a uint8 (H, W, 3) picture, got {image.dtype}{image.shape}.")
    form = min(max(image.shape[0] / image.shape[1], _FLAT), _TALL)
    image = _fitted(image, round(_WIDTH * dpi), round(_WIDTH * form * dpi))
    shown = words[:_MOST]
    kinds = [kind for kind in DROPS if any(kind in (word.drops or {}) for word in shown)]
    if len(words) > len(shown):
        notes = [*notes, f"{len(words) - len(shown)} more words are not drawn."]
    columns = min(_COLUMNS, len(shown) + 1)
    rows = -(-(len(shown) + 1) // columns)
    letters = int((columns * (_WIDTH + _GAP)) / 0.063)
    script = Script([caption, *(word.text for word in shown), *notes])
    lines = wrap(script(caption or "(nothing)"), int(letters * 0.55), 3)
    below = [wrap(script(note), letters, 3) for note in notes]
    top = _MARGIN + 0.24 * (lines.count("\n") + 1) + 0.1
    bottom = _MARGIN + 0.15 * sum(note.count("\n") + 1 for note in below)
    panel = _WIDTH * form + _WORD + _BAR * len(kinds) + 0.14
    size = (columns * (_WIDTH + _GAP) - _GAP + 2 * _MARGIN, top + rows * panel + bottom)
    figure = new_figure(*size, dpi=dpi)
    page = _Page(figure, script, size)
    page.write(_MARGIN, size[1] - _MARGIN, lines, size=13, va="top", weight=script.bold)
    reach = max([_FINEST, *(abs(value) for word in shown for value in (word.drops or {}).values())])
    for place in range(len(shown) + 1):
        row, column = divmod(place, columns)
        left, upper = _MARGIN + column * (_WIDTH + _GAP), size[1] - top - row * panel
        if place == 0:
            page.picture(left, upper, form, image)
            continue
        word = shown[place - 1]
        page.picture(left, upper, form, attention_overlay(image, word.attention), word.hidden)
        page.label(left, upper - _WIDTH * form, word)
        page.bars(left, upper - _WIDTH * form - _WORD, word.drops or {}, kinds, reach)
    if below:
        page.write(_MARGIN, bottom - 0.05, "\n".join(below), size=8.5, va="top", color=MUTED, linespacing=1.25)
    return figure


def _fitted(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """Return a picture in the size in which it is drawn, so that maps are smooth and icons no mosaic."""
    scale = min(width / image.shape[1], height / image.shape[0])
    fitted = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    smooth = Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.BICUBIC
    return np.asarray(Image.fromarray(image).resize(fitted, smooth))


class _Page:
    """A figure measured in inches from its lower left corner."""

    def __init__(self, figure: Figure, script: Script, size: tuple[float, float]) -> None:
        self.figure, self.script = figure, script
        self.width, self.height = size

    def write(self, x: float, y: float, text: str, **style: Any) -> None:
        """Write text that `script` has prepared."""
        self.figure.text(x / self.width, y / self.height, text, **(self.script.style | style))

    def axes(self, left: float, upper: float, width: float, height: float) -> Any:
        """Return empty axes, without a frame, hanging from `upper`."""
        box = (left / self.width, (upper - height) / self.height, width / self.width, height / self.height)
        axes = self.figure.add_axes(box)
        axes.axis("off")
        return axes

    def picture(
        self, left: float, upper: float, form: float, image: np.ndarray, hidden: np.ndarray | None = None
    ) -> None:
        """Draw a picture, and the outline of some cells of a grid over it."""
        axes = self.axes(left, upper, _WIDTH, _WIDTH * form)
        height, width = image.shape[:2]
        axes.imshow(image, interpolation="antialiased", extent=(0, width, height, 0))
        axes.add_patch(_rectangle(0, 0, width, height, fill=False, edgecolor=RULE, linewidth=0.8))
        if hidden is not None:
            lines = require("matplotlib.collections", extra="eval", purpose="A picture").LineCollection
            edges = _outline(hidden) * (width / hidden.shape[1], height / hidden.shape[0])
            axes.add_collection(lines(edges, colors="white", linewidths=2.2, alpha=0.75), autolim=False)
            axes.add_collection(lines(edges, colors=INK, linewidths=0.9), autolim=False)

    def label(self, left: float, upper: float, word: WordPanel) -> None:
        """Write a word with its probability."""
        middle = upper - _WORD * 0.55
        text = self.script(shorten(word.text, 24))
        self.write(left, middle, text, size=11, va="center", weight=self.script.bold)
        if word.probability is not None:
            chance = f"p = {word.probability:.2f}" if word.probability >= 0.005 else f"p = {word.probability:.0e}"
            self.write(left + _WIDTH, middle, chance, size=9, ha="right", va="center", color=MUTED)

    def bars(self, left: float, upper: float, drops: dict[str, float], kinds: Sequence[str], reach: float) -> None:
        """Draw the drops of a word as bars, the same nats as long for all words."""
        if not kinds:
            return
        axes = self.axes(left, upper, _WIDTH, _BAR * len(kinds))
        axes.set_xlim(0, _WIDTH)
        axes.set_ylim(len(kinds), 0)
        zero, room = 1.25, 0.72  # inches: where 0 is, and how long a bar may be to either side
        axes.plot((zero, zero), (0, len(kinds)), color=RULE, linewidth=0.8)
        for row, kind in enumerate(kinds):
            style = {"va": "center", "size": 7.5, "color": MUTED, "fontfamily": self.script.families}
            axes.text(0, row + 0.5, DROPS[kind], **style)
            if kind in drops:
                length = drops[kind] / reach * room
                colour = ORANGE if kind == "most" else BLUE
                axes.add_patch(
                    _rectangle(min(zero, zero + length), row + 0.2, abs(length), 0.6, color=colour, linewidth=0)
                )
                axes.text(_WIDTH, row + 0.5, signed(drops[kind]), **(style | {"ha": "right"}))


def signed(value: float) -> str:
    """Return a drop in nats with its sign; what rounds to nothing has none."""
    return f"{value:+.2f}".replace("-", "−") if abs(value) >= 0.005 else "0.00"


def _rectangle(x: float, y: float, width: float, height: float, **style: Any) -> Any:
    return require("matplotlib.patches", extra="eval", purpose="A picture").Rectangle((x, y), width, height, **style)


def _outline(cells: np.ndarray) -> np.ndarray:
    """Return the edges between true and other cells, (N, 2 ends, 2), x before y, in cells from the upper left."""
    padded = np.pad(np.asarray(cells, bool), 1)
    rows, columns = np.nonzero(padded[1:, 1:-1] != padded[:-1, 1:-1])
    across = np.stack([np.stack([columns, rows], -1), np.stack([columns + 1, rows], -1)], 1)
    rows, columns = np.nonzero(padded[1:-1, 1:] != padded[1:-1, :-1])
    down = np.stack([np.stack([columns, rows], -1), np.stack([columns, rows + 1], -1)], 1)
    return np.concatenate([across, down]).astype(np.float64)
