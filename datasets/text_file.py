"""A user's own texts with labels: CSV, TSV or JSON Lines with a text and a label column.

One file is split 80 / 10 / 10, labels stratified, after duplicates are removed; texts that are equal but for links,
user names, numbers, punctuation and case stay together. A folder has files `train`, `valid` (or `val`, `dev`,
`validation`) and `test` with one of those endings: then the splits are the given ones, and training loses the texts
that are also in validation or test, validation those that are in test. Without a validation file, one is taken from
training.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from zoo.config import BaseConfig, setting
from zoo.datasets._base import Dataset, Licence, Record, Source, register_dataset
from zoo.datasets._split import Rows
from zoo.datasets._table import SUFFIXES, kind, read_jsonl, read_table
from zoo.datasets._text import group_key, settle, text_splits
from zoo.errors import DataError

MIN_TEXTS = 20
MAX_CLASSES = 1000

_STEMS = {"train": ("train", "training"), "valid": ("valid", "val", "dev", "validation"), "test": ("test",)}

Pair = tuple[str, str]


@register_dataset("text_file", task="text_classification")
class TextFile(Dataset):
    """Labelled texts from a file or folder of the user's own."""

    licence = Licence(name="the user's own", credit="", weights_may_ship=False)

    @dataclass(frozen=True)
    class Options(BaseConfig):
        """Options of labelled texts."""

        path: str = setting("")
        """The file, or the folder with train, valid and test files."""
        text_column: str = setting("text")
        """Column (or JSON field) of the text."""
        label_column: str = setting("label")
        """Column (or JSON field) of the label."""
        language: str = setting("")
        """ISO 639-1 code of the texts; zh asks for the Chinese mode."""
        seed: int = setting(0, low=0)
        """Which of the possible splits."""
        valid_fraction: float = setting(0.1, low=0.01, high=0.4)
        """Share of the texts in `valid`, if it is not given."""
        test_fraction: float = setting(0.1, low=0.01, high=0.4)
        """Share of the texts in `test`, if one file is given."""

    def __init__(self, options: Options | None = None) -> None:
        """Keep the options; texts are read on first use."""
        super().__init__(options)
        self.language = self.options.language
        self._splits: dict[str, Source] | None = None

    @property
    def class_names(self) -> tuple[str, ...]:
        """The labels, sorted; numbers by value."""
        labels = {record["label"] for record in self.split("train")}  # type: ignore[attr-defined]
        return tuple(sorted(labels, key=lambda label: (not label.isdecimal(), len(label) * label.isdecimal(), label)))

    def splits(self) -> dict[str, Source]:
        """Return `train` and `valid`, and `test` unless a folder has none."""
        if self._splits is None:
            path = Path(self.options.path)
            splits = self._from_folder(path) if path.is_dir() else self._from_file(path)
            _check(splits, self.options)
            self._splits = splits
        return self._splits

    def _from_file(self, path: Path) -> dict[str, Source]:
        shares = {"valid": self.options.valid_fraction, "test": self.options.test_fraction}
        return self._deal(_read(path, self.options), shares)

    def _from_folder(self, folder: Path) -> dict[str, Source]:
        files = _find(folder)
        given = {name: _read(file, self.options) for name, file in files.items()}
        seen: set[str] = set()
        kept: dict[str, list[Pair]] = {}
        for name in ("test", "valid", "train"):
            if name in given:
                keys = [group_key(text) for text, _ in given[name]]
                kept[name] = [pair for pair, key in zip(given[name], keys, strict=True) if key not in seen]
                seen.update(keys)
        shares = {} if "valid" in kept else {"valid": self.options.valid_fraction}
        splits = self._deal(kept.pop("train"), shares)
        for name in ("valid", "test"):
            if name in kept:
                splits[name] = Rows(_record(f"{name}-{n:06d}", pair) for n, pair in enumerate(kept[name]))
        return splits

    def _deal(self, pairs: list[Pair], shares: dict[str, float]) -> dict[str, Source]:
        labels = settle((text, label, 1.0) for text, label in pairs)
        if len(labels) < MIN_TEXTS:
            raise DataError(
                f"'{self.options.path}' has too few rows: {len(labels)} distinct texts, and training needs at least "
                f"{MIN_TEXTS}."
            )
        return text_splits(labels, self.options.seed, shares)


