"""RSICD, aerial photographs with five captions each, from a folder of the user's own.

Lu et al. 2017, "Exploring Models and Data for Remote Sensing Image Caption Generation" (arXiv:1712.07835). The folder
has the pictures (`images.zip`, `images/`, or beside the captions) and `captions.jsonl`, one
`{"file": "airport_1.jpg", "split": "train", "captions": [five sentences]}` a line; the authors' own
`dataset_rsicd.json` does as well. The splits are the official ones, 8,734 / 1,094 / 1,093; `test` may be missing.

The five captions of a picture are kept with their repetitions: half of the pictures have the same sentence five times.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass

from zoo.config import BaseConfig, setting
from zoo.datasets._base import Dataset, Licence, Source, register_dataset
from zoo.datasets.caption_folder import read_folder
from zoo.errors import DataError

OFFICIAL = {"train": 8734, "valid": 1094, "test": 1093}
"""Pictures of the official splits."""


@register_dataset("rsicd", task="captioning")
class Rsicd(Dataset):
    """Aerial photographs with five English captions each, official splits.

    Attributes:
        complete: Whether the captions name as many pictures as the official splits have; known once they are read.
    """

    language = "en"
    licence = Licence(
        name="research use",
        credit="RSICD: Lu, Wang, Zheng and Li 2017, Exploring Models and Data for Remote Sensing Image Caption "
        "Generation, IEEE Transactions on Geoscience and Remote Sensing 56(4); research use, cite it.",
        url="https://github.com/201528014227051/RSICD_optimal",
        weights_may_ship=False,
    )
    pictures_checked = True

    @dataclass(frozen=True)
    class Options(BaseConfig):
        """Options of RSICD."""

        data_dir: str = setting("")
        """The folder with captions.jsonl and images.zip."""
        captions: str = setting("")
        """Name of the captions file; empty = find it."""
        images: str = setting("")
        """Folder or ZIP archive of the pictures inside the folder; empty = find it."""

    def __init__(self, options: Options | None = None) -> None:
        """Keep the options; files are read on first use."""
        super().__init__(options)
        self.complete = False
        self._splits: dict[str, Source] | None = None

    def splits(self) -> dict[str, Source]:
        """Return `train` and `valid`, and `test` if the captions name it."""
        if self._splits is None:
            self._splits = self._read()
        return self._splits

    def _read(self) -> dict[str, Source]:
        options = self.options
        if not options.data_dir:
            raise DataError(
                "RSICD does not come with this package; name the folder of your copy with --data-dir DIR "
                "(data_dir=...). docs/data.md says what lies in it."
            )
        read = read_folder(
            options.data_dir, captions=options.captions, images=options.images, language="en", quiet=self.quiet
        )
        self.left_out = read.left_out
        pictures = read.usable(announce=self.announce)
        if read.named[""]:
            raise DataError(
                f"The captions in '{options.data_dir}' name no split for {read.named['']:,} pictures; RSICD has "
                "official ones: write train, valid or test into 'split'."
            )
        given = {name: count for name, count in read.named.items() if count}
        self.complete = given in (OFFICIAL, {name: OFFICIAL[name] for name in ("train", "valid")})
        if self.announce and not self.complete:
            print(
                f"'{options.data_dir}' names {_counts(given)} pictures; RSICD has {_counts(OFFICIAL)}: what is "
                "measured here cannot be compared with what is published.",
                file=sys.stderr,
            )
        splits: dict[str, list[str]] = {"train": [], "valid": [], "test": []}
        for key, entry in pictures.items():
            splits[entry.split].append(key)
        return read.sources(splits)


def _counts(splits: Mapping[str, int]) -> str:
    return " / ".join(f"{count:,} {name}" for name, count in splits.items())
