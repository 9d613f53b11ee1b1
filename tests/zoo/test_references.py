"""What references mean, and weights that ship: found, listed, checked before use, never written to."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import zoo
from zoo import references
from zoo.errors import ConfigError, ModelFileError, UnknownNameError
from zoo.export.runtime import Edge
from zoo.files import to_json
from zoo.models.price_attn import PriceAttn
from zoo.references import MANIFEST, Reference, resolve, tflite_path
from zoo.registry import Pretrained
from zoo.weights import halved, load_weights, save_weights

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
STORED = sorted(FIXTURES.glob("shipped_v*"))
NAME = "price_attn/tiny"
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of stored weights, in the place of those that ship; the working folder is empty."""
    base = tmp_path / "shipped"
    shutil.copytree(STORED[-1] / NAME, base / NAME)
    monkeypatch.setattr(references, "SHIPPED", base)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return base / NAME


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def prices(folder: Path) -> Path:
    stored = json.loads((STORED[-1] / "expected.json").read_text(encoding="utf-8"))[NAME]["input"]
    lines = ["date,open,high,low,close,volume"]
    lines += [f"2020-01-{day:02d},{','.join(map(str, row))}" for day, row in enumerate(stored, start=1)]
    path = folder / "prices.csv"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


@pytest.mark.parametrize("base", STORED, ids=lambda path: path.name)
def test_stored_weights_of_every_version_answer_as_they_did(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(references, "SHIPPED", base)
    for name, expected in json.loads((base / "expected.json").read_text(encoding="utf-8")).items():
        answer = zoo.load(name).predict(np.array(expected["input"]))
        for key, value in json.loads(to_json(answer.to_dict())).items():
            if isinstance(value, str):
                assert value == expected["result"][key]
            else:
                np.testing.assert_allclose(value, expected["result"][key], rtol=1e-4, atol=1e-5)


def test_a_reference_is_a_path_first(folder: Path) -> None:
    assert resolve(NAME) == Reference("shipped", folder, "price_attn", "tiny")
    assert resolve("price_attn") == Reference("untrained", None, "price_attn")
    assert resolve(folder) == Reference("folder", folder)
    assert resolve("none.tflite") == Reference("file", Path("none.tflite"))
    shutil.copytree(folder, NAME)
    assert resolve(NAME) == Reference("folder", Path(NAME))
    with pytest.raises(ModelFileError, match=f"'{NAME}' is no .tflite file; write one: zoo export"):
        tflite_path(NAME)
    with pytest.raises(UnknownNameError, match="tiny"):
        tflite_path("price_attn/tin")


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("price_attn/tinny", "No set of weights for price_attn is named 'tinny'. Did you mean tiny?"),
        ("price_atn/tiny", "No run folder or model is named 'price_atn/tiny'. Did you mean price_attn/tiny"),
        ("price_attn/../price_attn/tiny", "No set of weights for price_attn is named"),
        ("text_attn/tiny", "No set of weights for text_attn is named 'tiny'. Known: none."),
        ("runs/price_attn-stocks-001", "No run folder or model is named 'runs/price_attn-stocks-001'"),
    ],
)
def test_unknown_names_are_answered_with_near_ones(folder: Path, reference: str, message: str) -> None:
    with pytest.raises(UnknownNameError) as caught:
        zoo.load(reference)
    assert message in str(caught.value)


def test_show_and_list_name_the_weights(folder: Path, run: Call) -> None:
    about = zoo.show("price_attn")["weights"]["tiny"]
    assert about["data"] == "stocks" and about["metric"] == "pinball" and about["licence"] == "public domain"
    assert zoo.show("text_attn")["weights"] == {}
    code, out, _ = run("list", "price_attn", "--json")
    assert code == 0 and json.loads(out)[0]["weights"] == "tiny"
    code, out, _ = run("show", "price_attn")
    assert code == 0 and "five days ahead" in out


