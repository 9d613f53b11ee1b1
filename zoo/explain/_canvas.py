"""What all pictures share: figures without global state, colours, and fonts that have the glyphs."""

from __future__ import annotations

import functools
import io
import logging
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from zoo.errors import require
from zoo.files import write_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, MUTED, RULE = "#1f2430", "#6b7280", "#d9dce3"
BLUE, ORANGE, GREEN, RED = "#2563eb", "#d97706", "#15803d", "#b91c1c"

_LOG = logging.getLogger("zoo.explain")
_BASE_FONT = "DejaVu Sans"  # comes with matplotlib
_PREFERRED = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Noto Sans SC",
    "Source Han Sans SC",
    "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei",
    "Microsoft YaHei",
    "SimHei",
    "PingFang SC",
    "Hiragino Sans GB",
    "Arial Unicode MS",
    "IPAexGothic",
)


def new_figure(width: float, height: float, dpi: int = 150) -> Figure:
    """Return an empty white figure of `width` x `height` inches, bound to no window and no pyplot."""
    figure = require("matplotlib.figure", extra="eval", purpose="A picture").Figure((width, height), dpi=dpi)
    require("matplotlib.backends.backend_agg", extra="eval", purpose="A picture").FigureCanvasAgg(figure)
    figure.set_facecolor("white")
    return figure


def save(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write the figure as PNG, beside and renamed. Equal figures give equal bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    write_bytes(path, buffer.getvalue())


class Script:
    """Draws text in any script: picks fonts that have the glyphs of `texts`, and escapes characters that none has.

    Attributes:
        families: Font names for matplotlib's ``fontfamily``, tried in order for every glyph.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        wanted = {c for text in texts for c in text if c.isprintable() and not c.isspace()}
        self.families, self._missing = _families(frozenset(wanted - _glyphs_of_base()))
        if self._missing:
            _warn_once()

    def __call__(self, text: str) -> str:
        """Return `text` ready to draw: control characters and glyphs no font has become escapes, ``$`` stays ``$``."""
        shown = "".join(
            c.encode("unicode_escape").decode() if c in self._missing or not (c.isprintable() or c == "\n") else c
            for c in text
        )
        return shown.replace("$", r"\$")  # matplotlib would take a pair for mathematics

    @property
    def bold(self) -> str:
        """The weight for headings: normal where a second font is needed, which seldom has a bold face installed."""
        return "bold" if len(self.families) == 1 else "normal"

    @property
    def style(self) -> dict[str, Any]:
        """Keyword arguments for matplotlib's text functions."""
        return {"fontfamily": self.families, "color": INK}


def shorten(text: str, length: int) -> str:
    """Cut `text` to at most `length` characters, the last one an ellipsis where something was cut."""
    return text if len(text) <= length else text[: max(1, length - 1)].rstrip() + "…"


def width_of(text: str) -> int:
    """Estimate the width of `text` in Latin characters: those of East Asian scripts are about twice as wide."""
    return sum(2 if ord(c) >= 0x1100 and not 0x1E00 <= ord(c) <= 0x2BFF else 1 for c in text)


def wrap(text: str, width: int, lines: int) -> str:
    """Break `text` into at most `lines` lines of about `width` Latin characters; an ellipsis stands for the rest.

    Breaks at spaces, and inside a word (or Chinese text) where it is longer than a line.
    """
    rows: list[str] = [""]
    for word in text.split():
        glue = " " if rows[-1] else ""
        if width_of(rows[-1] + glue + word) <= width:
            rows[-1] += glue + word
            continue
        if rows[-1]:
            rows.append("")
        for c in word:
            if width_of(rows[-1] + c) > width:
                rows.append("")
            rows[-1] += c
    if len(rows) > lines:
        rows = [*rows[: lines - 1], shorten(rows[lines - 1] + "……", len(rows[lines - 1]))]
    return "\n".join(rows)


@functools.lru_cache(maxsize=64)
def _charmap(path: str) -> frozenset[int]:
    """Return the code points a font file has glyphs for; none for a file that cannot be read."""
    manager = require("matplotlib.font_manager", extra="eval", purpose="A picture")
    try:
        return frozenset(manager.get_font(path).get_charmap())
    except (OSError, RuntimeError):
        return frozenset()


def _glyphs_of_base() -> set[str]:
    manager = require("matplotlib.font_manager", extra="eval", purpose="A picture")
    return {chr(code) for code in _charmap(manager.findfont(_BASE_FONT))}


@functools.lru_cache(maxsize=64)
def _families(wanted: frozenset[str]) -> tuple[list[str], frozenset[str]]:
    """Find installed fonts that have `wanted`: the families, the base font first, and what none of them has."""
    families, missing = [_BASE_FONT], set(wanted)
    if missing:
        manager = require("matplotlib.font_manager", extra="eval", purpose="A picture").fontManager
        rank = {name: i for i, name in enumerate(_PREFERRED)}
        fonts = sorted(manager.ttflist, key=lambda font: (rank.get(font.name, len(rank)), font.name, font.fname))
        for font in fonts:
            if font.style != "normal" or font.name == _BASE_FONT or "Last Resort" in font.name:
                continue
            found = {c for c in missing if ord(c) in _charmap(font.fname)}
            if found:
                families.append(font.name)
                missing -= found
            if not missing:
                break
    return families, frozenset(missing)


@functools.cache
def _warn_once() -> None:
    _LOG.warning(
        "No installed font has some of the characters to draw; they are shown as \\u codes. "
        "Install one such as Noto Sans CJK (Debian and Ubuntu: apt install fonts-noto-cjk)."
    )
