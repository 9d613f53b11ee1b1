"""What the parts of the report's page share: numbers, swatches, and the style."""

from __future__ import annotations

import math
from html import escape

from zoo.export._report_plots import marker

REFERENCE = 7
"""Number of the colour and the mark of the Keras model; the variants have those below."""

_UNKNOWN = '<span title="not known">–</span>'


def number(value: float | None, unit: str = "", *, digits: int = 4) -> str:
    """Return a number with its unit, and its full value for machines; a missing one is a dash.

    Args:
        value: The number; None or NaN if it is not known.
        unit: "" for none, "bytes" (shown in kB or MB), or what is written behind the number.
        digits: Significant digits of a number that is not whole.
    """
    if value is None or not math.isfinite(value):
        return _UNKNOWN
    if unit == "bytes":
        size, unit = (value / 1e6, "MB") if value >= 999_500 else (value / 1e3, "kB")
        text = f"{size:,.0f} {unit}" if size >= 99.5 else f"{size:.3g} {unit}"
    elif isinstance(value, int):
        text = f"{value:,} {unit}"
    else:
        whole = abs(value) >= 10 ** (digits - 1)
        text = f"{value:,.0f} {unit}" if whole else f"{value:.{digits}g} {unit}"
    return f'<data value="{value!r}">{text.rstrip().replace("-", "−")}</data>'


def percent(value: float | None, *, signed: bool = False) -> str:
    """Return a share as a percentage; `signed` marks what is above zero too."""
    if value is None or not math.isfinite(value):
        return _UNKNOWN
    points = value * 100
    text = f"{round(points, 0 if abs(points) >= 99.5 else 1 if abs(points) >= 9.95 else 2) + 0.0:g}"
    sign = "+" if signed and not text.startswith("-") and text != "0" else ""
    return f'<data value="{value!r}">{sign}{text.replace("-", "−")} %</data>'


def swatch(series: int) -> str:
    """Return the mark of a series as it is in the plots, for tables and legends."""
    return f'<svg class="swatch" viewBox="0 0 16 16" aria-hidden="true">{marker(8, 8, series)}</svg>'


def region(label: str, content: str) -> str:
    """Return content that scrolls sideways where it must, also with the keyboard."""
    return f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(label)}">{content}</div>'


_LIGHT = (
    "--paper:#fff;--ink:#1c2230;--muted:#5b6475;--rule:#d8dce4;--soft:#f4f6f9;--good:#15703a;--bad:#b42318;"
    "--c0:#2563eb;--c1:#c2570c;--c2:#15803d;--c3:#a21caf;--c4:#0e7490;--c5:#b91c1c;--c6:#6d5b00;--c7:#52525b"
)
_DARK = (
    "--paper:#12151b;--ink:#e7eaf0;--muted:#a0a9b8;--rule:#333a46;--soft:#1b2029;--good:#5fd38a;--bad:#ff8a7a;"
    "--c0:#7aa7ff;--c1:#ff9d57;--c2:#5fd38a;--c3:#e58bf0;--c4:#4fc9df;--c5:#ff8080;--c6:#d9c24a;--c7:#b0b4bd"
)
_SERIES = "".join(f".c{i}{{--own:var(--c{i})}}" for i in range(8))

STYLE = f"""
:root{{color-scheme:light dark;{_LIGHT}}}
@media (prefers-color-scheme:dark){{:root{{{_DARK}}}}}
{_SERIES}
*{{box-sizing:border-box}}
body{{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,sans-serif;overflow-wrap:anywhere}}
main{{max-width:1080px;margin:0 auto;padding:1rem}}
h1{{font-size:1.5rem;line-height:1.2;margin:.5rem 0 .25rem}}
h2{{font-size:1.15rem;margin:2rem 0 .5rem}}
h3{{font-size:1rem;margin:0;display:inline}}
p{{margin:.5rem 0}}
header p,section>p,figure p,.note{{color:var(--muted);font-size:.9rem}}
.advice ul{{margin:0;padding:.75rem 1rem .75rem 2rem;background:var(--soft);border-radius:8px}}
.scroll{{overflow-x:auto;border:1px solid var(--rule);border-radius:8px}}
.scroll:focus-visible,summary:focus-visible{{outline:2px solid var(--c0);outline-offset:2px}}
table{{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums;font-size:.9rem}}
th,td{{padding:.4rem .6rem;text-align:right;border-bottom:1px solid var(--rule);
white-space:nowrap;overflow-wrap:normal}}
thead th{{white-space:normal;vertical-align:bottom;color:var(--muted);font-weight:600;background:var(--soft)}}
tbody tr:last-child>*{{border-bottom:0}}
th:first-child{{text-align:left;position:sticky;left:0;background:var(--paper);border-right:1px solid var(--rule)}}
thead th:first-child{{background:var(--soft)}}
.swatch{{width:1em;height:1em;margin-right:.35em;vertical-align:-.12em}}
.good{{color:var(--good)}} .bad{{color:var(--bad);font-weight:600}}
.legend{{list-style:none;display:flex;flex-wrap:wrap;gap:.25rem 1.25rem;padding:0;margin:.5rem 0}}
.plots{{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,400px),1fr));gap:1rem}}
figure{{margin:0;padding:.5rem;border:1px solid var(--rule);border-radius:8px}}
figcaption{{font-weight:600;margin:.25rem .25rem .5rem}}
svg{{display:block;width:100%;height:auto}} svg.swatch{{display:inline-block}}
svg text{{fill:var(--ink);font-size:12px;font-family:inherit;paint-order:stroke;stroke:var(--paper);stroke-width:3px}}
svg .tick,svg .muted,svg .label{{fill:var(--muted)}}
svg .name{{font-weight:600}}
.grid{{stroke:var(--rule)}} .axis{{stroke:var(--muted)}}
.level{{stroke:var(--muted);stroke-dasharray:5 4}}
.mark,.bar{{fill:var(--own)}} .band{{fill:var(--own);opacity:.16}}
polyline{{fill:none;stroke-width:2}} .path{{stroke:var(--own)}} .dashed{{stroke-dasharray:7 4}}
.known{{stroke:var(--ink)}} .truth{{stroke:var(--muted);stroke-dasharray:2 4}}
details{{margin:.75rem 0}} summary{{cursor:pointer}}
.cases{{list-style:none;padding:0;margin:.75rem 0;display:grid;gap:.75rem;
grid-template-columns:repeat(auto-fill,minmax(min(100%,320px),1fr))}}
.case{{border:1px solid var(--rule);border-radius:8px;padding:.75rem;min-width:0}}
.case h4{{margin:0 0 .4rem;font-size:.85rem;font-weight:600;color:var(--muted)}}
.case img{{float:left;width:96px;height:96px;object-fit:contain;margin:0 .75rem .5rem 0;border-radius:6px;
background:#fff}}
.case blockquote{{margin:0 0 .5rem;padding-left:.6rem;border-left:3px solid var(--rule)}}
dl{{margin:0;display:grid;grid-template-columns:auto 1fr;gap:.1rem .6rem;font-size:.9rem}}
dt{{color:var(--muted)}} dd{{margin:0}}
.case dl{{overflow:hidden}} .case table{{clear:both}} .case .scroll{{clear:both}}
"""
