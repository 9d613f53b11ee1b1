"""TensorBoard logs, read back by TensorBoard itself: its accumulator, its HPARAMS plugin, and its server."""

from __future__ import annotations

import contextlib
import json
import resource
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from zoo.errors import ZooError
from zoo.training.event_writer import EventWriter
from zoo.training.hparams import hyperparameters
from zoo.training.memory import device_bytes, host_bytes, total
from zoo.training.projector import MAX_ROWS, write_embeddings
from zoo.training.tensorboard import TensorBoardLogs

STEPS = 4


def _events(folder: Path) -> Any:
    return EventAccumulator(str(folder), purge_orphaned_data=True).Reload()


def _scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    events = _events(folder)
    return {tag: [(item.step, item.value) for item in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def _train(logs: TensorBoardLogs, epochs: range, *, end: bool = True, seconds: float = 0.0) -> None:
    """Call the callback as the training loop does: a value every second step, nothing at the others."""
    logs.set_params({"epochs": 4, "steps": STEPS})
    logs.on_train_begin()
    for epoch in epochs:
        logs.on_epoch_begin(epoch)
        for step in range(epoch * STEPS, (epoch + 1) * STEPS):
            time.sleep(seconds)
            logs.on_train_batch_end(step, {"loss": 10.0 - step, "gradient_norm": 2.0} if step % 2 else {})
        time.sleep(5 * seconds)  # validation
        values = {"loss": 4.0 - epoch, "val_loss": [3.0, 1.0, 2.0, 5.0][epoch], "val_accuracy": epoch / 4}
        logs.on_epoch_end(epoch, {**values, "learning_rate": 0.1})
    if end:
        logs.on_train_end()
    logs.close()


def test_steps_and_epochs(tmp_path: Path) -> None:
    _train(TensorBoardLogs(tmp_path), range(2))
    steps = _scalars(tmp_path / "steps")
    assert steps["step/loss"] == [(step, 10.0 - step) for step in (1, 3, 5, 7)]
    assert steps["step/gradient_norm"] == [(step, 2.0) for step in (1, 3, 5, 7)]
    assert _scalars(tmp_path / "train") == {
        "epoch/loss": [(1, 4.0), (2, 3.0)],
        "epoch/learning_rate": [(1, pytest.approx(0.1)), (2, pytest.approx(0.1))],
    }
    assert _scalars(tmp_path / "validation") == {
        "epoch/loss": [(1, 3.0), (2, 1.0)],
        "epoch/accuracy": [(1, 0.0), (2, 0.25)],
    }
    assert not (tmp_path / "hparams").exists()


def test_speed_is_of_training_alone(tmp_path: Path) -> None:
    _train(TensorBoardLogs(tmp_path, examples_per_step=6, tokens_per_example=10), range(2), seconds=0.02)
    found = _scalars(tmp_path / "steps")
    seconds = dict(found["speed/step_seconds"])
    assert list(seconds) == [3, 5, 7]  # the first interval holds the compilation
    assert all(0.02 <= value < 0.05 for value in seconds.values())  # validation takes 0.1 s between steps 3 and 4
    for step, value in found["speed/examples_per_second"]:
        assert value == pytest.approx(6 / seconds[step], rel=1e-4)
    for step, value in found["speed/tokens_per_second"]:
        assert value == pytest.approx(60 / seconds[step], rel=1e-4)
    _train(TensorBoardLogs(tmp_path / "bare"), range(1))
    assert {tag for tag in _scalars(tmp_path / "bare" / "steps") if tag.startswith("speed/")} == {"speed/step_seconds"}


def test_memory(tmp_path: Path) -> None:
    _train(TensorBoardLogs(tmp_path), range(1))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    for _, value in _scalars(tmp_path / "steps")["memory/host_bytes"]:
        assert 50e6 < value <= 1.01 * peak
    before = host_bytes()
    block = np.ones(25_000_000)
    after = host_bytes()
    assert before is not None and after is not None and 0.9 * block.nbytes < after - before < 1.5 * block.nbytes
    assert device_bytes() == {}  # a CPU does not tell
    one = {"bytes_in_use": 5, "peak_bytes_in_use": 9, "num_allocs": 3}
    assert total([one, None, one]) == {"device_bytes": 10, "device_peak_bytes": 18}
    assert total([{"bytes_in_use": 5}]) == {"device_bytes": 5}


def test_a_resumed_run_forgets_what_comes_after(tmp_path: Path) -> None:
    _train(TensorBoardLogs(tmp_path, hparams={"a": 1.0}), range(3), end=False)
    again = TensorBoardLogs(
        tmp_path, first_step=STEPS, hparams={"a": 1.0}, history={"loss": [4.0], "val_loss": [0.5], "learning_rate": [1]}
    )
    _train(again, range(1, 2))
    steps = _scalars(tmp_path / "steps")
    assert [step for step, _ in steps["step/loss"]] == [1, 3, 5, 7]  # 9 and 11 of the first process are gone
    assert _scalars(tmp_path / "validation")["epoch/loss"] == [(1, 3.0), (2, 1.0)]
    # The epoch before the resume was better than the one after it.
    assert _scalars(tmp_path / "hparams")["best/val_loss"][-1] == (2, 0.5)
    kept = EventAccumulator(str(tmp_path / "steps"), purge_orphaned_data=False).Reload()
    assert [item.step for item in kept.Scalars("step/loss")] == [1, 3, 5, 7, 9, 11, 5, 7]


def test_samples(tmp_path: Path) -> None:
    calls = []

    def sample() -> tuple[str, list[np.ndarray]]:
        calls.append(1)
        return "**good**", [np.full((4, 6, 3), 200, np.uint8)] * 2

    _train(TensorBoardLogs(tmp_path, sample=sample, sample_epochs=[1]), range(3))
    events = _events(tmp_path / "validation")
    assert len(calls) == 1
    text = events.Tensors("samples/text")
    assert [item.step for item in text] == [2] and text[0].tensor_proto.string_val[0] == b"**good**"
    image = events.Images("samples/1")[0]
    assert (image.height, image.width, image.encoded_image_string[:4]) == (4, 6, b"\x89PNG")


def test_full_disk_is_one_line(tmp_path: Path) -> None:
    code = (
        "import resource, sys, threading\nfrom pathlib import Path\nfrom zoo.training.event_writer import EventWriter\n"
        "from zoo.errors import ZooError\nresource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))\n"
        "writer = EventWriter(Path(sys.argv[1]))\n"
        "try:\n    for step in range(1000):\n        writer.scalar('a', 1.0, step)\n"
        "except ZooError as error:\n    print(error)\n"
        "print('tensorflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    first, tensorflow = done.stdout.splitlines()
    assert first.startswith(f"Cannot write the logs '{tmp_path}") and first.endswith("File too large.")
    assert tensorflow == "False" and "Traceback" not in done.stderr
    with pytest.raises(ZooError, match="Cannot write the logs"):
        EventWriter(tmp_path / next(tmp_path.iterdir()).name / "below")


def test_embeddings_of_the_projector(tmp_path: Path) -> None:
    tokens = ["[PAD]", "good", "a\tb", "\n", " ", "好", '"', *map(str, range(MAX_ROWS))]
    inputs = keras.Input((3,), dtype="int32")
    outputs = keras.layers.Embedding(len(tokens), 2, name="words")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(2)(outputs))
    assert write_embeddings(tmp_path / "none", model, tokens[:-1]) == [] and not (tmp_path / "none").exists()
    assert write_embeddings(tmp_path, model, tokens) == ["words.embeddings"]
    rows = (tmp_path / "words.embeddings.tsv").read_text().splitlines()
    vectors = np.array([list(map(float, row.split("\t"))) for row in rows])
    expected = keras.ops.convert_to_numpy(model.get_layer("words").embeddings)[:MAX_ROWS]
    np.testing.assert_allclose(vectors, expected, rtol=1e-5)
    labels = (tmp_path / "metadata.tsv").read_text(encoding="utf-8").split("\n")
    assert labels[:7] == ["[PAD]", "good", "a\\tb", "\\n", "' '", "好", '"']
    assert len(labels) == MAX_ROWS + 1 and labels[-1] == ""
    from google.protobuf import text_format
    from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig

    config = text_format.Parse((tmp_path / "projector_config.pbtxt").read_text(), ProjectorConfig())
    assert [item.tensor_path for item in config.embeddings] == ["words.embeddings.tsv"]


def test_hyperparameters() -> None:
    from zoo.registry import architecture
    from zoo.training.config import TrainConfig

    found = hyperparameters("text_attn", "tweets", architecture("text_attn").tiny(), TrainConfig(seed=3))
    assert found["architecture"] == "text_attn" and found["data"] == "tweets"
    assert found["model.d_model"] == 16 and found["model.wide_ngrams"] == "1, 2" and found["train.seed"] == 3
    assert "train.steps_per_epoch" not in found  # it has no value


Get = Callable[..., Any]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Get]:
    """Serve two runs with TensorBoard, without TensorFlow, and return a function from an address to its answer."""
    folder = tmp_path_factory.mktemp("runs")
    tokens = ["[PAD]", "good", "bad"]
    inputs = keras.Input((3,), dtype="int32")
    model = keras.Model(inputs, keras.layers.Embedding(3, 2, name="words")(inputs))
    picture = np.full((4, 6, 3), 200, np.uint8)
    for name, rate in (("a", 0.1), ("b", 0.2)):
        hparams = {"architecture": "text_attn", "train.learning_rate": rate, "train.wandb": False}
        if name == "b":
            hparams["model.only_here"] = 3.0
        sample = {"sample": lambda: ("**good**", [picture]), "sample_epochs": [0]}
        _train(TensorBoardLogs(folder / name / "logs", hparams=hparams, **sample), range(3))  # type: ignore[arg-type]
        write_embeddings(folder / name / "logs" / "train", model, tokens)
    code = (
        "import sys\nsys.modules['tensorflow'] = None\nfrom tensorboard import program\n"
        "server = program.TensorBoard()\nserver.configure(logdir=sys.argv[1], host='127.0.0.1', port=0, "
        "load_fast='false')\nprint(server.launch(), flush=True)\nsys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", code, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    address = process.stdout.readline().strip()
    assert address.startswith("http://127.0.0.1:"), address

    def get(path: str, body: Any = None, *, raw: bool = False) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{address}{path}", data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            content = answer.read()
        return content if raw else json.loads(content)

    try:
        deadline = time.monotonic() + 60
        while len(get("data/runs")) < 8 and time.monotonic() < deadline:
            time.sleep(0.2)
        yield get
    finally:
        with contextlib.suppress(BrokenPipeError):
            process.communicate("")
        assert process.wait(30) == 0


def test_tensorboard_serves_the_runs(served: Get) -> None:
    names = ("hparams", "steps", "train", "validation")
    assert sorted(served("data/runs")) == [f"{run}/logs/{name}" for run in "ab" for name in names]
    points = served("data/plugin/scalars/scalars?run=a%2Flogs%2Fvalidation&tag=epoch%2Floss")
    assert [(step, value) for _, step, value in points] == [(1, 3.0), (2, 1.0), (3, 2.0)]
    texts = served("data/plugin/text/text?run=a%2Flogs%2Fvalidation&tag=samples%2Ftext")
    assert "<strong>good</strong>" in texts[0]["text"]
    images = served("data/plugin/images/images?run=a%2Flogs%2Fvalidation&tag=samples%2F0&sample=0")
    assert [image["step"] for image in images] == [1]
    content = served(f"data/plugin/images/individualImage?{images[0]['query']}", raw=True)
    assert content.startswith(b"\x89PNG")


def test_tensorboard_serves_a_table_of_hyperparameters(served: Get) -> None:
    experiment = served("data/plugin/hparams/experiment", {"experimentName": "", "includeMetrics": True})
    assert [item["name"] for item in experiment["hparamInfos"]] == [
        "train.learning_rate",  # what differs comes first
        "architecture",
        "model.only_here",
        "train.wandb",
    ]
    metrics = [item["name"]["tag"] for item in experiment["metricInfos"]]
    assert metrics == ["best/epoch", "best/val_accuracy", "best/val_loss"]
    request = {
        "experimentName": "",
        "allowedStatuses": ["STATUS_SUCCESS"],
        "colParams": [{"hparam": name, "includeInResult": True} for name in ("train.learning_rate", "model.only_here")],
        "startIndex": 0,
        "sliceSize": 10,
        "includeMetrics": True,
    }
    groups = served("data/plugin/hparams/session_groups", request)["sessionGroups"]
    rows = {group["name"]: (group["hparams"], group["metricValues"]) for group in groups}
    assert sorted(rows) == ["a/logs/hparams", "b/logs/hparams"]
    hparams, values = rows["b/logs/hparams"]
    assert hparams["train.learning_rate"] == 0.2 and hparams["model.only_here"] == 3.0
    best = {value["name"]["tag"]: value["value"] for value in values}
    assert best == {"best/epoch": 2.0, "best/val_loss": 1.0, "best/val_accuracy": 0.25}


def test_tensorboard_serves_the_embeddings(served: Get) -> None:
    run = "run=a%2Flogs%2Ftrain&name=words.embeddings"
    assert sorted(served("data/plugin/projector/runs")) == ["a/logs/train", "b/logs/train"]
    info = served(f"data/plugin/projector/info?{run}")
    assert info["embeddings"][0]["tensorShape"] == [3, 2]
    vectors = np.frombuffer(served(f"data/plugin/projector/tensor?{run}", raw=True), np.float32)
    assert vectors.shape == (6,) and np.abs(vectors).max() > 0
    assert served(f"data/plugin/projector/metadata?{run}", raw=True) == b"[PAD]\ngood\nbad\n"
