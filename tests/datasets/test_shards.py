"""Shards: what is written is read, equal batches and baselines, exact resumption, records that are refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zoo import datasets
from zoo.datasets import Dataset, Source
from zoo.datasets._shard_files import sha256_of
from zoo.datasets._split import Rows
from zoo.datasets._write_shards import write_shards
from zoo.errors import DataError, ZooError
from zoo.registry import architecture
from zoo.tasks import get_task
from zoo.training.pipeline import evaluation_batches, training_batches

TASKS = {"captioning": "caption_attn", "text_classification": "text_attn", "forecasting": "price_attn"}
each_task = pytest.mark.parametrize("task", TASKS)


def plain(value: Any) -> Any:
    """Return what can be compared with ==."""
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def opened(name: str, dataset: Dataset, split: str) -> Any:
    """Return the preprocessor's files and the examples of a split."""
    task, config = get_task(architecture(name).task), architecture(name).tiny()
    preprocessor = task.preprocessor(config, dataset)
    examples = task.examples(dataset.split(split), preprocessor, task.configure(config, preprocessor))
    return preprocessor.files(), examples


def take(batches: Any, count: int) -> list[Any]:
    iterator = iter(batches)
    return [plain(next(iterator)) for _ in range(count)]


@each_task
def test_what_is_written_is_read(task: str, direct: Callable[[str], Dataset], written: Callable[[str], Path]) -> None:
    before, after = direct(task), datasets.load(written(task), task=task)
    assert after.name == "shards" and after.task == task and datasets.task_of(written(task)) == task
    assert (after.language, after.licence) == (before.language, before.licence)
    assert tuple(getattr(after, "class_names", ())) == tuple(getattr(before, "class_names", ()))
    assert list(after.splits()) == list(before.splits())
    for name, source in before.splits().items():
        read = after.split(name)
        assert len(read) == len(source) and datasets.is_streamed(read) and not datasets.is_streamed(source)
        for index in range(len(source)):
            record = dict(source[index])
            if task == "captioning":
                record["image"] = Path(record["image"]).read_bytes()
            assert plain(read[index]) == plain(record)
        with pytest.raises(IndexError):
            read[len(source)]


@each_task
def test_batches_are_those_of_the_original(
    task: str, direct: Callable[[str], Dataset], written: Callable[[str], Path]
) -> None:
    """Same seed, same tokens, same order, same augmentation: over more than two epochs."""
    sides = [opened(TASKS[task], data, "train") for data in (direct(task), datasets.load(written(task), task=task))]
    assert sides[0][0] == sides[1][0]
    counts = [len(examples) for _, examples in sides]
    assert counts[0] == counts[1] >= 40
    steps = 2 * counts[0] // 16 + 2
    first, second = (take(training_batches(examples, batch_size=16, seed=5), steps) for _, examples in sides)
    assert first == second
    other = take(training_batches(sides[1][1], batch_size=16, seed=6), steps)
    assert other != second


@each_task
def test_validation_and_requests_are_those_of_the_original(
    task: str, direct: Callable[[str], Dataset], written: Callable[[str], Path]
) -> None:
    data = (direct(task), datasets.load(written(task), task=task))
    first, second = (opened(TASKS[task], one, "valid")[1] for one in data)
    for index in range(len(evaluation_batches(first, batch_size=5))):
        assert plain(evaluation_batches(first, batch_size=5)[index]) == plain(
            evaluation_batches(second, batch_size=5)[index]
        )
    config = architecture(TASKS[task]).tiny()
    preprocessor = get_task(task).preprocessor(config, data[0])
    asked = [get_task(task).requests(one.split("test"), preprocessor, limit=4) for one in data]
    assert plain(asked[0].inputs) == plain(asked[1].inputs) and asked[0].ids == asked[1].ids
    assert asked[0].raw is not None and asked[1].raw is not None
    assert plain(vars(asked[0].raw(1))) == plain(vars(asked[1].raw(1)))


@each_task
def test_baselines_are_those_of_the_original(
    task: str, direct: Callable[[str], Dataset], written: Callable[[str], Path]
) -> None:
    config, results = architecture(TASKS[task]).tiny(), []
    for data in (direct(task), datasets.load(written(task), task=task)):
        preprocessor = get_task(task).preprocessor(config, data)
        requests = get_task(task).requests(data.split("test"), preprocessor, limit=6)
        results.append(get_task(task).baselines(data, "test", preprocessor, requests))
    assert plain(results[0]) == plain(results[1])


@each_task
def test_reading_resumes_exactly(task: str, written: Callable[[str], Path]) -> None:
    _, examples = opened(TASKS[task], datasets.load(written(task), task=task), "train")
    iterator = iter(training_batches(examples, batch_size=8, seed=1))
    for _ in range(7):
        next(iterator)
    state = iterator.get_state()
    expected = [plain(next(iterator)) for _ in range(5)]
    again = iter(
        training_batches(opened(TASKS[task], datasets.load(written(task), task=task), "train")[1], batch_size=8, seed=1)
    )
    again.set_state(json.loads(json.dumps(state)))
    assert [plain(next(again)) for _ in range(5)] == expected


