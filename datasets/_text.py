"""What the text datasets share: duplicates, near-duplicates and their splits."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping

from zoo.datasets._base import Record, Source
from zoo.datasets._split import Rows, portions, shuffled

_NAMES = re.compile(r"https?://\S*|www\.\S*|@\w+")
_WORD = re.compile(r"[^\W\d_]+")


def near_key(text: str) -> str:
    """Return what is left of a text without URLs, user names, numbers, punctuation, retweet marks and case."""
    words = _WORD.findall(_NAMES.sub(" ", text.casefold()))
    return " ".join(word for word in words if word != "rt")


def group_key(text: str, *, prefix: int | None = None) -> str:
    """Return the name of a text's group: texts with the same `near_key`; one without words is a group of its own.

    Args:
        text: Any text.
        prefix: Letters of the key that count; None = all. A quotation and its shortened copy differ at the end only.
    """
    return near_key(text).replace(" ", "")[:prefix] or text


def settle(rows: Iterable[tuple[str, str, float]]) -> dict[str, str]:
    """Remove duplicates: one label a text.

    Args:
        rows: Text, label and weight of every vote.

    Returns:
        Text -> the label with most votes, then with the greater sum of weights; a text that is still undecided is left
        out. Order of first appearance.
    """
    votes: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(lambda: [0.0, 0.0]))
    for text, label, weight in rows:
        vote = votes[text][label]
        vote[0] += 1
        vote[1] += weight
    result = {}
    for text, labels in votes.items():
        ranked = sorted(labels.items(), key=lambda item: item[1], reverse=True)
        if len(ranked) == 1 or ranked[0][1] != ranked[1][1]:
            result[text] = ranked[0][0]
    return result


def text_splits(
    labels: Mapping[str, str], seed: int, shares: Mapping[str, float], *, prefix: int | None = None
) -> dict[str, Source]:
    """Deal texts out to splits; near-duplicates (`group_key`) stay together, labels are stratified.

    A group whose texts have different labels keeps them, all in one split, and is dealt with those of its first label.

    Args:
        labels: Text -> label.
        seed: Which of the possible splits.
        shares: Split -> share of the groups; the rest is "train".
        prefix: See `group_key`.

    Returns:
        Split -> records with `id`, `group`, `text` and `label`, in seeded order.
    """
    groups: dict[str, list[Record]] = defaultdict(list)
    for number, (text, label) in enumerate(labels.items()):
        key = group_key(text, prefix=prefix)
        groups[key].append({"id": f"{number:06d}", "group": key, "text": text, "label": label})
    strata: dict[str, list[str]] = defaultdict(list)
    for key, records in groups.items():
        strata[records[0]["label"]].append(key)
    dealt: dict[str, list[str]] = defaultdict(list)
    for stratum in sorted(strata):
        for name, keys in portions(strata[stratum], seed, shares).items():
            dealt[name] += keys
    names = ("train", *shares)
    return {name: Rows(row for key in shuffled(dealt[name], seed) for row in groups[key]) for name in names}
