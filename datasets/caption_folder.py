"""A user's own pictures with captions: a folder with a captions file.

The captions file is `captions.jsonl` or the only .jsonl or .json file there, in one of three formats:

- JSON Lines: `{"file": "a.png", "caption": "..."}` or `"captions": [...]`, optional `"split"`; captions in several
  languages are `"captions": {"en": [...], "zh": [...]}` or files `captions.en.jsonl` and `captions.zh.jsonl`;
- COCO: `{"images": [{"id", "file_name"}], "annotations": [{"image_id", "caption"}]}`, in one file or in one a split
  (`captions_train2017.json`, `captions_val2017.json`), there or in `annotations/`;
- Karpathy: `{"images": [{"filename", "sentences": [{"raw"}], "split"}]}`.

Pictures lie beside it, in `images/`, in COCO's folders (`train2017/`), or in `images.zip` (read in place). Names cannot
point outside.

Every picture is decoded once, when the dataset is opened; those that are missing or cannot be read are left out, and
named. Pictures of the same bytes are one record with all their captions. If the file names splits they are used, and a
picture that stands in several of them stays in test, then in validation, only; otherwise pictures are split
80 / 10 / 10.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from zoo.config import BaseConfig, setting
from zoo.datasets._base import Dataset, Licence, Record, Source, register_dataset
from zoo.datasets._captions import Entry, captions_file, find_captions, read_captions
from zoo.datasets._check_images import LeftOut, check_images, say_left_out
from zoo.datasets._images import Images, open_images
from zoo.datasets._split import portions
from zoo.errors import DataError

MIN_IMAGES = 10

_RANK = ("train", "", "valid", "test")


@register_dataset("caption_folder", task="captioning")
class CaptionFolder(Dataset):
    """Captioned pictures from a folder of the user's own."""

    licence = Licence(name="the user's own", credit="", weights_may_ship=False)
    pictures_checked = True

    @dataclass(frozen=True)
    class Options(BaseConfig):
        """Options of captioned pictures."""

        path: str = setting("")
        """The folder, or the captions file in it."""
        captions: str = setting("")
        """Name of the captions file; empty = find it."""
        images: str = setting("")
        """Folder or ZIP archive of the pictures inside the folder; empty = find it."""
        language: str = setting("")
        """ISO 639-1 code of the captions; zh asks for the Chinese mode."""
        seed: int = setting(0, low=0)
        """Which of the possible splits."""
        valid_fraction: float = setting(0.1, low=0.01, high=0.4)
        """Share of the pictures in `valid`, if it is not given."""
        test_fraction: float = setting(0.1, low=0.01, high=0.4)
        """Share of the pictures in `test`, if no split is given."""

    def __init__(self, options: Options | None = None) -> None:
        """Keep the options; files are read on first use."""
        super().__init__(options)
        self.language = self.options.language
        self._splits: dict[str, Source] | None = None

    def splits(self) -> dict[str, Source]:
        """Return `train` and `valid`, and `test` unless the file names splits without it."""
        if self._splits is None:
            self._splits = self._read()
        return self._splits

    def _read(self) -> dict[str, Source]:
        options = self.options
        read = read_folder(
            options.path, captions=options.captions, images=options.images, language=options.language, quiet=self.quiet
        )
        self.left_out = read.left_out
        return read.sources(self._deal(read.usable(announce=self.announce)))

    def _deal(self, pictures: dict[str, Entry]) -> dict[str, list[str]]:
        splits: dict[str, list[str]] = {"train": [], "valid": [], "test": []}
        options = self.options
        open_keys = {entry.file: key for key, entry in pictures.items() if entry.split in ("", "train")}
        given = {entry.split for entry in pictures.values()} - {""}
        shares = {} if "valid" in given else {"valid": options.valid_fraction}
        if not given:
            shares["test"] = options.test_fraction
        for name, files in portions(open_keys, options.seed, shares).items():
            splits[name] += [open_keys[file] for file in files]
        for key, entry in pictures.items():
            if entry.split in ("valid", "test"):
                splits[entry.split].append(key)
        return splits