def _find(folder: Path) -> dict[str, Path]:
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.name.lower().endswith(SUFFIXES))
    if not files:
        raise DataError(f"The folder '{folder}' has no CSV, TSV or JSONL file; give a file or put train.csv there.")
    found: dict[str, Path] = {}
    for path in files:
        for split, stems in _STEMS.items():
            if path.name.split(".")[0].lower() in stems:
                if split in found:
                    raise DataError(f"'{folder}' has both '{found[split].name}' and '{path.name}'; remove one.")
                found[split] = path
    if "train" not in found:
        names = ", ".join(path.name for path in files[:5])
        raise DataError(f"The folder '{folder}' has no train.csv, train.tsv or train.jsonl; it has {names}.")
    return found


def _read(path: Path, options: TextFile.Options) -> list[Pair]:
    pairs = _read_jsonl(path, options) if kind(path) == ".jsonl" else _read_table(path, options)
    if not pairs:
        raise DataError(f"'{path}' has no rows of data.")
    return pairs


def _read_table(path: Path, options: TextFile.Options) -> list[Pair]:
    table = read_table(path)
    text = table.position(options.text_column, "text_column")
    label = table.position(options.label_column, "label_column")
    rows = zip(table.rows, table.lines, strict=True)
    return [_pair(row[text], row[label], f"'{path}', line {line}") for row, line in rows]


def _read_jsonl(path: Path, options: TextFile.Options) -> list[Pair]:
    pairs = []
    for line, row in read_jsonl(path):
        for column, option in ((options.text_column, "text_column"), (options.label_column, "label_column")):
            if column not in row:
                raise DataError(
                    f"'{path}', line {line} has no field '{column}'; it has {', '.join(map(str, row))}. Name one with "
                    f"{option}."
                )
        text, label = row[options.text_column], row[options.label_column]
        if not isinstance(text, str) or not isinstance(label, (str, int)):
            raise DataError(f"'{path}', line {line}: the text must be a string and the label a string or whole number.")
        pairs.append(_pair(text, str(label), f"'{path}', line {line}"))
    return pairs


def _pair(text: str, label: str, where: str) -> Pair:
    text, label = " ".join(text.split()), label.strip()
    if not text or not label:
        raise DataError(f"{where} has no {'label' if text else 'text'}; fill it in or remove the row.")
    return text, label


def _record(name: str, pair: Pair) -> Record:
    return {"id": name, "group": group_key(pair[0]), "text": pair[0], "label": pair[1]}


def _check(splits: dict[str, Source], options: TextFile.Options) -> None:
    known: set[str] = {splits["train"][i]["label"] for i in range(len(splits["train"]))}
    if len(known) < 2:
        raise DataError(
            f"'{options.path}' has a single class, {', '.join(map(repr, known)) or 'none'}, in column "
            f"'{options.label_column}'; a classifier needs at least two."
        )
    if len(known) > MAX_CLASSES:
        raise DataError(
            f"Column '{options.label_column}' of '{options.path}' has {len(known)} different values; at most "
            f"{MAX_CLASSES} classes are supported. Is it the label column?"
        )
    for name, source in splits.items():
        if not len(source):
            raise DataError(f"Split '{name}' of '{options.path}' would be empty; give more rows or a larger fraction.")
        new = sorted({source[i]["label"] for i in range(len(source))} - known)
        if new:
            raise DataError(f"Split '{name}' of '{options.path}' has the class '{new[0]}', which training has not.")
