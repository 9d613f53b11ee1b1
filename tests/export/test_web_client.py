"""The page of `zoo web` in a real Chromium: its answers are those of `Edge` for the same inputs.

Needs Chromium, Node.js and what `make browser` installs; without them these tests fail.
"""

from __future__ import annotations

import json
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import zoo
from zoo import datasets
from zoo.cli import main
from zoo.errors import DataError
from zoo.export.bundle import pack_bundle, read_bundle
from zoo.export.runtime import Edge
from zoo.export.web import write_site
from zoo.files import cache_folder
from zoo.preprocess.image import load_image
from zoo.registry import architecture
from zoo.results import Caption, Classification, Forecast

pytestmark = pytest.mark.full

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
# In a container it does not start as root with its sandbox, nor with little shared memory; the others keep it from
# calling anywhere.
ARGUMENTS = [
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # Chromium trusts 127.0.0.1 and localhost as it trusts https; this name it does not.
    "--host-resolver-rules=MAP plain.test 127.0.0.1",
]
LITERT_SAYS = re.compile(r"INFO: |WARNING: \[npu_registry")
COUNT = 20
PLACES = [
    ["upper left", "top", "upper right"],
    ["left", "middle", "right"],
    ["lower left", "bottom", "lower right"],
]
EMOJI = [
    "red-green",
    "😀😀😀",
    "👩🏽‍❤️‍👨🏾",
    "It's &lt;b&gt;lovely&lt;/b&gt; &amp;amp; &quot;awful&quot;",
    "電影很 lovely 好看",
]


@pytest.fixture(scope="module")
def npm_folder(repository: Path) -> Path:
    """Where `make browser` has installed LiteRT.js and playwright-core."""
    folder = repository / ".cache" / "browser"
    if not (folder / "node_modules" / "playwright-core").is_dir():
        pytest.fail("The browser test needs the npm packages of 'make browser'; run it once.")
    return folder


@pytest.fixture(scope="module")
def chromium() -> str:
    """The browser."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.fail("The browser test needs Chromium; run 'make browser' as root, or install it.")
    return found


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, int]]:
    """A folder and the port it is served at."""
    folder = tmp_path_factory.mktemp("served")

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield folder, running.server_port
        running.shutdown()
        thread.join()


Visit = Callable[..., dict[str, Any]]
Table = Callable[[int], str]


@pytest.fixture(scope="module")
def visit(
    run_node: Callable[[str, Path, dict[str, Any]], dict[str, Any]],
    npm_folder: Path,
    chromium: str,
    server: tuple[Path, int],
) -> Visit:
    """Return a function that uses a page of the served folder and returns what was seen (see web_driver.mjs)."""

    def use(site: str, *, host: str = "127.0.0.1", **job: Any) -> dict[str, Any]:
        job |= {"chromium": chromium, "arguments": ARGUMENTS, "url": f"http://{host}:{server[1]}/{site}/"}
        return run_node("web_driver.mjs", npm_folder, job)

    return use


@pytest.fixture(scope="module")
def models(tiny_data: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A bundle of every task, trained for a moment."""
    folder = tmp_path_factory.mktemp("models")
    larger: dict[str, dict[str, Any]] = {"caption_attn": {"image_size": 32}}
    epochs = {"caption_attn": 30, "price_attn": 2, "text_attn": 12}
    paths = {}
    for name, count in epochs.items():
        task = architecture(name).task
        run = zoo.train(
            name,
            tiny_data(task),
            out=folder / name,
            model={**architecture(name).tiny().to_dict(), **larger.get(name, {})},
            train={"epochs": count, "batch_size": 16, "learning_rate": 1e-2, "samples": 0},
            quiet=True,
        )
        paths[task] = folder / f"{name}.tflite"
        run.export(paths[task])
    return paths


@pytest.fixture(scope="module")
def sites(models: dict[str, Path], npm_folder: Path, server: tuple[Path, int]) -> dict[str, Path]:
    """A page of every task, served."""
    for task, path in models.items():
        write_site(path, server[0] / task, litert_dir=npm_folder)
    return {task: server[0] / task for task in models}