def test_build_takes_configuration_and_weights(folder: Path) -> None:
    model = zoo.build("price_attn", weights="tiny")
    run = zoo.load(NAME)
    assert [tuple(one.shape) for one in model.weights] == [tuple(one.shape) for one in run.model.weights]
    for one, other in zip(model.get_weights(), run.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert {weight.dtype for weight in model.weights} == {"float32"}
    calm = zoo.build("price_attn", weights="tiny", dropout=0.5)
    np.testing.assert_array_equal(calm.get_weights()[0], model.get_weights()[0])
    with pytest.raises(ConfigError, match="'tiny' of price_attn do not fit a model with d_model changed"):
        zoo.build("price_attn", weights="tiny", d_model=16)
    with pytest.raises(ConfigError, match="no field 'd_modle'"):
        zoo.build("price_attn", weights="tiny", d_modle=16)
    with pytest.raises(UnknownNameError, match="Did you mean tiny"):
        zoo.build("price_attn", weights="tinny")


def test_a_run_of_shipped_weights_answers_and_leaves_its_folder_alone(folder: Path, tmp_path: Path, run: Call) -> None:
    before = content(folder)
    loaded = zoo.load(NAME)
    assert loaded.trained and loaded.read_only
    result = loaded.evaluate("valid", limit=40)
    assert np.isfinite(result["metrics"]["pinball"]) and result["baselines"] and result["pictures"] == []
    table = prices(tmp_path)
    for words in (
        ("predict", NAME, table),
        ("explain", NAME, table, "--out", tmp_path / "x.png"),
        ("inspect", NAME),
        ("verify", NAME),
        ("bench", NAME, "--threads", "1", "--runs", "2"),
    ):
        code, _, err = run(*words)
        assert code == 0, (words, err)
    assert Path("price_attn-tiny.bench.json").is_file()
    with pytest.raises(ModelFileError, match="holds finished weights"):
        zoo.resume(folder)
    assert content(folder) == before


def test_the_file_beside_the_weights_agrees_with_them(folder: Path) -> None:
    expected = json.loads((STORED[-1] / "expected.json").read_text(encoding="utf-8"))[NAME]
    answer = Edge(tflite_path(NAME)).predict(np.array(expected["input"], np.float32))
    np.testing.assert_allclose(answer.to_dict()["mean"], expected["result"]["mean"], rtol=1e-3)


def test_without_keras_the_file_answers(folder: Path, tmp_path: Path, answer_without_keras: Callable[..., Any]) -> None:
    answer = answer_without_keras("predict", NAME, str(prices(tmp_path)), timeout=60)
    expected = json.loads((STORED[-1] / "expected.json").read_text(encoding="utf-8"))[NAME]["result"]
    np.testing.assert_allclose(answer["mean"], expected["mean"], rtol=1e-3)


ON_JAX = """
import sys
from pathlib import Path
import keras
import zoo
from zoo import references
from zoo.files import to_json

references.SHIPPED = Path(sys.argv[1])
answer = zoo.load(sys.argv[2]).predict(sys.argv[3])
assert keras.backend.backend() == "jax"
print(to_json(answer.to_dict()))
"""


def test_they_answer_on_jax_too(folder: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-P", "-c", ON_JAX, str(references.SHIPPED), NAME, str(prices(tmp_path))]
    environment = {**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    expected = json.loads((STORED[-1] / "expected.json").read_text(encoding="utf-8"))[NAME]["result"]
    np.testing.assert_allclose(json.loads(done.stdout)["quantiles"], expected["quantiles"], rtol=1e-4)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def edit(folder: Path, **changes: Any) -> None:
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    (folder / MANIFEST).write_text(json.dumps({**manifest, **changes}), encoding="utf-8")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: flip(folder / "model.safetensors"), "'model.safetensors' does not match its SHA-256"),
        (lambda folder: flip(folder / "model.tflite"), "'model.tflite' does not match its SHA-256"),
        (lambda folder: flip(folder / "run.json"), "'run.json' does not match its SHA-256"),
        (lambda folder: (folder / "LICENCE.txt").unlink(), "not those of its manifest: LICENCE.txt"),
        (lambda folder: (folder / "preprocessor" / "more.txt").write_text("x"), "preprocessor/more.txt"),
        (
            lambda folder: edit(folder, format_version=2),
            "made by a newer version (format 2, this version reads up to 1)",
        ),
        (lambda folder: edit(folder, format_version="1"), "its format_version is not a number"),
        (lambda folder: edit(folder, format_version=True), "its format_version is not a number"),
        (lambda folder: edit(folder, format="other"), "manifest.json is not that of weights"),
        (lambda folder: edit(folder, files=[]), "manifest.json does not list its files"),
        (lambda folder: edit(folder, files={"run.json": 1}), "not those of its manifest"),
        (lambda folder: (folder / MANIFEST).write_text("{"), "manifest.json cannot be read"),
        (lambda folder: (folder / MANIFEST).write_text("[" * 100_000), "manifest.json cannot be read"),
        (lambda folder: (folder / MANIFEST).write_text(" " * (2**20 + 1)), "manifest.json is too large"),
    ],
)
def test_changed_weights_are_refused(folder: Path, run: Call, damage: Callable[[Path], Any], message: str) -> None:
    damage(folder)
    with pytest.raises(ModelFileError) as caught:
        zoo.load(NAME)
    assert message in str(caught.value)
    with pytest.raises(ModelFileError):
        tflite_path(NAME)
    code, out, err = run("predict", NAME, "x.csv")
    assert (code, out) == (1, "") and message in err


