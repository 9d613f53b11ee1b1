"""Three ways to write captions down: our JSON Lines, COCO's JSON and Karpathy's JSON.

All are read into the same entries; nothing here looks at pictures.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zoo.datasets._table import parse_json, read_jsonl
from zoo.errors import DataError
from zoo.preprocess._table import read_text

_SPLITS = {
    **dict.fromkeys(("train", "training", "restval"), "train"),  # restval: Karpathy's rest of COCO's validation part
    **dict.fromkeys(("valid", "val", "validation", "dev"), "valid"),
    "test": "test",
}


@dataclass
class Entry:
    """What a captions file says about one picture.

    Attributes:
        file: Its name, as written.
        where: Line or place in the file, for messages.
        captions: In the file's order, blanks at the ends removed; repetitions are kept.
        split: "train", "valid", "test", or "" where the file does not say.
    """

    file: str
    where: str
    captions: list[str] = field(default_factory=list)
    split: str = ""


def read_captions(path: Path) -> list[Entry]:
    """Return the entries of a captions file, one a picture; pictures without captions are left out.

    Raises:
        DataError: If the file cannot be read, has another structure, or has no captions.
    """
    if path.suffix.lower() == ".jsonl":
        entries = _read_jsonl(path)
    else:
        content = parse_json(read_text(path), f"'{path}'")
        if not isinstance(content, dict) or not isinstance(content.get("images"), list):
            raise DataError(f"'{path}' is neither COCO nor Karpathy JSON: it has no list 'images'.")
        try:
            entries = _read_coco(content) if "annotations" in content else _read_karpathy(content)
        except (KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f"'{path}' is not the COCO or Karpathy JSON it seems to be: {error!r} is missing."
            ) from None
    entries = [entry for entry in entries if entry.captions]
    if not entries:
        raise DataError(f"'{path}' has no captions.")
    for entry in entries:
        if entry.split and entry.split.lower() not in _SPLITS:
            raise DataError(f"'{path}', {entry.where}: split {entry.split!r} is unknown; use train, valid or test.")
        entry.split = _SPLITS.get(entry.split.lower(), "")
    return entries


def _read_jsonl(path: Path) -> list[Entry]:
    entries: dict[str, Entry] = {}
    for line, row in read_jsonl(path):
        where = f"line {line}"
        file, captions, split = row.get("file"), row.get("captions", row.get("caption")), row.get("split", "")
        captions = [captions] if isinstance(captions, str) else captions
        if not isinstance(file, str) or not file:
            raise DataError(f'\'{path}\', {where} has no \'file\'; write {{"file": "a.png", "caption": "..."}}.')
        if not isinstance(captions, list) or not all(isinstance(caption, str) for caption in captions):
            raise DataError(f"'{path}', {where} has no 'caption' (a string) or 'captions' (a list of strings).")
        if not any(caption.strip() for caption in captions):
            raise DataError(f"'{path}', {where}: the caption of '{file}' is empty; write one or remove the line.")
        if not isinstance(split, str):
            raise DataError(f"'{path}', {where}: 'split' must be train, valid or test.")
        entry = entries.setdefault(file, Entry(file, where, split=split))
        if entry.split != split:
            raise DataError(
                f"'{path}', {where} puts '{file}' into split {split!r}, {entry.where} into {entry.split!r}."
            )
        _add(entry, captions)
    return list(entries.values())


def _read_coco(content: dict[str, Any]) -> list[Entry]:
    captions: dict[Any, list[str]] = defaultdict(list)
    for annotation in content["annotations"]:
        if "caption" in annotation:  # COCO's files of boxes have the same frame
            captions[annotation["image_id"]].append(annotation["caption"])
    entries = []
    for number, image in enumerate(content["images"]):
        entry = Entry(image["file_name"], f"image {number}", split=str(image.get("split") or ""))
        _add(entry, captions.get(image["id"], []))
        entries.append(entry)
    return entries


def _read_karpathy(content: dict[str, Any]) -> list[Entry]:
    entries = []
    for number, image in enumerate(content["images"]):
        folder = image.get("filepath", "")
        file = f"{folder}/{image['filename']}" if folder else image["filename"]
        entry = Entry(file, f"image {number}", split=str(image.get("split") or ""))
        _add(entry, [sentence["raw"] for sentence in image["sentences"]])
        entries.append(entry)
    return entries


def _add(entry: Entry, captions: list[str]) -> None:
    entry.file.strip()  # AttributeError for anything but a string
    entry.captions += [text for caption in captions if (text := " ".join(caption.split()))]