@dataclass
class CaptionedFolder:
    """What a folder of captioned pictures holds.

    Attributes:
        path: The folder or captions file that was asked for.
        images: Where its pictures are.
        pictures: Key -> what the captions say; the pictures that can be read, of the same bytes merged.
        left_out: The pictures that are missing or cannot be read.
        named: Split -> pictures that the captions name, left out or not.
    """

    path: str
    images: Images
    pictures: dict[str, Entry]
    left_out: tuple[LeftOut, ...]
    named: Counter[str]

    def usable(self, *, announce: bool = True) -> dict[str, Entry]:
        """Return `pictures`; say on standard error what is left out, unless it is not to be announced.

        Raises:
            DataError: If they are too few, or more than half are left out.
        """
        say_left_out(self.left_out, self.named.total(), self.path, announce=announce)
        if len(self.pictures) < MIN_IMAGES:
            raise DataError(
                f"'{self.path}' has {len(self.pictures)} different pictures; training needs at least {MIN_IMAGES}."
            )
        return self.pictures

    def sources(self, splits: dict[str, list[str]]) -> dict[str, Source]:
        """Return the records of splits given as keys; empty splits are left out.

        Raises:
            DataError: If `train` or `valid` is empty.
        """
        for name in ("train", "valid"):
            if not splits.get(name):
                raise DataError(f"Split '{name}' of '{self.path}' would be empty; give more pictures or other splits.")
        return {
            name: CaptionedImages(self.images, [(key, self.pictures[key]) for key in keys])
            for name, keys in splits.items()
            if keys
        }


def read_folder(
    path: str, *, captions: str = "", images: str = "", language: str = "", quiet: bool = False
) -> CaptionedFolder:
    """Read the captions of a folder and check its pictures.

    Args:
        path: The folder, or the captions file in it.
        captions: Name of the captions file; "" to find it.
        images: Folder or ZIP archive of the pictures inside the folder; "" to find it.
        language: Which captions to take where there are several languages.
        quiet: Do not show how far the checking is.

    Raises:
        DataError: If the folder or its captions cannot be read, or a name points outside.
    """
    place = Path(path)
    files = [captions_file(place)] if place.is_file() else find_captions(place, captions, language)
    where = open_images(place.parent if place.is_file() else place, images)
    entries = [entry for file in files for entry in read_captions(file, language)]
    found = [_find_picture(where, entry) for entry in entries]
    keys = list(dict.fromkeys(key for key in found if key is not None))
    checked = dict(zip(keys, check_images(where, keys, quiet=quiet), strict=True))
    left_out: list[LeftOut] = []
    rows: list[tuple[str, Entry, bytes]] = []
    for key, entry in zip(found, entries, strict=True):
        if key is None:
            left_out.append(LeftOut(entry.file, f"is not in {where} ({entry.where})"))
        elif checked[key].problem:
            left_out.append(LeftOut(entry.file, checked[key].problem))
        else:
            rows.append((key, entry, checked[key].digest))
    return CaptionedFolder(path, where, _merge(rows), tuple(left_out), Counter(entry.split for entry in entries))


class CaptionedImages(Sequence[Record]):
    """Records whose pictures are read when asked for."""

    def __init__(self, images: Images, rows: list[tuple[str, Entry]]) -> None:
        """Keep keys and captions, not the pictures."""
        self._images = images
        self._rows = rows

    def __len__(self) -> int:
        """Return the number of records."""
        return len(self._rows)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        """Return one record; `image` is a path, or bytes if the pictures are in an archive."""
        key, entry = self._rows[index]
        return {
            "id": entry.file,
            "group": entry.file,
            "image": self._images.get(key),
            "captions": tuple(entry.captions),
        }


def _find_picture(images: Images, entry: Entry) -> str | None:
    inside = images.find(f"{entry.folder}/{entry.file}") if entry.folder else None
    return inside or images.find(entry.file)


def _merge(rows: list[tuple[str, Entry, bytes]]) -> dict[str, Entry]:
    """Return key -> entry, pictures of the same bytes merged."""
    owners: dict[bytes, str] = {}
    pictures: dict[str, Entry] = {}
    for key, entry, digest in rows:
        owner = owners.setdefault(digest, key)
        if owner not in pictures:
            pictures[owner] = entry
        else:
            first = pictures[owner]
            first.captions += entry.captions
            first.split = max(first.split, entry.split, key=_RANK.index)
    return pictures
