"""Features of the frozen part: computed once, for exactly these weights, pictures and views."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from zoo.errors import DataError
from zoo.files import cache_folder
from zoo.training.features import FrozenFeatures, turns_of

SIDE = 6


def _source(seed: int = 0, count: int = 40) -> list[dict[str, Any]]:
    pictures = np.random.default_rng(seed).integers(0, 256, (count, SIDE, SIDE, 3), np.uint8)
    return [{"id": str(i), "image": picture} for i, picture in enumerate(pictures)]


def _extract(scale: float = 1.0, divisor: float = 255.0) -> keras.Model:
    picture = keras.Input((SIDE, SIDE, 3), name="image")
    layer = keras.layers.Conv2D(4, 3, 2, padding="same", name="conv")
    model = keras.Model(picture, layer(keras.layers.Rescaling(1 / divisor)(picture)))
    rng = np.random.default_rng(1)
    layer.set_weights([scale * rng.normal(size=weight.shape) for weight in layer.get_weights()])
    return model


def _loaded() -> tuple[list[Any], Any]:
    """Return a list of what was read, and the function that reads."""
    seen: list[Any] = []

    def load(image: np.ndarray) -> np.ndarray:
        seen.append(image)
        return image

    return seen, load


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))


def test_features_are_those_of_the_turned_pictures() -> None:
    source, extract = _source(), _extract()
    store = FrozenFeatures(extract, source, _loaded()[1], turns_of("all"), lambda text: None)
    assert store.shape == (40, 3, 3, 4) and len(store.views) == 8
    images = np.stack([record["image"] for record in source])
    for view, (quarter, mirrored) in enumerate((q, m) for q in range(4) for m in (False, True)):
        turned = np.stack([np.rot90(image[:, ::-1] if mirrored else image, quarter) for image in images])
        expected = keras.ops.convert_to_numpy(extract(turned.astype(np.float32)))
        rows = store.rows(np.arange(40), np.full(40, view))
        assert rows.dtype == np.float16
        np.testing.assert_allclose(rows, expected, atol=2e-3)
    mixed = store.rows(np.array([7, 7]), np.array([0, 3]))
    np.testing.assert_array_equal(mixed[1], store.views[3][7])


def test_a_second_start_reads_no_picture_and_gives_the_same() -> None:
    seen, load = _loaded()
    said: list[str] = []
    first = FrozenFeatures(_extract(), _source(), load, turns_of("mirror"), said.append)
    assert len(seen) == 80 and said[-1].endswith("40 of 40")
    again = FrozenFeatures(_extract(), _source(), load, turns_of("mirror"), said.append)
    assert len(seen) == 80 and again.paths == first.paths
    np.testing.assert_array_equal(again.views[1], first.views[1])
    FrozenFeatures(_extract(), _source(), load, turns_of("all"), said.append)
    assert len(seen) == 80 + 6 * 40  # only the views that are new


@pytest.mark.parametrize(
    "change",
    [
        lambda: (_extract(1.0001), _source()),
        lambda: (_extract(divisor=128.0), _source()),
        lambda: (_extract(), _source(seed=1)),
        lambda: (_extract(), _source()[::-1]),
        lambda: (_extract(), _source()[:39]),
    ],
    ids=["weights", "layers", "pictures", "order", "number"],
)
def test_other_weights_or_pictures_have_other_files(change: Any) -> None:
    load = _loaded()[1]
    first = FrozenFeatures(_extract(), _source(), load, turns_of("none"), lambda text: None)
    other = FrozenFeatures(*change(), load, turns_of("none"), lambda text: None)
    assert other.paths != first.paths


def test_pictures_are_known_by_their_content_wherever_they_are(tmp_path: Path) -> None:
    source = _source(count=3)
    stored: list[dict[str, Any]] = []
    for record in source:
        path = tmp_path / f"{record['id']}.bin"
        path.write_bytes(record["image"].tobytes())
        stored.append({"id": record["id"], "image": str(path)})

    def load(image: Any) -> np.ndarray:
        data = Path(image).read_bytes() if isinstance(image, str) else image
        return np.frombuffer(data, np.uint8).reshape(SIDE, SIDE, 3)

    in_memory = [{"id": record["id"], "image": record["image"].tobytes()} for record in source]
    stores = [FrozenFeatures(_extract(), s, load, turns_of("none"), lambda text: None) for s in (stored, in_memory)]
    assert stores[0].paths == stores[1].paths


def test_a_bad_picture_is_named_and_leaves_no_file() -> None:
    def load(image: np.ndarray) -> np.ndarray:
        if image[0, 0, 0] == _source()[25]["image"][0, 0, 0]:
            raise DataError("This is no picture.")
        return image

    with pytest.raises(DataError, match="Record '.*': This is no picture"):
        FrozenFeatures(_extract(), _source(), load, turns_of("none"), lambda text: None)
    assert list(cache_folder("features").iterdir()) == []


def test_other_views_are_drawn_of_pictures_that_may_turn() -> None:
    store = FrozenFeatures(_extract(), _source(), _loaded()[1], turns_of("mirror"), lambda text: None)
    may_turn, rng = (np.arange(40) % 2).astype(np.int64), np.random.default_rng(0)
    drawn = np.stack([store.draw(np.arange(40), rng, may_turn) for _ in range(20)])
    turned = (drawn != store.views[0][:]).any((2, 3, 4)).any(0)
    np.testing.assert_array_equal(turned, may_turn)
    np.testing.assert_array_equal(store.draw(np.arange(40), None), store.views[0])


@pytest.mark.parametrize("change", [lambda content: content[:500], lambda content: content + content[-72:]])
def test_a_damaged_file_is_named(change: Any) -> None:
    load = _loaded()[1]
    store = FrozenFeatures(_extract(), _source(), load, turns_of("none"), lambda text: None)
    store.paths[0].write_bytes(change(store.paths[0].read_bytes()))
    with pytest.raises(DataError, match="remove the file and start again"):
        FrozenFeatures(_extract(), _source(), load, turns_of("none"), lambda text: None)


def test_too_little_room_is_said_before_anything_is_written() -> None:
    picture = keras.Input((SIDE, SIDE, 3))
    wide = keras.Model(picture, keras.layers.UpSampling2D(200_000)(picture))
    with pytest.raises(DataError, match="ZOO_CACHE"):
        FrozenFeatures(wide, _source(), _loaded()[1], turns_of("all"), lambda text: None)
    assert list(cache_folder("features").iterdir()) == []
