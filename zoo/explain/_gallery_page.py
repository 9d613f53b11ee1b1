"""The gallery as one HTML page: inline style, pictures as `data:` addresses, no script.

A word is a button that lays its map over the picture while the pointer is on it or it has the focus; a tap on a phone
does both. Everything that comes from outside is escaped, and a content policy forbids the page to load anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from zoo.explain.gallery import Answered, address, map_png
from zoo.explain.words import caption_words, shown
from zoo.export._report_html import STYLE, number
from zoo.preprocess import Preprocessor
from zoo.results import Caption, ImageClassification, Result

_TALLEST = 1.25  # height of a picture's place by its width; taller pictures are narrower

_OF_WORDS = (
    "Point at or tap a word to see where the model looked for it. Where it looked is not yet why it said the word; "
    "“zoo explain” measures that. The number is the mean log-probability of the caption's pieces."
)
_OF_CLASSES = "Point at or tap a class to see where the evidence for it was."

_OWN = """
.gallery{list-style:none;padding:0;margin:1rem 0;display:grid;gap:1rem;align-items:start;
grid-template-columns:repeat(auto-fill,minmax(min(100%,260px),1fr))}
.shot{position:relative;border:1px solid var(--rule);border-radius:8px;overflow:hidden;background:var(--soft)}
.photo{display:block;width:var(--wide);height:auto;aspect-ratio:var(--form);margin:0 auto;background:#fff}
.says{margin:0;padding:.6rem .7rem .2rem;font-size:1.05rem;line-height:1.7}
.word{font:inherit;color:inherit;background:none;border:0;border-bottom:2px dotted var(--muted);border-radius:0;
padding:.1rem .05rem;margin:0 .04em;cursor:pointer}
.word:hover,.word:focus{background:var(--c1);color:var(--paper);border-bottom-color:transparent;border-radius:4px;
outline:none}
.word:focus-visible{outline:2px solid var(--c0);outline-offset:2px}
.word::after{content:none;position:absolute;top:0;left:calc((100% - var(--wide))/2);width:var(--wide);
aspect-ratio:var(--form);background:var(--map) 0 0/100% 100% no-repeat;pointer-events:none}
.word:hover::after,.word:focus::after{content:""}
.says:hover .word:focus:not(:hover)::after{content:none}
.shot:has(.word:hover,.word:focus) .photo{filter:grayscale(1)}
.shot .about{margin:0;padding:0 .7rem .6rem;color:var(--muted);font-size:.85rem}
.problems li{margin:.25rem 0}
"""


def render_gallery(answers: Sequence[Answered], preprocessor: Preprocessor, *, model: str, note: str) -> str:
    """Return the page (arguments as in `zoo.explain.gallery.write_gallery`)."""
    read = [answer for answer in answers if answer.result is not None]
    problems = [answer for answer in answers if answer.result is None]
    title = escape(f"{len(read)} picture{'s' * (len(read) != 1)} by {model}")
    cards = "".join(_card(answer, preprocessor) for answer in read)
    hints = [note] if note else []
    if any(isinstance(answer.result, Caption) for answer in read):
        hints.append(_OF_WORDS)
    if any(isinstance(answer.result, ImageClassification) for answer in read):
        hints.append(_OF_CLASSES)
    about = "".join(f"<p>{escape(hint)}</p>" for hint in hints)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'\">\n"
        f'<meta name="color-scheme" content="light dark">\n<title>{title}</title>\n<style>{STYLE}{_OWN}</style>\n'
        f"</head>\n<body>\n<main>\n<header><h1>{title}</h1>{about}</header>\n"
        f'<ol class="gallery">{cards}</ol>\n{_problems(problems)}</main>\n</body>\n</html>\n'
    )


def _card(answer: Answered, preprocessor: Preprocessor) -> str:
    width, height = answer.size
    wide = min(1.0, _TALLEST * width / height)
    text, about = _says(answer.result, preprocessor)
    plain = answer.result.text if isinstance(answer.result, Caption) else str(answer.result)
    return (
        f'<li class="shot" style="--wide:{wide:.2%};--form:{width}/{height}">'
        f'<img class="photo" loading="lazy" width="{width}" height="{height}" '
        f'src="{address(answer.thumbnail, "jpeg")}" alt="{escape(plain)}">'
        f'{text}<p class="about">{escape(answer.name)}{about}</p></li>\n'
    )


def _says(result: Result | None, preprocessor: Preprocessor) -> tuple[str, str]:
    """Return the answer as HTML, and what stands behind the picture's name."""
    if isinstance(result, Caption):
        parts = []
        for word in caption_words(result, preprocessor):
            space = " " if word.text[:1].isspace() else ""
            parts.append(space + _word(shown(word), word.attention))
        language = escape(getattr(preprocessor, "language", ""))
        spoken = f' lang="{language}"' if language else ""
        return f'<p class="says"{spoken}>{"".join(parts)}</p>', f" · {number(result.score, digits=3)}"
    if isinstance(result, ImageClassification):
        probability = number(result.probabilities[result.label], digits=3)
        return f'<p class="says">{_word(result.label, result.attention)}</p>', f" · probability {probability}"
    return f'<p class="says">{escape(str(result))}</p>', ""


def _word(text: str, attention: np.ndarray) -> str:
    style = f"--map:url({address(map_png(attention), 'png')})"
    return f'<button type="button" class="word" style="{style}">{escape(text)}</button>'


def _problems(problems: Sequence[Answered]) -> str:
    if not problems:
        return ""
    count = f"{len(problems)} picture{'s' * (len(problems) != 1)} could not be read"
    items = "".join(f"<li><strong>{escape(item.name)}</strong>: {escape(item.problem)}</li>" for item in problems)
    return f'<section class="problems"><h2>{count}</h2><ul>{items}</ul></section>\n'
