"""Caption metrics: exact match, BLEU-1 to 4, ROUGE-L and CIDEr-D.

The scorers are pycocoevalcap's (the COCO caption evaluation). Its tokeniser is a Java program, so the texts are split
here instead, by the rules stated at `tokenize_caption`; scores are comparable between runs of this project and, on
plain English captions, with published ones.

BLEU: Papineni et al. 2002, with the closest reference length. ROUGE-L: Lin 2004. CIDEr: Vedantam et al. 2015
(arXiv:1411.5726), on the scale 0 to 10; what pycocoevalcap calls CIDEr is their CIDEr-D (section 6), without stemming.
METEOR is in `captions_meteor`, diversity in `captions_diversity`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Hashable, Sequence

import numpy as np

from zoo.errors import DataError, require

CHARACTER_LANGUAGES = ("zh", "ja")
"""Languages written without spaces: one token a character."""

_WORD = re.compile(r"(?:[^\W\d_]\.){2,}|[^\W_]+(?:[-'/][^\W_]+|(?<=\d)[.,]\d+)*|[^\w\s]")
_CLITIC = re.compile(r"^(.+?)(n't|'s|'re|'ve|'ll|'d|'m)$|^(can)(not)$|^(gon|wan)(na)$|^(got)(ta)$|^(gim|lem)(me)$")


def normalize_caption(text: str) -> str:
    """Return the form in which two captions are compared for equality: composed, case-folded, single spaces."""
    return " ".join(unicodedata.normalize("NFC", text).casefold().replace("_", " ").split())


def tokenize_caption(text: str, language: str = "en") -> list[str]:
    """Split a caption into the tokens that BLEU, ROUGE and CIDEr count.

    Lower-case; a word keeps the hyphens, apostrophes and slashes inside it, a number its dots and commas, initials
    their dots (``u.s.``); punctuation is dropped and other symbols (``&``, ``%``, ...) are tokens. In English the
    clitics are split as the Penn Treebank does (``don't`` is ``do n't``, ``dog's`` is ``dog 's``, ``cannot`` is
    ``can not``). In Chinese and Japanese every character is a token.

    The COCO evaluation's tokeniser differs in what plain captions hardly have: it keeps underscores (here they are
    spaces), brackets, as the words ``-lrb-``, ``-rrb-``, ... (here dropped), addresses, and the dots of abbreviations
    that it knows (``mr.``).

    Args:
        text: One caption.
        language: Two-letter code.

    Returns:
        The tokens, possibly none.
    """
    text = unicodedata.normalize("NFC", text).lower().replace("’", "'")
    if language in CHARACTER_LANGUAGES:
        return [c for c in text if not c.isspace() and c != "_" and not _is_punctuation(c)]
    tokens: list[str] = []
    for token in _WORD.findall(text):
        clitic = _CLITIC.match(token) if language == "en" else None
        if clitic:
            tokens.extend(filter(None, clitic.groups()))
        elif len(token) > 1 or not _is_punctuation(token):
            tokens.append(token)
    return tokens


def caption_metrics_per_example(
    hypotheses: Sequence[str], references: Sequence[Sequence[str]], language: str = "en"
) -> dict[str, np.ndarray]:
    """Score every caption by itself, for standard errors and paired bootstraps.

    Args:
        hypotheses: N captions to judge.
        references: For each, one or more true captions.
        language: Two-letter code, see `tokenize_caption`.

    Returns:
        ``exact`` float64 (N,) of 0 and 1: equal to any reference, see `normalize_caption`; ``cider`` float64 (N,), with
        document frequencies counted over these N sets of references (so it depends on the whole test set).

    Raises:
        DataError: If the lengths differ, there is no example or an example has no reference.
        MissingExtraError: If pycocoevalcap is not installed.
    """
    check_captions(hypotheses, references)
    truths, candidates = _tokenized(hypotheses, references, language)
    return {"exact": _exact(hypotheses, references), "cider": _cider(truths, candidates)}


def caption_metrics(
    hypotheses: Sequence[str],
    references: Sequence[Sequence[str]],
    language: str = "en",
    groups: Sequence[Hashable] | None = None,
) -> dict[str, float]:
    """Score a set of captions.

    Args:
        hypotheses: N captions to judge.
        references: For each, one or more true captions.
        language: Two-letter code, see `tokenize_caption`.
        groups: Optional, N labels of what belongs together (variants of one thing). Then exact match and CIDEr are
            also averaged inside each group first and over the groups next, so that a large group does not dominate.

    Returns:
        ``exact_match``, ``bleu1`` to ``bleu4``, ``rouge_l`` (0 to 1), ``cider`` (0 to 10), the standard errors
        ``exact_match_se`` and ``cider_se``, and ``count``. With `groups` also ``exact_match_grouped``,
        ``cider_grouped``, their ``_se`` and ``groups``. CIDEr of a single example is 0: no word is rarer than another.

    Raises:
        DataError: If the lengths differ, there is no example or an example has no reference.
        MissingExtraError: If pycocoevalcap is not installed.
    """
    check_captions(hypotheses, references)
    truths, candidates = _tokenized(hypotheses, references, language)
    bleu = require("pycocoevalcap.bleu.bleu", extra="eval", purpose="The BLEU metric").Bleu(4)
    rouge = require("pycocoevalcap.rouge.rouge", extra="eval", purpose="The ROUGE metric").Rouge()
    bleu_scores, _ = bleu.compute_score(truths, candidates, verbose=0)
    rouge_score, _ = rouge.compute_score(truths, candidates)
    exact, cider = _exact(hypotheses, references), _cider(truths, candidates)
    result = {"exact_match": float(exact.mean()), "exact_match_se": standard_error(exact)}
    result |= {f"bleu{n}": float(score) for n, score in enumerate(bleu_scores, start=1)}
    result |= {"rouge_l": float(rouge_score), "cider": float(cider.mean()), "cider_se": standard_error(cider)}
    result["count"] = float(len(exact))
    if groups is not None:
        if len(groups) != len(exact):
            raise DataError(f"Caption metrics got {len(exact)} captions and {len(groups)} groups; give one a caption.")
        for name, values in (("exact_match", exact), ("cider", cider)):
            means = group_means(values, groups)
            result |= {f"{name}_grouped": float(means.mean()), f"{name}_grouped_se": standard_error(means)}
        result["groups"] = float(len(set(groups)))
    return result


def bleu_statistics(hypotheses: Sequence[str], references: Sequence[Sequence[str]], language: str = "en") -> np.ndarray:
    """Count what BLEU of any subset of the captions is made of: BLEU of a set is no mean over its captions.

    Args:
        hypotheses: N captions to judge.
        references: For each, one or more true captions.
        language: Two-letter code, see `tokenize_caption`.

    Returns:
        int64 (N, 10): for n = 1 to 4 the n-grams of the caption, for n = 1 to 4 those of them that are in a reference,
        the number of tokens of the caption, and that of the reference closest to it in length. `bleu_of` makes scores
        of their sum over captions.

    Raises:
        DataError: If the lengths differ, there is no example or an example has no reference.
        MissingExtraError: If pycocoevalcap is not installed.
    """
    check_captions(hypotheses, references)
    truths, candidates = _tokenized(hypotheses, references, language)
    scorer = require("pycocoevalcap.bleu.bleu_scorer", extra="eval", purpose="The BLEU metric").BleuScorer(n=4)
    for i, texts in truths.items():
        scorer += (candidates[i][0], texts)
    rows = []
    for counted in scorer.ctest:
        _, closest = min((abs(length - counted["testlen"]), length) for length in counted["reflen"])
        rows.append([*counted["guess"], *counted["correct"], counted["testlen"], closest])
    return np.array(rows, np.int64)


def bleu_of(statistics: np.ndarray) -> np.ndarray:
    """Return BLEU-1 to 4, float64 (..., 4), of summed `bleu_statistics` (..., 10), as pycocoevalcap's `Bleu` does."""
    counted = np.asarray(statistics, np.float64)
    guess, correct, length, closest = counted[..., :4], counted[..., 4:8], counted[..., 8], counted[..., 9]
    tiny, small = 1e-15, 1e-9  # the scorer's own
    means = np.cumprod((correct + tiny) / (guess + small), axis=-1) ** (1.0 / np.arange(1, 5))
    ratio = (length + tiny) / (closest + small)
    return means * np.exp(np.minimum(1.0 - 1.0 / ratio, 0.0))[..., None]