def well_behaved(seen: dict[str, Any], port: int) -> None:
    assert seen["state"] == "ready", seen["status"]
    assert [text for text in seen["complaints"] if not LITERT_SAYS.match(text)] == []
    assert seen["requests"] and all(url.startswith(f"http://127.0.0.1:{port}/") for url in seen["requests"])
    tensors, freed = seen["tensors"]
    assert tensors == freed >= 3  # else the WebAssembly's memory would grow with every answer
    assert seen["width"] <= 360  # of a phone: nothing to scroll sideways


def test_captions_are_pythons(
    visit: Visit, models: dict[str, Path], sites: dict[str, Path], server: tuple[Path, int], tmp_path: Path
) -> None:
    edge = Edge(models["captioning"])
    pictures = make_pictures(tmp_path)
    assert len(pictures) == COUNT
    size = edge.preprocessor.image_size
    job = [{"file": str(path), "size": size} for path in pictures]
    seen = visit("captioning", inputs=job, pictures=job)
    well_behaved(seen, server[1])
    expected = [edge.predict(path) for path in pictures]
    assert len({str(answer.text) for answer in expected}) >= 4
    for path, answer, caption in zip(pictures, seen["answers"], expected, strict=True):
        assert isinstance(caption, Caption)
        assert answer["caption"] == answer["spoken"] == caption.text, path.name
        maps = word_maps(caption)
        assert answer["looked"] == [f"{word}: looked mostly at the {place(map_)}" for word, map_ in maps], path.name
        for (_, map_), heat in zip(maps, answer["heats"], strict=True):
            red = np.reshape(heat, (*map_.shape, 4))[..., 0]
            assert np.abs(red - (12 + 243 * map_ / map_.max())).max() <= 4  # the browser rounds with the opacity
    for path, pixels in zip(pictures, seen["pixels"], strict=True):
        apart = np.abs(np.reshape(pixels, (*size, 3)).astype(int) - load_image(path, size))
        # Decoders of lossy formats may round their colours differently.
        assert apart.max() <= (4 if path.suffix in (".jpg", ".webp") else 1), path.name


def make_pictures(folder: Path) -> list[Path]:
    """Return pictures of many formats, sizes and modes, real ones among them."""
    rng = np.random.default_rng(1)
    squares = []
    for colour in ((220, 30, 30), (30, 180, 60), (40, 60, 220)):
        for left in (2, 18):
            pixels = rng.integers(200, 256, (32, 32, 3)).astype(np.uint8)
            pixels[8:24, left : left + 10] = colour
            squares.append(Image.fromarray(pixels))
    large = [square.resize((640, 480), Image.Resampling.NEAREST) for square in squares]
    clear = large[0].convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").resize(clear.size))
    turned = Image.Exif()
    turned[0x0112] = 6
    mirrored = Image.Exif()
    mirrored[0x0112] = 2
    pictures: list[tuple[str, Image.Image, dict[str, Any]]] = [
        *((f"square{i}.png", square, {}) for i, square in enumerate(squares)),
        ("large.png", large[1], {}),
        ("clear.png", clear, {}),
        ("palette.png", large[2].quantize(16), {}),
        ("holes.png", squares[3].quantize(8), {"transparency": 0}),
        ("grey.png", large[4].convert("L"), {}),
        ("deep.png", Image.fromarray((np.arange(48 * 32).reshape(48, 32) * 40).astype(np.uint16)), {}),
        ("still.gif", large[3], {}),
        ("plain.bmp", large[5], {}),
        ("photo.jpg", large[0], {"quality": 92}),
        ("turned.jpg", large[2], {"quality": 92, "exif": turned}),
        ("mirrored.jpg", large[4], {"quality": 92, "exif": mirrored}),
        ("square.webp", large[1], {"lossless": True}),
    ]
    paths = []
    for name, image, options in pictures:
        image.save(folder / name, **options)
        paths.append(folder / name)
    emoji = datasets.load("emoji", task="captioning").splits()["test"]
    return [*paths, *(Path(emoji[i]["image"]) for i in (3, 40))]


