"""What the frozen part of a model gives for every picture, computed once and kept on disk.

One file for each variant (*view*) of the pictures, float16, mapped into memory when it is used, so that a second
training starts at once and no more of it is held than is read. The name of a file is a digest of everything that its
content depends on: the weights, the pictures, the size they are read in, and the view.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import keras
import numpy as np

from zoo.datasets import Source
from zoo.errors import DataError
from zoo.execution import first_rows
from zoo.files import cache_folder, write_beside
from zoo.preprocess.image import load_image
from zoo.tasks._pictures import picture_of

_FORMAT = 2
_BATCH = 32
_READERS = 4

Turn = Callable[[np.ndarray], np.ndarray]
"""From pictures uint8 (B, H, W, 3) to others of the same shape, the same way for each."""


class FrozenFeatures:
    """The features of all pictures of a split.

    Args:
        extract: From `image` (B, H, W, 3), 0 to 255, to features (B, h, w, C), in float32.
        source: Records with `image`.
        load: From what a record holds to uint8 (H, W, 3); pictures are read by several threads.
        turns: The views by name; files are named by the names, so equal names must mean equal turns.
        say: Told what takes long.

    Raises:
        DataError: If there is no room, or a picture cannot be read.
    """

    def __init__(
        self,
        extract: keras.Model,
        source: Source,
        load: Callable[[Any], np.ndarray],
        turns: dict[str, Turn],
        say: Callable[[str], None],
    ) -> None:
        """Open the files, and write those that are missing."""
        self._extract, self._source, self._load, self._say = extract, source, load, say
        self.shape = (len(source), *extract.output.shape[1:])
        base = _digest(extract, source)
        folder = cache_folder("features")
        self.paths = [folder / f"{hashlib.sha256(f'{base} {name}'.encode()).hexdigest()[:32]}.npy" for name in turns]
        missing = [(path, *turn) for path, turn in zip(self.paths, turns.items(), strict=True) if not path.exists()]
        self._check_room(folder, len(missing))
        for number, (path, name, turn) in enumerate(missing, start=1):
            self._write(path, turn, f"view {number} of {len(missing)} ({name})")
        self.views = [self._open(path) for path in self.paths]

    def rows(self, indices: np.ndarray, views: np.ndarray) -> np.ndarray:
        """Return float16 (B, h, w, C) of pictures, each in its view."""
        found = np.empty((len(indices), *self.shape[1:]), np.float16)
        for row, (index, view) in enumerate(zip(indices, views, strict=True)):
            found[row] = self.views[view][index]
        return found

    def draw(
        self, indices: np.ndarray, rng: np.random.Generator | None, may_turn: np.ndarray | None = None
    ) -> np.ndarray:
        """Return float16 (B, h, w, C) of pictures, with a random generator each in a view at random.

        Args:
            indices: int (B,), the pictures.
            rng: None takes the first view, in which pictures are as they are.
            may_turn: int (N,), 1 for those of all pictures that have other views; all when not given.
        """
        views = np.zeros(len(indices), np.int64)
        if rng is not None:
            views = rng.integers(len(self.views), size=len(indices)) * (1 if may_turn is None else may_turn[indices])
        return self.rows(indices, views)

    def _open(self, path: Path) -> np.ndarray:
        try:
            found: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise DataError(f"Cannot read the features '{path}' ({error}); remove the file and start again.") from error
        whole = found.offset + found.nbytes == path.stat().st_size  # type: ignore[attr-defined]
        if found.shape != self.shape or found.dtype != np.float16 or not whole:
            raise DataError(f"The features '{path}' are of another shape; remove the file and start again.")
        return found

    def _check_room(self, folder: Path, count: int) -> None:
        needed, free = count * 2 * int(np.prod(self.shape)), shutil.disk_usage(folder).free
        if needed > 0.95 * free:
            raise DataError(
                f"The features of {self.shape[0]:,} pictures in {count} views take {needed / 1e9:.1f} GB, and "
                f"'{folder}' has room for {free / 1e9:.1f} GB; make room, ask for fewer views, or set ZOO_CACHE to "
                "another folder."
            )

    def _write(self, path: Path, turn: Turn, title: str) -> None:
        said = 0
        with write_beside(path) as beside, open(beside, "wb") as file:
            header = {"descr": "<f2", "fortran_order": False, "shape": self.shape}
            np.lib.format.write_array_header_2_0(file, header)
            for end, images in self._pictures():
                features = first_rows(self._extract.predict_on_batch(turn(images)), len(images))
                file.write(np.ascontiguousarray(features, np.float16).data)
                if (part := 4 * end // self.shape[0]) > said:
                    said = part
                    self._say(f"Features of the pictures, {title}: {end:,} of {self.shape[0]:,}")

    def _pictures(self) -> Iterator[tuple[int, np.ndarray]]:
        """Give batches of pictures, each with the number of pictures so far."""
        total = self.shape[0]
        with ThreadPoolExecutor(min(_READERS, os.cpu_count() or 1), "pictures") as pool:

            def read(start: int) -> list[Any]:
                return [pool.submit(self._read, index) for index in range(start, min(start + _BATCH, total))]

            waiting = read(0)
            for start in range(0, total, _BATCH):
                images = np.stack([future.result() for future in waiting])
                waiting = read(start + _BATCH)  # while the model works on these
                yield start + len(images), images

    def _read(self, index: int) -> np.ndarray:
        return picture_of(self._source[index], self._load)


def stored_features(
    extract: keras.Model, source: Source, views: str, say: Callable[[str], None] = lambda text: None
) -> FrozenFeatures:
    """Return the features of a split's pictures, read in the size that a network takes.

    Args:
        extract: See `FrozenFeatures`.
        source: Records with `image`.
        views: A kind that `turns_of` knows.
        say: Told what takes long.
    """
    height, width = extract.input.shape[1:3]
    return FrozenFeatures(extract, source, lambda image: load_image(image, (height, width)), turns_of(views), say)


def _digest(extract: keras.Model, source: Source) -> str:
    """Return a digest of the network, its weights and the pictures as they are stored."""
    digest = hashlib.sha256()
    shapes = [list(extract.input.shape[1:]), list(extract.output.shape[1:])]
    layers = [[type(layer).__name__, _plain(layer.get_config())] for layer in extract.layers]
    digest.update(json.dumps([_FORMAT, keras.config.backend(), "float32", shapes, layers]).encode())
    for weight in extract.weights:
        value = np.ascontiguousarray(keras.ops.convert_to_numpy(weight))
        digest.update(f"{weight.name} {value.dtype} {value.shape}".encode())
        digest.update(value.tobytes())
    for index in range(len(source)):
        digest.update(_stored(source[index]["image"]))
    return digest.hexdigest()


def _plain(config: dict[str, Any]) -> dict[str, Any]:
    """Return what a layer computes of its configuration: plain values, but not its name, which may be a number."""
    kinds = (str, int, float, list, tuple, type(None))
    left_out = ("name", "trainable")
    return {key: value for key, value in config.items() if isinstance(value, kinds) and key not in left_out}


def _stored(image: Any) -> bytes:
    """Return a digest of a picture as a record holds it: a path, bytes, or an array."""
    if isinstance(image, bytes):
        return hashlib.sha256(image).digest()
    if isinstance(image, (str, os.PathLike)):
        try:
            with open(image, "rb") as file:
                return hashlib.file_digest(file, "sha256").digest()
        except OSError as error:
            raise DataError(f"Cannot read the picture '{image}': {error.strerror or error}.") from error
    array = np.ascontiguousarray(image)
    return hashlib.sha256(f"{array.dtype} {array.shape}".encode() + array.tobytes()).digest()


def turns_of(kind: str) -> dict[str, Turn]:
    """Return the views of a kind.

    Args:
        kind: "none": the picture as it is; "mirror": and its mirror image, left for right; "all": the eight that
            quarter turns and mirroring make, for pictures without an up, as those from the air.
    """

    def turn(quarter: int, mirrored: bool) -> Turn:
        def apply(images: np.ndarray) -> np.ndarray:
            return np.rot90(images[:, :, ::-1] if mirrored else images, quarter, axes=(1, 2))

        return apply

    names: Sequence[tuple[int, bool]] = {
        "none": [(0, False)],
        "mirror": [(0, False), (0, True)],
        "all": [(quarter, mirrored) for quarter in range(4) for mirrored in (False, True)],
    }[kind]
    return {
        f"turned {90 * quarter}{' mirrored' if mirrored else ''}": turn(quarter, mirrored)
        for quarter, mirrored in names
    }
