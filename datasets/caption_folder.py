"""A user's own pictures with captions: a folder with a captions file.

The captions file is `captions.jsonl` or the only .jsonl or .json file there, in one of three formats:

- JSON Lines: `{"file": "a.png", "caption": "..."}` or `"captions": [...]`, optional `"split"`;
- COCO: `{"images": [{"id", "file_name"}], "annotations": [{"image_id", "caption"}]}`;
- Karpathy: `{"images": [{"filename", "sentences": [{"raw"}], "split"}]}`.

Pictures lie beside it, in `images/`, or in `images.zip` (read in place). Names cannot point outside.

Pictures of the same bytes are one record with all their captions. If the file names splits they are used, and a picture
that stands in several of them stays in test, then in validation, only; otherwise pictures are split 80 / 10 / 10.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from zoo.config import BaseConfig, setting
from zoo.datasets._base import Dataset, Licence, Record, Source, register_dataset
from zoo.datasets._captions import Entry, read_captions
from zoo.datasets._images import Images, open_images
from zoo.datasets._split import portions
from zoo.errors import DataError

MIN_IMAGES = 10

_RANK = ("train", "", "valid", "test")


@register_dataset("caption_folder", task="captioning")
class CaptionFolder(Dataset):
    """Captioned pictures from a folder of the user's own."""

    licence = Licence(name="the user's own", credit="", weights_may_ship=False)

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
        path = Path(self.options.path)
        file = path if path.is_file() else _find_captions(path, self.options.captions)
        entries = read_captions(file)
        images = open_images(file.parent, self.options.images)
        pictures = _pictures(entries, images, file)
        if len(pictures) < MIN_IMAGES:
            raise DataError(f"'{file}' has {len(pictures)} different pictures; training needs at least {MIN_IMAGES}.")
        return {name: CaptionedImages(images, rows) for name, rows in self._deal(pictures).items()}

    def _deal(self, pictures: dict[str, Entry]) -> dict[str, list[tuple[str, Entry]]]:
        splits: dict[str, list[tuple[str, Entry]]] = {"train": [], "valid": [], "test": []}
        options = self.options
        open_keys = {entry.file: key for key, entry in pictures.items() if entry.split in ("", "train")}
        given = {entry.split for entry in pictures.values()} - {""}
        shares = {} if "valid" in given else {"valid": options.valid_fraction}
        if not given:
            shares["test"] = options.test_fraction
        for name, files in portions(open_keys, options.seed, shares).items():
            splits[name] += [(open_keys[file], pictures[open_keys[file]]) for file in files]
        for key, entry in pictures.items():
            if entry.split in ("valid", "test"):
                splits[entry.split].append((key, entry))
        for name in ("train", "valid"):
            if not splits[name]:
                raise DataError(
                    f"Split '{name}' of '{options.path}' would be empty; give more pictures or other splits."
                )
        return {name: rows for name, rows in splits.items() if rows}


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


def _find_captions(folder: Path, name: str) -> Path:
    if not folder.is_dir():
        raise DataError(f"There is no folder '{folder}'.")
    if name:
        if not (folder / name).is_file():
            raise DataError(f"The folder '{folder}' has no captions file '{name}'.")
        return folder / name
    if not any(folder.iterdir()):
        raise DataError(f"The folder '{folder}' is empty; put pictures and captions.jsonl there.")
    default = folder / "captions.jsonl"
    if default.is_file():
        return default
    for suffix in (".jsonl", ".json"):
        found = sorted(path.name for path in folder.iterdir() if path.suffix.lower() == suffix and path.is_file())
        if len(found) > 1:
            raise DataError(f"'{folder}' has several captions files ({', '.join(found[:5])}); name one with captions.")
        if found:
            return folder / found[0]
    raise DataError(
        f"The folder '{folder}' has no captions file; write captions.jsonl with lines like "
        '{"file": "a.png", "caption": "..."}.'
    )


def _pictures(entries: list[Entry], images: Images, file: Path) -> dict[str, Entry]:
    """Return key -> entry, pictures of the same bytes merged."""
    owners: dict[bytes, str] = {}
    pictures: dict[str, Entry] = {}
    for entry in entries:
        key = images.find(entry.file)
        if key is None:
            raise DataError(f"'{file.name}', {entry.where} names '{entry.file}', which is not in {images}.")
        owner = owners.setdefault(images.digest(key), key)
        if owner not in pictures:
            pictures[owner] = entry
        else:
            first = pictures[owner]
            first.captions += [caption for caption in entry.captions if caption not in first.captions]
            first.split = max(first.split, entry.split, key=_RANK.index)
    return pictures
