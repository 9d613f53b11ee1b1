"""Golden examples: which are chosen, and that what a person gives becomes the inputs the gate looked at."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import zoo
from zoo import datasets
from zoo.errors import ModelFileError
from zoo.export.bundle import Bundle
from zoo.export.golden import GoldenCase, golden_cases, golden_entries, read_golden
from zoo.preprocess import Preprocessor, RawInput
from zoo.registry import architecture
from zoo.tasks import Requests, get_task

MADE_UP = {"captioning": 3, "image_classification": 3, "text_classification": 4, "forecasting": 3}


@pytest.fixture(params=zoo.list_models())
def parts(request: pytest.FixtureRequest, tiny_data: Callable[[str], Path]) -> tuple[Any, Preprocessor, Requests]:
    """Return task, preprocessor and requests for every registered architecture."""
    cls = architecture(request.param)
    task = get_task(cls.task)
    data = datasets.load(tiny_data(cls.task), task=cls.task, **task.data_options(cls.tiny()))
    preprocessor = task.preprocessor(cls.tiny(), data)
    return task, preprocessor, task.requests(data.split("valid"), preprocessor, limit=5)


def answers(preprocessor: Any, batch_size: int) -> Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]:
    """Return outputs of the right names, shapes and types for any inputs, an axis of runs in front."""

    def answer(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        count = len(next(iter(inputs.values()))) // batch_size
        sizes = {"B": batch_size, "T": 3, "h": 2, "w": 2}
        return {
            name: np.full((count, *(sizes.get(one, one) for one in dimensions)), 0.5).astype(dtype)
            for name, (dtype, dimensions) in preprocessor.interface()[1].items()
        }

    return answer


def test_requests_are_what_the_gate_looked_at(parts: tuple[Any, Preprocessor, Requests]) -> None:
    _, preprocessor, requests = parts
    assert requests.raw is not None
    for i in range(len(requests)):
        raw = requests.raw(i)
        for name, array in preprocessor.request(raw.value()).items():
            np.testing.assert_allclose(array[0], requests.inputs[name][i], rtol=1e-6)


@pytest.mark.parametrize("batch_size", [1, 2])
def test_cases_go_from_the_request_to_the_answer(parts: tuple[Any, Preprocessor, Requests], batch_size: int) -> None:
    task, preprocessor, requests = parts
    cases = golden_cases(requests, preprocessor, answers(preprocessor, batch_size), batch_size)
    assert len(cases) >= 3 + MADE_UP[task.name]
    assert [case.id for case in cases][-MADE_UP[task.name] :] == [f"made up {i + 1}" for i in range(MADE_UP[task.name])]
    for case in cases:
        assert case.request is not None
        for name, array in preprocessor.request(case.request.value()).items():
            np.testing.assert_array_equal(case.inputs[name], np.repeat(array, batch_size, axis=0))
        assert case.answer
    entries = golden_entries(cases)
    assert max(map(len, entries.values())) < 64_000
    again = read_golden(Bundle(b"", {}, entries))
    for one, other in zip(cases, again, strict=True):
        assert (one.id, one.request) == (other.id, other.request)
        assert one.answer is not None
        assert other.answer is not None
        assert one.answer.keys() == other.answer.keys()
        for side in ("inputs", "outputs"):
            for name, array in getattr(one, side).items():
                np.testing.assert_array_equal(array, getattr(other, side)[name])


def test_without_examples_there_are_made_up_ones(parts: tuple[Any, Preprocessor, Requests]) -> None:
    task, preprocessor, requests = parts
    bare = Requests(requests.inputs, None, requests.ids)
    cases = golden_cases(bare, preprocessor, answers(preprocessor, 1))
    assert [case.request for case in cases] == preprocessor.made_up()
    assert len(cases) == MADE_UP[task.name]


def test_texts_that_ask_for_more_are_chosen() -> None:
    from zoo.preprocess.text import TextPreprocessor

    plain = ["good", "a bad one", "fine", "good one", "so so"]
    hard = ["see https://example.org &amp; 👍", "很好 СПАСИБО", "sooo GREAT 5 café\x85"]
    texts = plain[:2] + hard + plain[2:]
    preprocessor = TextPreprocessor(["[PAD]", "[UNK]", "[MASK]", "[URL]", "good"], ["no", "yes"], max_length=8, head=8)
    requests = Requests(
        {"tokens": preprocessor.encode_all(texts)},
        None,
        [str(i) for i in range(len(texts))],
        raw=lambda i: RawInput.of_text(texts[i]),
    )
    cases = golden_cases(requests, preprocessor, answers(preprocessor, 1))
    chosen = {case.request.content.decode() for case in cases if case.request and not case.id.startswith("made")}
    assert set(hard) <= chosen
    assert len(chosen) <= 6


def test_a_picture_that_is_its_input_is_stored_once() -> None:
    picture = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    case = GoldenCase(
        "a",
        {"image": picture[None]},
        {"tokens": np.array([[5, 0]], np.int32)},
        RawInput("image_rgb", picture.tobytes(), 4, 4),
        {"text": "x"},
    )
    entries = golden_entries([case])
    assert set(entries) == {
        "golden/golden.json",
        "golden/0/inputs/image.bin",
        "golden/0/outputs/tokens.bin",
    }
    (again,) = read_golden(Bundle(b"", {}, entries))
    assert again.request == case.request
    np.testing.assert_array_equal(again.inputs["image"], case.inputs["image"])
    # Not across cases, where a short index could name one large file many times.
    index = entries["golden/golden.json"].decode().replace('"cases":', '"unused":')
    foreign = json.loads(index)
    foreign["cases"] = [foreign["unused"][0], {**foreign["unused"][0], "id": "b"}]
    with pytest.raises(ModelFileError, match="damaged"):
        read_golden(Bundle(b"", {}, {**entries, "golden/golden.json": json.dumps(foreign).encode()}))


def test_raw_inputs_of_other_kinds_are_refused() -> None:
    for raw in (
        RawInput("program", b""),
        RawInput("image_rgb", b"12345", 1, 2),
        RawInput("image_rgb", b"123", -1, 1),
        RawInput("text", b"\xff"),
    ):
        with pytest.raises(ValueError, match="."):
            raw.value()