def word_maps(caption: Caption) -> list[tuple[str, np.ndarray]]:
    """Return the words of a caption with the mean map of each one's tokens."""
    words: list[tuple[str, list[np.ndarray]]] = []
    for token, map_ in zip(caption.tokens, caption.attention, strict=False):
        if token.startswith("▁") or not words:
            words.append(("", []))
        words[-1] = (words[-1][0] + token.replace("▁", ""), [*words[-1][1], map_])
    return [(word, np.mean(maps, axis=0)) for word, maps in words]


def place(map_: np.ndarray) -> str:
    row, column = np.unravel_index(map_.argmax(), map_.shape)
    return PLACES[int((row + 0.5) / map_.shape[0] * 3)][int((column + 0.5) / map_.shape[1] * 3)]


def test_classes_are_pythons(
    visit: Visit, models: dict[str, Path], sites: dict[str, Path], server: tuple[Path, int]
) -> None:
    edge = Edge(models["text_classification"])
    rng = np.random.default_rng(2)
    words = ["film", "plot", "music", "the", "scene", "lovely", "awful", "unheard", "7", "!!!!", "www.a.b", "soooo"]
    texts = [" ".join(rng.choice(words, rng.integers(1, 40))) for _ in range(COUNT - len(EMOJI))] + EMOJI
    seen = visit("text_classification", inputs=[{"text": text} for text in texts])
    well_behaved(seen, server[1])
    expected = [edge.predict(text) for text in texts]
    assert len({answer.label for answer in expected}) == 2
    for text, answer, said in zip(texts, seen["answers"], expected, strict=True):
        assert isinstance(said, Classification)
        assert answer["heading"] == said.label, text
        shares = {name: share_of(shown) for name, _, shown in answer["bars"]}
        assert shares == pytest.approx(said.probabilities, abs=6e-4)
        assert [word for word, _ in answer["words"]] == [word for word, _ in said.token_weights]
        weights = [share_of(shown) for _, shown in answer["words"]]
        assert weights == pytest.approx([weight for _, weight in said.token_weights], abs=6e-4)


def share_of(percentage: str) -> float:
    return float(percentage.removesuffix("%")) / 100


def test_forecasts_are_pythons(
    visit: Visit,
    models: dict[str, Path],
    sites: dict[str, Path],
    server: tuple[Path, int],
    price_table: Table,
    tmp_path: Path,
) -> None:
    edge = Edge(models["forecasting"])
    tables = [price_table(number) for number in range(COUNT)]
    inputs: list[dict[str, str]] = []
    for number, table in enumerate(tables):
        file = tmp_path / f"{number}.csv"
        file.write_text(table, encoding="utf-8")
        inputs.append({"file": str(file)} if number % 2 else {"text": table})
    seen = visit("forecasting", inputs=inputs)
    well_behaved(seen, server[1])
    means = []
    for number, answer in enumerate(seen["answers"]):
        said = edge.predict(tmp_path / f"{number}.csv")
        assert isinstance(said, Forecast)
        whole = np.concatenate([said.mean[:, None], said.quantiles], axis=1)
        assert np.array(answer["rows"]) == pytest.approx(whole, rel=1e-3), number
        assert answer["heading"].startswith(f"close: {said.last:g} → ")
        means.append(said.mean)
    assert np.ptp(np.array(means), axis=0).min() > 1


