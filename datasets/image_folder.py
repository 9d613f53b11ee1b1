"""A user's own labelled pictures: a folder with one sub-folder a class, or a table of files and labels.

A folder of folders: the name of a sub-folder is the label of all pictures in it, however deep. If the sub-folders are
`train` and `valid` (or `val`, `dev`, `validation`), with or without `test`, each of them is such a folder, and the
splits are these.

A table is `labels.csv`, `labels.tsv` or `labels.jsonl` in the folder, or the path itself: a row a picture with its
`file` and `label`, optionally its `split`. Pictures lie beside it, in `images/`, or in `images.zip` (read in place).
Names cannot point outside.

Every picture is decoded once, when the dataset is opened; those that are missing or cannot be read are left out, and
named. Pictures of the same bytes are one record; one that has several labels gets the most frequent, and is left out if
there is none. If splits are given they are used, and a picture that stands in several of them stays in test, then in
validation, only; otherwise pictures are split 80 / 10 / 10, labels stratified.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo.config import BaseConfig, setting
from zoo.datasets._base import Dataset, Licence, Record, Source, register_dataset
from zoo.datasets._captions import _SPLITS
from zoo.datasets._check_images import LeftOut, check_images, say_left_out
from zoo.datasets._images import FolderImages, Images, open_images
from zoo.datasets._split import portions
from zoo.datasets._table import kind, read_jsonl, read_table
from zoo.datasets._text import settle
from zoo.errors import DataError
from zoo.preprocess.image import SUFFIXES

MIN_IMAGES = 10
MAX_CLASSES = 1000
OTHER_SUFFIXES = (".avif", ".heic", ".heif", ".jxl", ".jp2", ".psd", ".svg")
"""Pictures of formats that are not read: they are left out and named. Files with other names are passed over."""

_TABLES = ("labels.csv", "labels.tsv", "labels.jsonl")
_RANK = ("train", "", "valid", "test")


@dataclass(frozen=True)
class Labelled:
    """What is known of a picture before it is looked at: its name, its label, its split or "", and where it says so."""

    file: str
    label: str
    split: str
    where: str


@register_dataset("image_folder", task="image_classification")
class ImageFolder(Dataset):
    """Labelled pictures from a folder of the user's own."""

    licence = Licence(name="the user's own", credit="", weights_may_ship=False)
    pictures_checked = True

    @dataclass(frozen=True)
    class Options(BaseConfig):
        """Options of labelled pictures."""

        path: str = setting("")
        """The folder, or the table of files and labels."""
        images: str = setting("")
        """Folder or ZIP archive of a table's pictures inside the folder; empty = find it."""
        file_column: str = setting("file")
        """Column (or JSON field) of the picture's name."""
        label_column: str = setting("label")
        """Column (or JSON field) of the label."""
        seed: int = setting(0, low=0)
        """Which of the possible splits."""
        valid_fraction: float = setting(0.1, low=0.01, high=0.4)
        """Share of the pictures in `valid`, if it is not given."""
        test_fraction: float = setting(0.1, low=0.01, high=0.4)
        """Share of the pictures in `test`, if no split is given."""

    def __init__(self, options: Options | None = None) -> None:
        """Keep the options; files are read on first use."""
        super().__init__(options)
        self._splits: dict[str, Source] | None = None

    @property
    def class_names(self) -> tuple[str, ...]:
        """The labels, sorted; numbers by value."""
        source: Any = self.split("train")
        labels = set(source.label_counts)
        return tuple(sorted(labels, key=lambda label: (not label.isdecimal(), len(label) * label.isdecimal(), label)))

    def splits(self) -> dict[str, Source]:
        """Return `train` and `valid`, and `test` unless splits are given without it."""
        if self._splits is None:
            self._splits = self._read()
        return self._splits

    def _read(self) -> dict[str, Source]:
        options, path = self.options, Path(self.options.path)
        if not options.path:
            raise DataError("Labelled pictures need their folder or table: --data PATH.")
        if not path.exists():
            raise DataError(f"There is no file or folder '{path}'.")
        table = path if path.is_file() else next((path / name for name in _TABLES if (path / name).is_file()), None)
        images: Images
        if table is not None:
            images, named = open_images(table.parent, options.images), list(_from_table(table, options))
        else:
            images, named = FolderImages(path), list(_from_folders(path))
        pictures = self._usable(images, named)
        found = {
            name: LabelledImages(images, [(key, pictures[key]) for key in keys])
            for name, keys in self._deal(pictures).items()
            if keys
        }
        _check(found, options.path)
        return {**found}

    def _usable(self, images: Images, named: Sequence[Labelled]) -> dict[str, Labelled]:
        """Return key -> what is known, of the pictures that can be read; those of the same bytes merged."""
        found, left_out = [], []
        for one in named:
            key = images.find(one.file)
            if key is None:
                left_out.append(LeftOut(one.file, f"is not in {images} ({one.where})"))
            else:
                found.append((key, one))
        keys = list(dict.fromkeys(key for key, _ in found))
        checked = dict(zip(keys, check_images(images, keys, quiet=self.quiet), strict=True))
        left_out += [LeftOut(one.file, checked[key].problem) for key, one in found if checked[key].problem]
        same: dict[str, list[tuple[str, Labelled]]] = defaultdict(list)
        for key, one in found:
            if not checked[key].problem:
                same[checked[key].digest.hex()].append((key, one))
        labels = settle((digest, one.label, 1.0) for digest, group in same.items() for _, one in group)
        pictures = {}
        for digest, group in same.items():
            if digest in labels:
                split = max((one.split for _, one in group), key=_RANK.index)
                pictures[group[0][0]] = Labelled(group[0][1].file, labels[digest], split, group[0][1].where)
            else:
                said = " and ".join(repr(label) for label in dict.fromkeys(one.label for _, one in group))
                left_out += [LeftOut(one.file, f"the same picture has the labels {said}") for _, one in group]
        self.left_out = tuple(left_out)
        say_left_out(left_out, len(named), self.options.path, announce=self.announce)
        if len(pictures) < MIN_IMAGES:
            raise DataError(
                f"'{self.options.path}' has {len(pictures)} different pictures; training needs at least {MIN_IMAGES}."
            )
        return pictures

    def _deal(self, pictures: dict[str, Labelled]) -> dict[str, list[str]]:
        splits: dict[str, list[str]] = {"train": [], "valid": [], "test": []}
        given = {one.split for one in pictures.values()} - {""}
        shares = {} if "valid" in given else {"valid": self.options.valid_fraction}
        if not given:
            shares["test"] = self.options.test_fraction
        strata: dict[str, dict[str, str]] = defaultdict(dict)
        for key, one in pictures.items():
            if one.split in ("valid", "test"):
                splits[one.split].append(key)
            else:
                strata[one.label][one.file] = key
        for label in sorted(strata):
            dealt = portions(strata[label], self.options.seed, shares)
            if not dealt["train"]:  # what is to be known must be learned
                dealt["train"].append(next(files for files in dealt.values() if files).pop())
            for name, files in dealt.items():
                splits[name] += [strata[label][file] for file in files]
        return splits


