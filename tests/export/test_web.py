"""The folder `zoo web` writes, and what it says where it cannot. The page itself is used in test_web_client.py."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from pathlib import Path

import pytest

from zoo.errors import ExportError, ModelFileError, ZooError
from zoo.export.bundle import pack_bundle, read_bundle
from zoo.export.web import LITERT_VERSION, PACKAGES, write_site
from zoo.files import cache_folder

IMPORT = 'import { createWasmLib } from "@litertjs/wasm-utils";\n'


@pytest.fixture
def litert(tmp_path: Path) -> Path:
    """A folder laid out as `npm install` leaves it; the scripts in it do nothing."""
    files = {"@litertjs/core/dist/index.js": IMPORT, "@litertjs/wasm-utils/dist/index.js": "export {};\n"}
    for kind in ("", "compat_"):
        for end in ("js", "wasm"):
            files[f"@litertjs/core/wasm/litert_wasm_{kind}internal.{end}"] = kind
    for name in PACKAGES:
        files[f"{name}/package.json"] = json.dumps({"name": name, "version": LITERT_VERSION})
    for name, content in files.items():
        path = tmp_path / "npm" / "node_modules" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    return tmp_path / "npm"


@pytest.fixture
def model(repository: Path) -> Path:
    """A stored bundle."""
    return repository / "tests" / "fixtures" / "bundle_v1" / "text_attn.tflite"


def test_the_folder_holds_client_model_and_runtime(repository: Path, litert: Path, model: Path, tmp_path: Path) -> None:
    named = tmp_path / "sentiment of tweets.tflite"
    shutil.copyfile(model, named)
    report = write_site(named, tmp_path / "site", litert_dir=litert)
    found = {
        path.relative_to(tmp_path / "site").as_posix() for path in (tmp_path / "site").rglob("*") if path.is_file()
    }
    client = {path.name for path in (repository / "export" / "clients" / "web").iterdir()}
    runtime = {"litert/index.js", "litert/wasm-utils.js"}
    runtime |= {f"litert/wasm/litert_wasm_{kind}internal.{end}" for kind in ("", "compat_") for end in ("js", "wasm")}
    assert found == client | runtime | {"site.json", "sentiment-of-tweets.tflite"}
    assert {"index.html", "main.js", "worker.js", "style.css"} <= client
    assert (tmp_path / "site" / "sentiment-of-tweets.tflite").read_bytes() == model.read_bytes()
    assert (tmp_path / "site/litert/index.js").read_text() == IMPORT.replace("@litertjs/wasm-utils", "./wasm-utils.js")
    assert report["task"] == "text_classification" and report["files"] == len(found)
    about = json.loads((tmp_path / "site" / "site.json").read_text())
    assert (about["model"], about["bytes"]) == ("sentiment-of-tweets.tflite", model.stat().st_size)


def test_a_page_is_replaced_and_nothing_else_is(litert: Path, model: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    write_site(model, site, litert_dir=litert)
    (site / "old.txt").touch()
    write_site(model, site, litert_dir=litert)
    assert not (site / "old.txt").exists()
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.tex").touch()
    with pytest.raises(ExportError, match="precious' holds something else than a page of 'zoo web'"):
        write_site(model, precious, litert_dir=litert)
    assert [path.name for path in precious.iterdir()] == ["thesis.tex"]
    with pytest.raises(ZooError, match="a file has that name"):
        write_site(model, precious / "thesis.tex", litert_dir=litert)


def test_a_file_that_is_no_whole_bundle_is_refused(litert: Path, model: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.tflite"
    damaged.write_bytes(model.read_bytes()[:-1])
    with pytest.raises(ModelFileError, match="damaged"):
        write_site(damaged, tmp_path / "site", litert_dir=litert)
    assert not (tmp_path / "site").exists()


def test_a_task_or_batch_the_page_cannot_take_is_refused(litert: Path, model: Path, tmp_path: Path) -> None:
    bundle, other = read_bundle(model), tmp_path / "other.tflite"
    for task, batch, message in (
        ("translation", 1, "no page for the task 'translation'"),
        ("captioning", 4, "4 inputs"),
    ):
        inputs = {"tokens": {"shape": [batch, 8], "dtype": "int32"}}
        signatures = {"serving_default": {"inputs": inputs, "outputs": {}}}
        parts = {"name": "x", "task": task, "quantize": "float32", "signatures": signatures}
        other.write_bytes(pack_bundle(bundle.flatbuffer, bundle.entries, **parts))
        with pytest.raises(ExportError, match=message):
            write_site(other, tmp_path / "site", litert_dir=litert)


def test_another_version_of_litert_is_refused(litert: Path, model: Path, tmp_path: Path) -> None:
    package = litert / "node_modules" / PACKAGES[0] / "package.json"
    package.write_text('{"version": "9.0.0"}')
    with pytest.raises(ExportError, match=f"is version 9.0.0; the page needs {LITERT_VERSION}: npm install @litertjs"):
        write_site(model, tmp_path / "site", litert_dir=litert)
    package.unlink()
    with pytest.raises(ExportError, match="holds no @litertjs/core; run 'npm install @litertjs/core@"):
        write_site(model, tmp_path / "site", litert_dir=litert)


def test_incomplete_or_altered_litert_is_refused(litert: Path, model: Path, tmp_path: Path) -> None:
    core = litert / "node_modules" / PACKAGES[0]
    (core / "dist" / "index.js").write_text("nothing")
    with pytest.raises(ExportError, match="as published; install it again"):
        write_site(model, tmp_path / "site", litert_dir=litert)
    (core / "dist" / "index.js").write_text(IMPORT)
    (core / "wasm" / "litert_wasm_internal.wasm").unlink()
    with pytest.raises(ExportError, match=r"litert_wasm_internal.wasm' is missing"):
        write_site(model, tmp_path / "site", litert_dir=litert)
    assert not (tmp_path / "site").exists()


def test_without_npm_the_error_says_what_to_do(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        ExportError, match="npm, which is not on this machine; install Node.js, or .* --litert-dir"
    ) as caught:
        write_site(model, tmp_path / "site")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "site").exists() and not list((tmp_path / "cache").rglob("package.json"))


def test_a_failing_npm_is_one_line(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    npm = tmp_path / "npm"
    npm.write_text(
        f"#!{sys.executable}\nimport sys\nsys.exit('npm warn old\\nnpm error code ENOTFOUND\\nnpm error more')\n"
    )
    npm.chmod(0o755)
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        ExportError, match=r"\(npm error code ENOTFOUND\); check the network, or .*--litert-dir"
    ) as caught:
        write_site(model, tmp_path / "site")
    assert "\n" not in str(caught.value) and not list((tmp_path / "cache").rglob("package.json"))


def test_the_cache_is_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("ZOO_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "attention-zoo"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.delenv("LOCALAPPDATA", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder().is_relative_to(tmp_path) and os.fspath(cache_folder()).endswith("attention-zoo")


def test_the_client_names_no_other_host(repository: Path) -> None:
    named = set()
    for path in (repository / "export" / "clients" / "web").iterdir():
        named |= set(re.findall(r"https?://[\w.]+", path.read_text(encoding="utf-8")))
    assert named <= {"http://www.w3.org"}  # the name of SVG's vocabulary, which nothing fetches