def test_a_process_reads_its_own_rows_only(written: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    data = datasets.load(written("text_classification"), task="text_classification")
    _, examples = opened("text_attn", data, "train")
    read: list[int] = []
    get = type(data.split("train")).__getitem__
    monkeypatch.setattr(
        type(data.split("train")), "__getitem__", lambda self, i: (read.append(int(i)), get(self, i))[1]
    )
    whole = evaluation_batches(examples, batch_size=8)[0]
    assert read == list(range(8))
    read.clear()
    parts = [evaluation_batches(examples, batch_size=8, process_index=i, process_count=2)[0] for i in range(2)]
    assert read == list(range(8))
    together = np.concatenate([part[0]["tokens"] for part in parts])
    np.testing.assert_array_equal(together, whole[0]["tokens"])


def test_writing_is_deterministic(direct: Callable[[str], Dataset], tmp_path: Path) -> None:
    for name in "ab":
        write_shards(direct("text_classification"), tmp_path / name, shards=2)
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert len(files) == 7 and files == sorted(path.name for path in (tmp_path / "b").iterdir())
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_a_few_records_make_a_few_files(direct: Callable[[str], Dataset], tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    manifest = write_shards(
        direct("forecasting"), tmp_path / "x", shards=50, progress=lambda *state: seen.append(state)
    )
    assert {name: len(split.shards) for name, split in manifest.splits.items()} == dict.fromkeys(manifest.splits, 1)
    assert seen == [("train", 1, 1), ("valid", 1, 1), ("test", 1, 1)]
    for split in manifest.splits.values():
        for item in split.files():
            path = tmp_path / "x" / item.file
            assert (path.stat().st_size, sha256_of(path)) == (item.bytes, item.sha256)


class Given(Dataset):
    """A dataset of given records."""

    licence = datasets.Licence(name="CC0-1.0", credit="")
    name = "given"

    def __init__(self, task: str, **splits: list[dict[str, Any]]) -> None:
        super().__init__()
        self.task = task  # type: ignore[misc]
        self._given = splits

    def splits(self) -> dict[str, Source]:
        return {name: Rows(records) for name, records in self._given.items()}


SERIES = {
    "id": "s",
    "columns": ("a", "b"),
    "target": "b",
    "dates": np.array(["2020-01-01", "2020-01-02"], "datetime64[D]"),
    "values": np.ones((2, 2), np.float32),
    "split_factor": np.ones(2, np.float32),
    "first_target": 0,
}


@pytest.mark.parametrize(
    ("task", "record", "message"),
    [
        ("captioning", {"id": "p", "image": b"no picture", "captions": ("a",)}, "Record 'p' .* cannot be written"),
        ("captioning", {"id": "p", "image": "nowhere.png", "captions": ("a",)}, "nowhere.png"),
        ("text_classification", {"id": "t", "text": "a"}, "field 'label' is missing"),
        ("text_classification", {"id": "t", "text": "\ud800", "label": "x"}, "no Unicode"),
        ("text_classification", {"id": "t", "text": "a", "label": "x", "more": {1, 2}}, "field 'more' holds"),
        ("text_classification", {"id": "t", "text": "a", "label": 3}, "field 'label' is not a text"),
        ("forecasting", {**SERIES, "values": np.full((2, 2), np.nan, np.float32)}, "no finite numbers"),
        ("forecasting", {**SERIES, "values": np.ones((2, 2))}, "field 'values' is not float32"),
        ("forecasting", {**SERIES, "first_target": 3}, "field 'first_target' is not a row from 0 to 2"),
        ("forecasting", {**SERIES, "target": "c"}, "field 'target' is not one of the columns"),
    ],
)
def test_a_record_that_training_could_not_use_is_refused(
    task: str, record: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=message):
        write_shards(Given(task, train=[record]), tmp_path / "out", shards=1)
    assert not list(tmp_path.iterdir())


def test_a_folder_with_content_is_left_alone(direct: Callable[[str], Dataset], tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(ZooError, match="is not empty"):
        write_shards(direct("forecasting"), tmp_path, shards=1)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_series_must_have_the_gap_of_the_model(written: Callable[[str], Path]) -> None:
    stored = datasets.load(written("forecasting"), task="forecasting").manifest.options["gap"]  # type: ignore[attr-defined]
    assert datasets.load(written("forecasting"), task="forecasting", gap=stored)
    with pytest.raises(DataError, match=rf"prepare them with --options.gap {stored + 1}, or train with .*gap {stored}"):
        datasets.load(written("forecasting"), task="forecasting", gap=stored + 1)