def test_unusable_inputs_are_pythons_sentences(
    visit: Visit, models: dict[str, Path], sites: dict[str, Path], price_table: Table, tmp_path: Path
) -> None:
    edge = Edge(models["forecasting"])
    good = price_table(0)
    lines = good.split("\n")
    tables = [
        good.replace(lines[-1].split(",")[4], "nan"),
        good.replace(lines[-2].split(",")[4], "inf"),
        good.replace(lines[-1].split(",")[4], ""),
        good.replace(lines[-1].split(",")[4], "-3"),
        "\n".join(lines[:6]),
        good.replace("volume", "turnover"),
        f"{good}\n{lines[-1]}",
        " ",
    ]
    seen = visit("forecasting", inputs=[*({"text": table} for table in tables), {"text": good}])
    assert "rows" in seen["answers"].pop(), "after errors it goes on"
    for table, answer in zip(tables, seen["answers"], strict=True):
        with pytest.raises(DataError) as caught:
            edge.preprocessor.request(table.encode())
        assert answer == {"error": str(caught.value)}
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    seen = visit("captioning", inputs=[{"file": str(broken)}])
    (answer,) = seen["answers"]
    assert answer["error"].startswith("The picture 'broken.png' is damaged, or of a format this browser does not read")


def test_a_file_that_was_changed_is_refused(visit: Visit, sites: dict[str, Path], server: tuple[Path, int]) -> None:
    for name, change, message in (
        ("model", lambda data: flip(data, 4000), "the model does not match its SHA-256"),
        (
            "entry",
            lambda data: flip(data, data.index(b'"kind"')),
            "entry 'preprocessor/preprocessor.json' does not match",
        ),
        ("short", lambda data: data[:-1000], "was cut short"),
        ("long", lambda data: data + b"x", "is longer than it was made"),
    ):
        site = server[0] / f"changed-{name}"
        shutil.copytree(sites["text_classification"], site)
        file = site / "text_attn.tflite"
        file.write_bytes(change(file.read_bytes()))
        seen = visit(site.name)
        assert seen["state"] == "failed" and message in seen["status"], seen
        assert not any(url.endswith(".wasm") for url in seen["requests"]), "nothing was run"


def flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def test_a_model_that_does_not_give_its_stored_answers_is_refused(
    visit: Visit, models: dict[str, Path], npm_folder: Path, server: tuple[Path, int], tmp_path: Path
) -> None:
    bundle = read_bundle(models["text_classification"])
    name = "golden/0/outputs/probabilities.bin"
    entries = {**bundle.entries, name: bundle.entries[name][::-1]}
    path = tmp_path / "other.tflite"
    parts = {key: bundle.manifest[key] for key in ("name", "task", "quantize", "signatures")}
    path.write_bytes(pack_bundle(bundle.flatbuffer, entries, **parts))
    write_site(path, server[0] / "garbage", litert_dir=npm_folder)
    seen = visit("garbage")
    assert seen["state"] == "failed"
    assert seen["status"].startswith("The model does not give its own stored answers in this browser")


def test_bundles_of_version_1_are_read(
    visit: Visit, repository: Path, npm_folder: Path, server: tuple[Path, int]
) -> None:
    stored = repository / "tests" / "fixtures" / "bundle_v1"
    write_site(stored / "text_attn.tflite", server[0] / "version1", litert_dir=npm_folder)
    expected = json.loads((stored / "text_attn.expected.json").read_text(encoding="utf-8"))
    seen = visit("version1", inputs=[{"text": expected["input"]}])
    well_behaved(seen, server[1])
    assert seen["answers"][0]["heading"] == expected["result"]["label"]


def test_an_unsafe_page_says_why_it_does_not_start(visit: Visit, sites: dict[str, Path]) -> None:
    seen = visit("text_classification", host="plain.test")
    assert seen["state"] == "failed" and "only on https:// pages and on localhost" in seen["status"]


def test_npm_is_asked_once(
    models: dict[str, Path],
    tmp_path: Path,
    npm_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    for number in range(2):
        with pytest.raises(SystemExit) as stopped:
            main(["web", str(models["forecasting"]), "-o", str(tmp_path / str(number)), "--json"])
        assert stopped.value.code == 0
        assert json.loads(capsys.readouterr().out)["task"] == "forecasting"
        monkeypatch.setenv("PATH", str(tmp_path))  # no npm the second time
    assert cache_folder().is_relative_to(tmp_path)
    one, two = ((tmp_path / str(n) / "litert" / "index.js").read_bytes() for n in range(2))
    assert one == two and len(one) > 10_000
