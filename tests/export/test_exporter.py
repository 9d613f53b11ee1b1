"""The whole road from a model to an answer of its file; one conversion serves most tests."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from zoo.errors import ConfigError, ExportError, MissingExtraError, UnknownNameError, ZooError
from zoo.export import tflite
from zoo.export.bundle import read_bundle
from zoo.export.exporter import export_run
from zoo.export.golden import read_golden
from zoo.export.runtime import Edge
from zoo.export.samples import random_requests
from zoo.export.verify import verify_file
from zoo.registry import architecture
from zoo.run import Run
from zoo.tasks import Serving, get_task

Exported = tuple[Path, dict[str, Any]]


def make_run(name: str) -> Run:
    """Return a run of a tiny model whose weights are all moved, so that its answers depend on its inputs."""
    keras.utils.set_random_seed(1)
    config = architecture(name).tiny()
    run = Run(name=name, config=config, preprocessor=get_task(architecture(name).task).default_preprocessor(config))
    for weight in run.model.trainable_weights:
        weight.assign(weight + keras.random.normal(weight.shape, stddev=0.1))
    return run


@pytest.fixture(scope="module")
def captioner() -> Run:
    return make_run("caption_attn")


@pytest.fixture(scope="module")
def exported(captioner: Run, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    path = tmp_path_factory.mktemp("exported") / "new folder" / "caption.tflite"
    return path, captioner.export(path)


def test_report(exported: Exported) -> None:
    path, report = exported
    assert report["agreement"] == {"same": 64, "of": 64}
    assert report["metric"] is None
    assert report["bytes"] == path.stat().st_size
    assert report["operators"]["WHILE"] == 1
    assert report["interface"]["inputs"] == {"image": {"shape": [1, 24, 24, 3], "dtype": "uint8"}}
    assert report["interface"]["outputs"]["length"] == {"shape": [], "dtype": "int32"}
    assert report["serving_options"]["beam_width"] == 1
    assert [record["threads"] for record in report["latency"]] == [1, 2]
    beside = json.loads(path.with_name("caption.tflite.report.json").read_text())
    assert beside == json.loads(json.dumps(report))
    inside = read_bundle(path).json("report.json")
    assert inside == {key: value for key, value in beside.items() if key not in ("file", "bytes")}
    assert sorted(item.name for item in path.parent.iterdir()) == ["caption.tflite", "caption.tflite.report.json"]


def test_bundle_holds_what_the_task_needs(exported: Exported, captioner: Run) -> None:
    bundle = read_bundle(exported[0])
    assert (bundle.name, bundle.task, bundle.quantize) == ("caption_attn", "captioning", "float32")
    assert bundle.folder("preprocessor") == captioner.preprocessor.files()
    assert bundle.json("config.json")["config"] == captioner.config.to_dict()
    assert bundle.json("licences.json")["code"]["name"] == "Apache-2.0"
    assert bundle.signatures["serving_default"]["inputs"] == {"image": {"shape": [1, 24, 24, 3], "dtype": "uint8"}}
    # An untrained model has no data: its golden examples are those the preprocessor invents.
    assert [case.request for case in read_golden(bundle)] == captioner.preprocessor.made_up()


def random_images(run: Run) -> np.ndarray:
    return random_requests(run.serving(), 64, tokens=24).inputs["image"]


def test_file_answers_as_the_run_does(exported: Exported, captioner: Run) -> None:
    edge = Edge(exported[0])
    for image in random_images(captioner)[10:13]:
        expected, actual = captioner.predict(image), edge.predict(image)
        assert actual.text == expected.text  # type: ignore[attr-defined]
        assert actual.score == pytest.approx(expected.score, abs=1e-4)  # type: ignore[attr-defined]
        np.testing.assert_allclose(actual.attention, expected.attention, atol=1e-4)  # type: ignore[attr-defined]


def test_file_passes_its_own_verification(exported: Exported) -> None:
    report = verify_file(exported[0])
    assert report["passed"], report["problems"]


def test_random_requests() -> None:
    inputs = {
        "image": ((1, 4, 5, 3), "uint8"),
        "tokens": ((1, 9), "int32"),
        "window": ((1, 30, 2), "float32"),
    }
    serving = Serving(function=dict, inputs=inputs, outputs=(), model=None)  # type: ignore[arg-type]
    requests = random_requests(serving, 40, tokens=17)
    assert len(requests) == 40
    for name, (shape, dtype) in inputs.items():
        assert requests.inputs[name].shape == (40, *shape[1:])
        assert requests.inputs[name].dtype == dtype
    tokens = requests.inputs["tokens"]
    assert tokens.max() == 16
    assert (tokens[:, 0] > 0).all()
    assert ((tokens > 0).sum(1) == (tokens > 0).cumprod(1).sum(1)).all()  # padding at the end only
    assert (requests.inputs["window"] > 0).all()
    np.testing.assert_array_equal(tokens, random_requests(serving, 40, tokens=17).inputs["tokens"])


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"quantize": "dynmic"}, UnknownNameError, "dynamic"),
        ({"quantize": "auto"}, ConfigError, "not trained; name a variant"),
        ({"prefer": "speed"}, UnknownNameError, "latency"),
        ({"budget": -0.1}, ConfigError, "budget"),
        ({"budget": float("nan")}, ConfigError, "budget"),
        ({"examples": 0}, ConfigError, "examples"),
        ({"beam": 3}, ConfigError, "beam"),
        ({"beam_width": 0}, ConfigError, "beam_width"),
    ],
)
def test_bad_options(captioner: Run, tmp_path: Path, options: dict[str, Any], error: type[ZooError], says: str) -> None:
    with pytest.raises(error, match=says) as caught:
        captioner.export(tmp_path / "caption.tflite", **options)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_bad_destinations(captioner: Run, tmp_path: Path) -> None:
    folder, file = tmp_path / "folder.tflite", tmp_path / "file.txt"
    folder.mkdir()
    file.write_text("mine")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.png").write_text("mine")
    for path, says in (
        (folder, "it is a folder; give a file name"),
        (file / "caption.tflite", "not a folder that can be written to"),
        (file, "it is a file; give a folder name"),
        (tmp_path / "photos", "holds other files"),
    ):
        with pytest.raises(ZooError, match=says) as caught:
            captioner.export(path)
        assert "\n" not in str(caught.value)
    with pytest.raises(ExportError, match="SavedModel is float32"):
        captioner.export(tmp_path / "saved", quantize="dynamic")
    assert file.read_text() == "mine"
    assert (tmp_path / "photos" / "cat.png").read_text() == "mine"
    assert sorted(item.name for item in tmp_path.iterdir()) == ["file.txt", "folder.tflite", "photos"]


@pytest.mark.parametrize("name", ["caption.tflite", "saved_model"])
def test_full_disk(captioner: Run, tmp_path: Path, name: str) -> None:
    folder = tmp_path / ("long" * 20)  # the reason must show behind any path
    folder.mkdir()
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, old[1]))
    try:
        with pytest.raises(ZooError) as caught:
            captioner.export(folder / name)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert "\n" not in str(caught.value)
    assert "File too large" in str(caught.value)
    assert list(folder.iterdir()) == []


def test_without_tensorflow_it_says_which_extra(
    captioner: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow", None)  # what an import system says of a package that is not there
    with pytest.raises(MissingExtraError, match=r"pip install 'attention-zoo\[tf\]'"):
        export_run(captioner, tmp_path / "caption.tflite")


def test_operator_that_litert_lacks_is_named(tmp_path: Path) -> None:
    from zoo.export.saved_model import write_saved_model

    inputs = keras.Input((3,), name="x")
    model = keras.Model(inputs, keras.layers.Dense(4)(inputs))
    serving = Serving(
        function=lambda x: {"best": keras.ops.bitwise_and(keras.ops.cast(model(x), "int32"), 3)},
        inputs={"x": ((1, 3), "float32")},
        outputs=("best",),
        model=model,
    )
    write_saved_model(serving, tmp_path / "saved")
    with pytest.raises(ExportError, match="LiteRT has no operator for BitwiseAnd") as caught:
        tflite.convert(tmp_path / "saved")
    assert "\n" not in str(caught.value)
    with pytest.raises(ExportError, match="took over 0.2 s"):
        tflite.convert(tmp_path / "saved", timeout=0.2)


@pytest.mark.full
@pytest.mark.parametrize("quantize", ["float16", "dynamic", "int8"])
def test_quantised_files_are_smaller(exported: Exported, captioner: Run, tmp_path: Path, quantize: str) -> None:
    report = captioner.export(tmp_path / "caption.tflite", quantize=quantize)
    assert report["flatbuffer_bytes"] < exported[1]["flatbuffer_bytes"]
    assert report["agreement"]["of"] == 64
    assert report["interface"] == exported[1]["interface"]
    assert verify_file(tmp_path / "caption.tflite")["passed"]


@pytest.mark.full
def test_beam_search_in_the_graph(captioner: Run, tmp_path: Path) -> None:
    report = captioner.export(tmp_path / "caption.tflite", beam_width=3)
    assert report["serving_options"]["beam_width"] == 3
    assert report["agreement"] == {"same": 64, "of": 64}


@pytest.mark.full
def test_export_under_jax(tmp_path: Path) -> None:
    code = """
import sys
import keras
from zoo.registry import architecture
from zoo.run import Run
from zoo.tasks import get_task
assert keras.backend.backend() == "jax"
config = architecture("price_attn").tiny()
run = Run(name="price_attn", config=config, preprocessor=get_task("forecasting").default_preprocessor(config))
for weight in run.model.trainable_weights:
    weight.assign(weight + keras.random.normal(weight.shape, stddev=0.1, seed=1))
assert run.export(sys.argv[1] + "/price.tflite")["agreement"] == {"same": 64, "of": 64}
run.export(sys.argv[1] + "/saved")
assert "tensorflow" not in sys.modules
"""
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, str(tmp_path)],
        env={**os.environ, "KERAS_BACKEND": "jax"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert verify_file(tmp_path / "price.tflite")["passed"]
    assert (tmp_path / "saved" / "saved_model.pb").is_file()