def test_no_file_of_weights_can_be_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The superuser reads everything, so a folder stands where a file is expected."""
    (folder / MANIFEST).unlink()
    os.mkdir(folder / MANIFEST)
    with pytest.raises(ModelFileError, match="Cannot read"):
        references.read_manifest(folder)


def test_weights_that_an_architecture_gets_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hook for weights of other packages."""

    config, preprocessor = PriceAttn.tiny(), zoo.load("price_attn").preprocessor

    def pretrained(weights: str) -> Pretrained:

        def assign(model: keras.Model) -> None:
            for weight in model.weights:
                weight.assign(np.full(weight.shape, 0.25 if weights == "quarter" else 0.5))

        return Pretrained(config, preprocessor, assign, {"name": "CC0-1.0"})

    monkeypatch.setattr(PriceAttn, "pretrained_weights", ("half", "quarter"))
    monkeypatch.setattr(PriceAttn, "pretrained", staticmethod(pretrained))
    assert resolve("price_attn") == Reference("pretrained", None, "price_attn", "half")
    assert resolve("price_attn/quarter") == Reference("pretrained", None, "price_attn", "quarter")
    assert zoo.load("price_attn").model.get_weights()[0].max() == 0.5
    assert zoo.build("price_attn", weights="quarter").get_weights()[0].max() == 0.25
    assert zoo.load("price_attn/quarter").licence == {"name": "CC0-1.0"}
    assert set(zoo.show("price_attn")["weights"]) >= {"half", "quarter"}
    with pytest.raises(ConfigError, match="do not fit"):
        zoo.build("price_attn", weights="half", d_model=16)


def test_only_what_loses_nothing_is_halved(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    matrix = rng.normal(0, 0.1, (40, 30)).astype(np.float32)
    assert halved(matrix).dtype == np.float16
    assert np.abs(halved(matrix).astype(np.float32) - matrix).max() <= 2.0**-11 * np.abs(matrix).max()
    assert halved(np.zeros((3, 3), np.float32)).dtype == np.float16
    large, small, lost = (matrix * factor for factor in (1e6, 1e-7, np.float32(np.nan)))
    for kept in (large, small, lost, matrix[0], matrix.astype(np.float64), np.arange(6, dtype=np.int32).reshape(2, 3)):
        assert halved(kept) is kept

    model = zoo.build("text_attn", seed=1, **zoo.registry.architecture("text_attn").tiny().to_dict())
    for number, path in enumerate((tmp_path / "a.safetensors", tmp_path / "b.safetensors")):
        save_weights(model, path, half=True)
        assert number == 0 or path.read_bytes() == (tmp_path / "a.safetensors").read_bytes()
    save_weights(model, tmp_path / "whole.safetensors")
    assert (tmp_path / "a.safetensors").stat().st_size < 0.6 * (tmp_path / "whole.safetensors").stat().st_size
    before = model.get_weights()
    load_weights(model, tmp_path / "a.safetensors")
    for one, other in zip(before, model.get_weights(), strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_allclose(other, one, atol=2.0**-11 * np.abs(one).max(initial=0))