def standard_error(values: np.ndarray) -> float:
    """Return the standard error of the mean of independent values (N,); 0 for a single one."""
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0


def group_means(values: np.ndarray, groups: Sequence[Hashable]) -> np.ndarray:
    """Average `values` (N,) inside each group; groups come in order of first appearance."""
    order = {group: i for i, group in enumerate(dict.fromkeys(groups))}
    index = np.array([order[group] for group in groups])
    return np.bincount(index, weights=values) / np.bincount(index)


def check_captions(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> None:
    """Refuse captions and references that cannot be scored.

    Raises:
        DataError: If the lengths differ, there is no example or an example has no reference.
    """
    if len(hypotheses) != len(references):
        raise DataError(
            f"Caption metrics got {len(hypotheses)} captions and {len(references)} sets of references; give as many."
        )
    if not len(hypotheses):
        raise DataError("Caption metrics got no caption; give at least one.")
    for i, refs in enumerate(references):
        if isinstance(refs, str) or not len(refs):
            raise DataError(f"Caption metrics: example {i} has no list of references; give one or more true captions.")


def _tokenized(
    hypotheses: Sequence[str], references: Sequence[Sequence[str]], language: str
) -> tuple[dict[int, list[str]], dict[int, list[str]]]:
    def join(text: str) -> str:
        return " ".join(tokenize_caption(text, language))

    truths = {i: [join(text) for text in refs] for i, refs in enumerate(references)}
    return truths, {i: [join(text)] for i, text in enumerate(hypotheses)}


def _exact(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> np.ndarray:
    pairs = zip(hypotheses, references, strict=True)
    return np.array([normalize_caption(h) in {normalize_caption(r) for r in refs} for h, refs in pairs], np.float64)


def _cider(truths: dict[int, list[str]], candidates: dict[int, list[str]]) -> np.ndarray:
    if not any(any(refs) for refs in truths.values()):  # the scorer cannot take a corpus without a single word
        return np.zeros(len(truths))
    cider = require("pycocoevalcap.cider.cider", extra="eval", purpose="The CIDEr metric").Cider()
    return np.asarray(cider.compute_score(truths, candidates)[1], np.float64)


def _is_punctuation(character: str) -> bool:
    """Tell what the Penn Treebank list of the COCO evaluation drops; symbols like & % @ # * / are kept."""
    return character == "`" or (unicodedata.category(character).startswith("P") and character not in "&%@#*/\\")