class LabelledImages(Sequence[Record]):
    """Records whose pictures are read when asked for."""

    def __init__(self, images: Images, rows: list[tuple[str, Labelled]]) -> None:
        """Keep keys and labels, not the pictures."""
        self._images = images
        self._rows = rows

    def __len__(self) -> int:
        """Return the number of records."""
        return len(self._rows)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        """Return one record; `image` is a path, or bytes if the pictures are in an archive."""
        key, one = self._rows[index]
        return {"id": one.file, "group": one.file, "image": self._images.get(key), "label": one.label}

    @property
    def label_counts(self) -> dict[str, int]:
        """Label -> number of records; no picture is read."""
        return dict(Counter(one.label for _, one in self._rows))


def _from_table(path: Path, options: Any) -> Iterator[Labelled]:
    columns = (options.file_column, options.label_column)
    if kind(path) == ".jsonl":
        rows: Iterator[tuple[int, dict[str, Any]]] = read_jsonl(path)
    else:
        table = read_table(path)
        for column, option in zip(columns, ("file_column", "label_column"), strict=True):
            table.position(column, option)
        named = (dict(zip(table.columns, row, strict=True)) for row in table.rows)
        rows = zip(table.lines, named, strict=True)
    for line, row in rows:
        file, label, split = (row.get(name, "") for name in (*columns, "split"))
        label = str(label) if type(label) is int else label
        if not isinstance(file, str) or not file.strip() or not isinstance(label, str) or not isinstance(split, str):
            raise DataError(f"'{path}', line {line} has no '{columns[0]}' or '{columns[1]}' that is text; write both.")
        if split and split.lower() not in _SPLITS:
            raise DataError(f"'{path}', line {line}: split {split!r} is unknown; use train, valid or test.")
        label = _label(label, f"'{path}', line {line}")
        yield Labelled(file.strip(), label, _SPLITS.get(split.lower(), ""), f"line {line}")


def _from_folders(root: Path) -> Iterator[Labelled]:
    folders = _folders(root)
    of_splits = {folder: _SPLITS.get(folder.name.lower(), "") for folder in folders}
    others = [folder.name for folder in folders if not of_splits[folder]]
    given = len(folders) - len(others) > 1 and "train" in of_splits.values()
    if given and others:
        raise DataError(f"'{root}' has folders of splits and others ({', '.join(others)}); move the others away.")
    if given and len(set(of_splits.values())) != len(folders):
        raise DataError(f"'{root}' has several folders of one split ({', '.join(one.name for one in folders)}).")
    for outer in folders if given else [root]:
        for folder in _folders(outer):
            label = _label(folder.name, f"The folder '{folder}'")
            for path in sorted(folder.rglob("*")):
                file = path.relative_to(root)
                hidden = any(part.startswith(".") for part in file.parts)
                if path.suffix.lower() in (*SUFFIXES, *OTHER_SUFFIXES) and path.is_file() and not hidden:
                    yield Labelled(file.as_posix(), label, of_splits[outer] if given else "", f"folder {folder.name}")


def _folders(root: Path) -> list[Path]:
    try:
        found = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError as error:
        raise DataError(f"Cannot read the folder '{root}': {error.strerror or error}.") from error
    if not found:
        raise DataError(
            f"The folder '{root}' has neither sub-folders with pictures, one a class, nor {' or '.join(_TABLES)}."
        )
    return found


def _label(text: str, where: str) -> str:
    label = text.strip()
    if not label or not label.isprintable() or len(label) > 256:
        raise DataError(f"{where}: the label is empty, too long or has characters that cannot be printed; rename it.")
    return label


def _check(splits: dict[str, LabelledImages], path: str) -> None:
    for name in ("train", "valid"):
        if name not in splits:
            raise DataError(f"Split '{name}' of '{path}' would be empty; give more pictures or other splits.")
    known = set(splits["train"].label_counts)
    if not 2 <= len(known) <= MAX_CLASSES:
        raise DataError(f"'{path}' has {len(known)} classes with pictures to train on; give 2 to {MAX_CLASSES:,}.")
    for name, source in splits.items():
        new = sorted(set(source.label_counts) - known)
        if new:
            raise DataError(f"Split '{name}' of '{path}' has the class '{new[0]}', which training has not.")
