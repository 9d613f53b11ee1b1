"""Three ways to write captions down: our JSON Lines, COCO's JSON and Karpathy's JSON.

All are read into the same entries; nothing here looks at pictures. A caption that is given several times is kept
as often, since that is its weight; its text is held once.
"""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from dataclasses import dataclass, field, replace
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
_NAME = re.compile(r"captions[_.-](?P<folder>(?P<split>[a-z]+)(\d{4})?)\.jsonl?", re.IGNORECASE)


@dataclass
class Entry:
    """What a captions file says about one picture.

    Attributes:
        file: Its name, as written.
        where: Line or place in the file, for messages.
        captions: In the file's order, blanks at the ends removed; repetitions are kept.
        split: "train", "valid", "test", or "" where the file does not say.
        folder: Folder that the picture may lie in, beside the places where all may, or "".
    """

    file: str
    where: str
    captions: list[str] = field(default_factory=list)
    split: str = ""
    folder: str = ""


@dataclass(frozen=True)
class CaptionsFile:
    """A captions file, the split that its name says, and the folder of that split's pictures."""

    path: Path
    split: str = ""
    folder: str = ""


def find_captions(folder: Path, name: str = "", language: str = "") -> list[CaptionsFile]:
    """Return the captions files of a folder.

    These are, in this order: the named one; `captions.LANGUAGE.jsonl`; `captions.jsonl`; files of the splits as COCO
    names them (`captions_train2017.json`, `captions_val2017.json`); the only .jsonl file; the only .json file. If there
    is none, its folder `annotations` is looked into.

    Raises:
        DataError: If there is none, or which one is meant is not clear.
    """
    if not folder.is_dir():
        raise DataError(f"There is no folder '{folder}'.")
    if name:
        if not (folder / name).is_file():
            raise DataError(f"The folder '{folder}' has no captions file '{name}'.")
        return [captions_file(folder / name)]
    if not any(folder.iterdir()):
        raise DataError(f"The folder '{folder}' is empty; put pictures and captions.jsonl there.")
    for place in (folder, folder / "annotations"):
        if place.is_dir() and (found := _find(place, language)):
            return found
    raise DataError(
        f"The folder '{folder}' has no captions file; write captions.jsonl with lines like "
        '{"file": "a.png", "caption": "..."}.'
    )


def _find(folder: Path, language: str) -> list[CaptionsFile]:
    for name in ([f"captions.{language}.jsonl"] if language else []) + ["captions.jsonl"]:
        if (folder / name).is_file():
            return [CaptionsFile(folder / name)]
    files = sorted(path for path in folder.iterdir() if path.is_file())
    of_splits = [
        CaptionsFile(path, _SPLITS[match["split"].lower()], match["folder"])
        for path in files
        if (match := _NAME.fullmatch(path.name)) and match["split"].lower() in _SPLITS
    ]
    if len({item.split for item in of_splits}) == len(of_splits) > 1:
        return of_splits
    for suffix in (".jsonl", ".json"):
        found = [path for path in files if path.suffix.lower() == suffix]
        if len(found) > 1:
            names = ", ".join(path.name for path in found[:5])
            raise DataError(f"'{folder}' has several captions files ({names}); name one with captions.")
        if found:
            return [captions_file(found[0])]
    return []


def captions_file(path: Path) -> CaptionsFile:
    """Return a captions file that stands alone: its name may say a folder of pictures, and says no split."""
    match = _NAME.fullmatch(path.name)
    return CaptionsFile(path, folder=match["folder"] if match else "")


def read_captions(file: CaptionsFile, language: str = "") -> list[Entry]:
    """Return the entries of a captions file, one a picture; pictures without captions are left out.

    Args:
        file: The file.
        language: Which captions to take where the file has several languages.

    Raises:
        DataError: If the file cannot be read, has another structure, or has no captions.
    """
    path = file.path
    if path.suffix.lower() == ".jsonl":
        entries = _read_jsonl(path, language)
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
        of_language = f" in '{language}'" if language else ""
        raise DataError(f"'{path}' has no captions{of_language}.")
    for entry in entries:
        if entry.split and entry.split.lower() not in _SPLITS:
            raise DataError(f"'{path}', {entry.where}: split {entry.split!r} is unknown; use train, valid or test.")
    return [replace(entry, split=_SPLITS.get(entry.split.lower(), file.split), folder=file.folder) for entry in entries]


def _read_jsonl(path: Path, language: str) -> list[Entry]:
    entries: dict[str, Entry] = {}
    for line, row in read_jsonl(path):
        where = f"line {line}"
        file, captions, split = row.get("file"), row.get("captions", row.get("caption")), row.get("split", "")
        if isinstance(captions, dict):
            if not language:
                known = ", ".join(sorted(captions)[:8])
                raise DataError(f"'{path}', {where} has captions by language ({known}); choose one with language.")
            if language not in captions:
                continue
            captions = captions[language]
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
    entry.captions += [sys.intern(text) for caption in captions if (text := " ".join(caption.split()))]
