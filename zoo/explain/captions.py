"""Where a captioning model looked: attention drawn over the picture, and sheets of captioned pictures."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from zoo.errors import DataError
from zoo.explain._canvas import GREEN, INK, MUTED, RED, RULE, Script, new_figure, save, shorten, wrap
from zoo.metrics.captions import normalize_caption

_HEAT = np.array([(255, 226, 130), (250, 130, 40), (196, 0, 60)], np.float64)  # low to high attention
_MAX_WORDS = 6
_STEP, _THUMB = 0.86, 0.78  # inches from one small picture to the next, and the edge of one


def attention_overlay(image: np.ndarray, attention: np.ndarray, strength: float = 0.8) -> np.ndarray:
    """Tint a picture by attention: the picture turns grey, what was looked at turns yellow to red.

    Args:
        image: uint8 (H, W, 3).
        attention: float (h, w), not negative, any scale: the largest value gets the full tint.
        strength: Opacity of the full tint, 0 to 1.

    Returns:
        uint8 (H, W, 3). With no attention anywhere, the grey picture.

    Raises:
        DataError: If the picture or the map has another shape or holds negative or non-finite values.
    """
    image, attention = np.asarray(image), np.asarray(attention, np.float32)
    if image.ndim != 3 or image.shape[-1] != 3 or image.dtype != np.uint8:
        raise DataError(f"An attention overlay takes a uint8 (H, W, 3) picture, got {image.dtype}{image.shape}.")
    if attention.ndim != 2 or not attention.size or not np.isfinite(attention).all() or attention.min() < 0:
        raise DataError(f"An attention map must be a finite, non-negative (h, w) array, got shape {attention.shape}.")
    height, width = image.shape[:2]
    heat = np.asarray(Image.fromarray(attention).resize((width, height), Image.Resampling.BICUBIC), np.float64)
    heat = np.clip(heat / max(float(attention.max()), 1e-12), 0.0, 1.0)[..., None]
    colour = heat_colours(heat[..., 0])
    grey = image @ np.array([0.299, 0.587, 0.114])
    faded = (0.75 * grey + 0.25 * 255)[..., None]
    return np.clip(np.rint(faded + (colour - faded) * heat * strength), 0, 255).astype(np.uint8)


def heat_colours(heat: np.ndarray) -> np.ndarray:
    """Return the tint of attention from 0 to 1, (...) -> float (..., 3) from 0 to 255: yellow, orange, red."""
    position = heat * (len(_HEAT) - 1)
    return np.stack([np.interp(position, np.arange(len(_HEAT)), channel) for channel in _HEAT.T], -1)


def caption_sheet(
    items: Sequence[Mapping[str, Any]],
    path: str | os.PathLike[str],
    columns: int = 2,
    title: str = "",
) -> None:
    """Draw captioned pictures as cards: picture, true name, caption, and the attention of its first words.

    Args:
        items: For each picture ``image`` uint8 (H, W, 3), ``truth`` (a caption, several, or none if not known),
            ``caption``, and optionally ``attention`` float (T, h, w) with ``words``, the T pieces the maps belong to;
            at most six are drawn.
        path: The PNG to write.
        columns: Cards side by side.
        title: Line over the sheet.

    Raises:
        DataError: If there is no item or an item does not fit.
        MissingExtraError: If matplotlib is not installed.
    """
    if not items or columns < 1:
        raise DataError("A caption sheet needs at least one item and one column.")
    columns = min(columns, len(items))
    cards = [_Card(item, number) for number, item in enumerate(items)]
    script = Script([title, "✓✗›", *(text for card in cards for text in (card.truth, card.caption, *card.words))])
    thumbs = max(len(card.words) for card in cards)
    card_width, card_height, margin = max(4.4, 1.98 + _STEP * thumbs), 1.92, 0.14
    top = 0.42 if title else margin
    rows = -(-len(cards) // columns)
    width, height = columns * (card_width + margin) + margin, rows * (card_height + margin) + top
    figure = new_figure(width, height)
    if title:
        figure.text(
            margin / width, 1 - 0.26 / height, script(title), size=11, weight=script.bold, va="center", **script.style
        )
    for number, card in enumerate(cards):
        row, column = divmod(number, columns)
        left = margin + column * (card_width + margin)
        bottom = height - top - (row + 1) * card_height - row * margin
        card.draw(figure, script, left, bottom, card_width, card_height)
    save(figure, path)


class _Card:
    """One captioned picture; lengths are in inches from the lower left corner of the figure."""

    def __init__(self, item: Mapping[str, Any], number: int) -> None:
        self.image = np.asarray(item["image"])
        truths = [item["truth"]] if isinstance(item["truth"], str) else list(item["truth"])
        if self.image.ndim != 3 or self.image.shape[-1] != 3 or self.image.dtype != np.uint8:
            raise DataError(f"Caption sheet: item {number} needs a uint8 (H, W, 3) picture.")
        self.caption = item["caption"]
        self.truth = " / ".join(truths)
        self.right = normalize_caption(self.caption) in {normalize_caption(truth) for truth in truths}
        attention, words = item.get("attention"), list(item.get("words") or ())
        if attention is None:
            attention, words = np.zeros((0, 1, 1)), []
        if np.ndim(attention) != 3 or len(attention) != len(words):
            raise DataError(
                f"Caption sheet: item {number} has {len(words)} words and attention {np.shape(attention)}; "
                "give (T, h, w) with one map a word."
            )
        self.more = len(words) > _MAX_WORDS
        self.words, self.maps = words[:_MAX_WORDS], np.asarray(attention)[:_MAX_WORDS]

    def draw(self, figure: Any, script: Script, left: float, bottom: float, width: float, height: float) -> None:
        """Draw into the rectangle."""
        total_width, total_height = figure.get_size_inches()

        def axes(x: float, y: float, w: float, h: float) -> Any:
            area = figure.add_axes((x / total_width, y / total_height, w / total_width, h / total_height))
            area.set_xticks([])
            area.set_yticks([])
            for spine in area.spines.values():
                spine.set_color(RULE)
                spine.set_linewidth(0.8)
            return area

        def write(x: float, y: float, text: str, **style: Any) -> None:
            figure.text(x / total_width, y / total_height, text, **(script.style | style))

        frame = axes(left, bottom, width, height)
        frame.patch.set_facecolor("#fbfbfd")
        side = height - 0.24
        axes(left + 0.12, bottom + 0.12, side, side).imshow(self.image, interpolation="bicubic")
        start = left + side + 0.26
        room = width - side - 0.38
        verdict, colour = ("✓", GREEN) if self.right else ("✗", RED) if self.truth else ("›", INK)
        characters = int((room - 0.2) / 0.068)  # of the bold face, on average
        top = bottom + height - 0.13
        size = 7.6
        lines = 2 if self.words else 4
        write(
            start, top, wrap(script(self.truth), characters, lines), size=size, va="top", color=MUTED, linespacing=1.1
        )
        below = top - 0.125 * (wrap(script(self.truth), characters, lines).count("\n") + 1) - 0.05
        write(start, below, verdict, size=9, va="top", color=colour, weight=script.bold)
        caption = wrap(script(self.caption or "(nothing)"), characters, lines)
        write(
            start + 0.17,
            below,
            caption,
            size=size,
            va="top",
            weight=script.bold,
            linespacing=1.1,
            color=colour if self.caption else MUTED,
        )
        for number, (word, weights) in enumerate(zip(self.words, self.maps, strict=True)):
            x = start + number * _STEP
            thumb = axes(x, bottom + 0.28, _THUMB, _THUMB)
            thumb.imshow(attention_overlay(self.image, weights), interpolation="bicubic")
            label = shorten(word, 12) + (" …" if self.more and number == _MAX_WORDS - 1 else "")
            write(x + _THUMB / 2, bottom + 0.19, script(label), size=6.6, ha="center", va="center", color=INK)
