"""Captions word by word, in batches, and from several threads: always the caption of the single call."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import flatbuffers
import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.compiled_model import CompiledModel
from PIL import Image

from zoo.api import train
from zoo.cli import main
from zoo.errors import ConfigError, DataError, UnknownNameError
from zoo.export._compact import compact
from zoo.export.bundle import write_bundle
from zoo.export.runtime import Edge
from zoo.export.verify import verify_file
from zoo.preprocess._stream import Token, join_words
from zoo.preprocess.captioning import END, SPECIAL, START, CaptionPreprocessor
from zoo.registry import architecture
from zoo.results import Caption, StreamedWord
from zoo.run import Run

STORED = Path(__file__).resolve().parent.parent / "fixtures"
PIECES = ["▁red", "▁green", "▁s", "quare", "-", "ish", "▁left", "▁", "ly", "▁of", "!", "▁round"]


def batch_of(pictures: list[np.ndarray]) -> dict[str, np.ndarray]:
    return {"image": np.stack(pictures)}


@pytest.fixture(scope="module")
def run() -> Run:
    """A captioner with random weights that says words of one and of several pieces."""
    tiny = architecture("caption_attn").tiny().replace(max_length=9, num_layers=2, vocab_size=4 + len(PIECES))
    run = Run(
        name="caption_attn",
        config=tiny,
        preprocessor=CaptionPreprocessor([*SPECIAL, *PIECES], image_size=(24, 24), max_length=9),
    )
    keras.utils.set_random_seed(5)
    for weight in run.model.trainable_weights:
        weight.assign(weight + keras.random.normal(weight.shape, stddev=0.25))
    return run


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    """Noise of many colours and sizes of grain."""
    rng = np.random.default_rng(0)
    made = []
    for number in range(24):
        grain = (1, 2, 4, 12)[number % 4]
        coarse = rng.integers(0, 256, (24 // grain, 24 // grain, 3)).astype(np.uint8)
        made.append(coarse.repeat(grain, 0).repeat(grain, 1))
    return made


@pytest.fixture(scope="module")
def path(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("stream") / "caption.tflite"
    run.export(path)
    return path


@pytest.fixture(scope="module")
def edge(path: Path) -> Edge:
    return Edge(path)


def said(words: Iterator[StreamedWord]) -> tuple[str, tuple[str, ...]]:
    """Return text and pieces of a stream."""
    heard = list(words)
    return "".join(map(str, heard)), tuple(piece for word in heard for piece in word.tokens)


def assert_all_three_agree(run: Run, edge: Edge, pictures: list[np.ndarray]) -> set[tuple[str, ...]]:
    """Compare stream, single call and Keras token for token; returns the different captions."""
    outputs = run.serving_outputs(batch_of(pictures))
    captions = set()
    for row, picture in enumerate(pictures):
        caption = edge.predict(picture)
        assert isinstance(caption, Caption)
        assert said(edge.stream(picture)) == (caption.text, caption.tokens)
        assert caption.tokens == run.preprocessor.pieces(outputs["tokens"][row][: outputs["length"][row]])
        captions.add(caption.tokens)
    return captions


def test_stream_and_single_call_and_keras_agree(run: Run, edge: Edge, pictures: list[np.ndarray]) -> None:
    captions = assert_all_three_agree(run, edge, pictures)
    assert len(captions) > 4 and len(set(map(len, captions))) > 1


def test_a_word_has_the_mean_map_and_score_of_its_pieces(edge: Edge, pictures: list[np.ndarray]) -> None:
    caption, words = edge.predict(pictures[0]), list(edge.stream(pictures[0]))
    borders = np.cumsum([0, *(len(word.tokens) for word in words)])
    for word, start, stop in zip(words, borders[:-1], borders[1:], strict=True):
        np.testing.assert_allclose(word.attention, caption.attention[start:stop].mean(0), atol=1e-4)
        assert word.attention.sum() == pytest.approx(1, abs=1e-3)
    if len(caption.tokens) == edge.outputs["tokens"][0][1]:  # no end, whose probability is not of a word
        pieces = [word.score * len(word.tokens) for word in words]
        assert sum(pieces) / len(caption.tokens) == pytest.approx(caption.score, abs=1e-4)
    assert all(word.score < 0 for word in words)


def test_encode_and_step_are_documented_names_of_plain_types(run: Run, edge: Edge) -> None:
    layers, heads = run.config.num_layers, run.config.num_heads
    (rows, columns), steps = edge.outputs["attention"][0][2:], edge.outputs["tokens"][0][1]
    cache = {f"cache_{i}": (1, heads, steps, run.config.d_model // heads) for i in range(2 * layers)}
    memory = {f"memory_{i}": (1, heads, rows * columns, run.config.d_model // heads) for i in range(2 * layers)}
    assert set(edge.signatures) == {"serving_default", "encode", "step"}
    encode, step = edge.signatures["encode"], edge.signatures["step"]
    assert {name: shape for name, (shape, _) in encode.inputs.items()} == {"image": edge.inputs["image"][0]}
    assert {name: shape for name, (shape, _) in encode.outputs.items()} == memory
    assert {name: shape for name, (shape, _) in step.inputs.items()} == {
        "token": (1,),
        "position": (),
        **cache,
        **memory,
    }
    vocabulary = len(run.preprocessor.tokens)
    assert {name: shape for name, (shape, _) in step.outputs.items()} == {
        "log_probabilities": (1, vocabulary),
        "next_token": (1,),
        "attention": (1, rows, columns),
        **cache,
    }
    for signature in edge.signatures.values():
        for side in signature:
            assert {str(dtype) for _, dtype in side.values()} <= {"float32", "int32", "uint8"}


def test_a_search_of_ones_own(edge: Edge, pictures: list[np.ndarray]) -> None:
    """`step` gives proper log-probabilities, of which special tokens have none."""
    empty = {name: np.zeros(*tensor) for name, tensor in edge.signatures["step"].inputs.items() if name[:5] == "cache"}
    state = {**empty, **edge.run({"image": pictures[0][None]}, "encode")}
    token = np.array([1], np.int32)
    for position in range(2):
        outputs = edge.run({"token": token, "position": np.array(position, np.int32), **state}, "step")
        log = outputs["log_probabilities"][0]
        assert np.exp(log).sum() == pytest.approx(1, abs=1e-4)
        assert outputs["next_token"][0] == log.argmax()
        assert (log[[0, 1, 3]] < -1e8).all()
        assert (log[2] < -1e8) == (position == 0)  # no caption is empty
        token = outputs["next_token"]
        state |= {name: outputs[name] for name in outputs if name in state}
    with pytest.raises(UnknownNameError, match="signature of .* is named 'stop'"):
        edge.run({}, "stop")
    with pytest.raises(DataError, match="takes the inputs cache_0"):
        edge.run({"image": pictures[0][None]}, "step")


def test_streams_may_be_read_in_turns(edge: Edge, pictures: list[np.ndarray]) -> None:
    expected = [edge.predict(picture).text for picture in pictures[:6]]
    streams = [edge.stream(picture) for picture in pictures[:6]]
    heard = [""] * len(streams)
    going = set(range(len(streams)))
    while going:
        for i in sorted(going):
            word = next(streams[i], None)
            edge.predict(pictures[-1])  # something else on the same interpreter
            if word is None:
                going.remove(i)
            else:
                heard[i] += word.text
    assert heard == expected


def test_threads_share_one_edge(edge: Edge, pictures: list[np.ndarray]) -> None:
    expected = [edge.predict(picture).tokens for picture in pictures]
    problems: list[str] = []
    start = threading.Barrier(4)

    def work(number: int) -> None:
        start.wait()
        for i in np.random.default_rng(number).permutation(len(pictures)):
            streamed = said(edge.stream(pictures[i]))[1] if (i + number) % 2 else edge.predict(pictures[i]).tokens
            if streamed != expected[i]:
                problems.append(f"thread {number}, picture {i}: {streamed}")

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)  # change threads as often as can be
    try:
        workers = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    finally:
        sys.setswitchinterval(interval)
    assert not problems


@pytest.mark.parametrize("name", ["bundle_v1/text_attn", "bundle_v1/price_attn", "bundle_v2/text_attn"])
def test_other_tasks_do_not_stream(name: str) -> None:
    edge = Edge(STORED / f"{name}.tflite")
    assert set(edge.signatures) == {"serving_default"}
    with pytest.raises(ConfigError, match=r"^This model of the task \w+ cannot stream words: use predict\.$"):
        edge.stream("a text")


def test_a_captioner_without_the_signatures_says_how_to_get_them(
    edge: Edge, pictures: list[np.ndarray], tmp_path: Path
) -> None:
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(edge.bundle.flatbuffer))
    model.signatureDefs = model.signatureDefs[:1]
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    write_bundle(
        tmp_path / "older.tflite",
        compact(bytes(builder.Output())),
        edge.bundle.entries,
        name=edge.name,
        task=edge.task,
        quantize="float32",
        signatures={"serving_default": edge.bundle.signatures["serving_default"]},
    )
    older = Edge(tmp_path / "older.tflite")
    assert older.predict(pictures[0]).to_dict()["text"] == edge.predict(pictures[0]).to_dict()["text"]
    with pytest.raises(ConfigError, match="cannot stream words: it was exported before that; export it again"):
        older.stream(pictures[0])


def test_the_command_line_says_words_as_they_come(
    path: Path, edge: Edge, pictures: list[np.ndarray], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "picture.png"
    Image.fromarray(pictures[0]).save(picture)
    words = list(edge.stream(picture))
    for options, expected in (([], None), (["--json"], [word.text for word in words])):
        with pytest.raises(SystemExit) as stop:
            main(["predict", str(path), str(picture), "--stream", *options])
        assert stop.value.code == 0
        out = capsys.readouterr().out
        if expected is None:
            assert out == "".join(word.text for word in words) + "\n"
        else:
            assert [json.loads(line)["text"] for line in out.splitlines()] == expected
    for model in (STORED / "bundle_v1" / "text_attn.tflite", STORED / "run_v1" / "caption_attn"):
        with pytest.raises(SystemExit) as stop:
            main(["predict", str(model), str(picture), "--stream"])
        assert stop.value.code == 2
        assert capsys.readouterr().err.splitlines()[-1].startswith("zoo: error: ")


def test_a_batch_size_that_cannot_be(run: Run, tmp_path: Path) -> None:
    for size in (0, -1, 1025, 2.0):
        with pytest.raises(ConfigError, match=r"^The batch size is .*; it must be a number from 1 to 1024\.$"):
            run.export(tmp_path / "model.tflite", batch_size=size)


def test_a_picture_that_is_none_is_refused_at_once(edge: Edge) -> None:
    with pytest.raises(DataError):
        edge.stream(b"not a picture")


@pytest.fixture(scope="module")
def beams(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Edge:
    """Three pictures at once, three beams, at most five tokens."""
    path = tmp_path_factory.mktemp("beams") / "caption.tflite"
    report = run.export(path, beam_width=3, batch_size=3, max_length=5)
    assert report["agreement"]["same"] == report["agreement"]["of"] == 64
    assert report["serving_options"] == {
        "batch_size": 3,
        "beam_width": 3,
        "length_penalty": 1.0,
        "max_length": 5,
    }
    assert verify_file(path)["passed"]
    return Edge(path)


@pytest.mark.full
def test_batches_and_beams_agree_where_they_must(run: Run, edge: Edge, beams: Edge, pictures: list[np.ndarray]) -> None:
    assert beams.batch_size == 3 and beams.inputs["image"][0][0] == 3
    outputs = run.serving_outputs(batch_of(pictures), beam_width=3, max_length=5)
    answers = beams.predict_batch(pictures[:-1])  # not a multiple of the batch
    assert len(answers) == len(pictures) - 1
    for row, answer in enumerate(answers):
        assert isinstance(answer, Caption)
        assert answer.tokens == run.preprocessor.pieces(outputs["tokens"][row][: outputs["length"][row]])
        assert answer.attention.shape == (len(answer.tokens), *edge.outputs["attention"][0][2:])
        alone = beams.predict(pictures[row])
        assert isinstance(alone, Caption) and alone.tokens == answer.tokens
        assert alone.score == pytest.approx(answer.score, abs=1e-4)
        # A stream is greedy whatever the search in the file, and at most as long as the file allows.
        greedy = edge.predict(pictures[row])
        assert isinstance(greedy, Caption)
        assert said(beams.stream(pictures[row]))[1] == greedy.tokens[:5]
        assert answer.score >= greedy.score - 1e-4 or len(greedy.tokens) > 5


def test_the_newer_runtime_steps_too(edge: Edge, pictures: list[np.ndarray]) -> None:
    """`CompiledModel` is what libLiteRt gives to C, Kotlin and Swift; it knows an output by its tensor."""
    model = CompiledModel.from_buffer(edge.bundle.flatbuffer)
    names = model.get_signature_list()

    def run(key: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        index = model.get_signature_index(key)
        given, answers = model.create_input_buffers(index), model.create_output_buffers(index)
        for name, buffer in zip(names[key]["inputs"], given, strict=True):
            buffer.write(inputs[name].ravel())
        model.run_by_index(index, given, answers)
        outputs = {}
        for name, buffer in zip(names[key]["outputs"], answers, strict=True):
            shape, dtype = edge.signatures[key].outputs[name]
            outputs[name] = buffer.read(int(np.prod(shape)), dtype.type).reshape(shape)
        return outputs

    for picture in pictures[:6]:
        expected = edge.run({"image": picture[None]})
        assert sorted(names["encode"]["outputs"]) == sorted(edge.signatures["encode"].outputs)
        state = run("encode", {"image": picture[None]})
        state |= {name: np.zeros(*t) for name, t in edge.signatures["step"].inputs.items() if name not in state}
        token, ids = np.array([START], np.int32), []
        for position in range(expected["tokens"].shape[1]):
            outputs = run("step", {**state, "token": token, "position": np.array([position], np.int32)})
            token = outputs["next_token"]
            if token[0] == END:
                break
            ids.append(int(token[0]))
            state |= {name: array for name, array in outputs.items() if name in state}
        assert ids == expected["tokens"][0][: int(expected["length"])].tolist()


@pytest.mark.full
def test_no_value_is_no_answer(beams: Edge) -> None:
    assert beams.predict_batch([]) == []


@pytest.mark.full
def test_all_agree_on_200_emoji_it_was_not_trained_on(tmp_path: Path) -> None:
    run = train(
        "caption_attn",
        "emoji",
        out=tmp_path / "run",
        quiet=True,
        model={
            "image_size": 32,
            "vocab_size": 200,
            "d_model": 32,
            "num_heads": 2,
            "num_layers": 1,
            "mlp_dim": 64,
            "filters": (8, 16),
            "blocks": (1, 1),
            "strides": (2, 2),
            "dropout": 0.0,
        },
        train={"epochs": 1, "steps_per_epoch": 150, "learning_rate": 5e-3},
    )
    pictures = list(run.task.requests(run.dataset().split("test"), run.preprocessor, limit=200).inputs["image"])
    assert len(pictures) == 200
    run.export(tmp_path / "greedy.tflite")
    edge = Edge(tmp_path / "greedy.tflite")
    assert len(assert_all_three_agree(run, edge, pictures)) > 4
    run.export(tmp_path / "beams.tflite", beam_width=4, batch_size=8)
    beams = Edge(tmp_path / "beams.tflite")
    outputs = run.serving_outputs(batch_of(pictures), beam_width=4)
    for row, answer in enumerate(beams.predict_batch(pictures)):
        assert isinstance(answer, Caption)
        assert answer.tokens == run.preprocessor.pieces(outputs["tokens"][row][: outputs["length"][row]])
    for picture in pictures[:20]:
        assert said(beams.stream(picture)) == said(edge.stream(picture))


def words_of(pieces: list[str], language: str = "") -> list[str]:
    preprocessor = CaptionPreprocessor(
        [*SPECIAL, *dict.fromkeys(pieces or ["▁a"])], image_size=(8, 8), max_length=20, language=language
    )
    ids = [preprocessor.tokens.index(piece) for piece in pieces]
    tokens = iter(Token(i, -1.0, np.full((2, 2), 0.25, np.float32)) for i in ids)
    words = list(join_words(tokens, preprocessor))
    assert "".join(word.text for word in words) == preprocessor.decode(ids)
    assert [piece for word in words for piece in word.tokens] == pieces
    return [word.text for word in words]


def test_pieces_become_words() -> None:
    assert words_of(["▁red", "▁hair"]) == ["red", " hair"]
    assert words_of(["▁medium", "-", "dark", "▁sk", "in"]) == ["medium-dark", " skin"]
    assert words_of(["un", "marked", "▁end", "."]) == ["unmarked", " end."]
    assert words_of(["▁", "▁", "é"]) == ["é"]
    assert words_of(["▁a", "▁", "▁b"]) == ["a", "  b"]
    assert words_of(["▁a", "▁"]) == ["a", ""]
    assert words_of([]) == []
    assert words_of(["红", "头", "发"], language="zh") == ["红", "头", "发"]


def test_a_word_is_said_when_the_next_begins() -> None:
    preprocessor = CaptionPreprocessor([*SPECIAL, "▁red", "dish", "▁hair"], image_size=(8, 8), max_length=9)
    drawn: list[int] = []

    def tokens() -> Iterator[Token]:
        for i in (4, 5, 6):
            drawn.append(i)
            yield Token(i, -0.5, np.ones((1, 1), np.float32))

    words = join_words(tokens(), preprocessor)
    assert drawn == []
    assert next(words).text == "reddish" and drawn == [4, 5, 6]
    assert next(words).text == " hair"
    assert next(words, None) is None


def test_every_captioner_offers_the_signatures() -> None:
    tiny = architecture("caption_attn").tiny()
    serving = Run.untrained("caption_attn", **tiny.to_dict()).serving(batch_size=2, max_length=4)
    assert set(serving.signatures) == {"encode", "step"}
    assert serving.signatures["step"].inputs["token"] == ((2,), "int32")
    assert serving.signatures["step"].inputs["cache_0"][0][2] == 4
