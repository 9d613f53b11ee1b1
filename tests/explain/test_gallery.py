"""A folder of pictures on one page: what is read, what is escaped, how large it gets."""

from __future__ import annotations

import base64
import io
import os
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import zoo
from zoo.errors import ConfigError, DataError
from zoo.explain.gallery import (
    Answered,
    answer_pictures,
    find_pictures,
    map_png,
    takes_pictures,
    write_gallery,
)
from zoo.explain.words import caption_words
from zoo.preprocess.captioning import SPECIAL, CaptionPreprocessor
from zoo.results import Caption, ImageClassification
from zoo.run import Run

STORED = Path(__file__).resolve().parents[1] / "fixtures" / "run_v1"
HOSTILE = "<img src=x onerror=alert(1)>&\"'.png"


class Page(HTMLParser):
    """The elements of a page; fails on tags that do not nest."""

    VOID = ("meta", "img", "link", "br")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def run() -> Run:
    return zoo.load(STORED / "caption_attn")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pictures of every kind one meets, and what is none."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(0)
    colour = Image.fromarray(rng.integers(0, 256, (50, 80, 3)).astype(np.uint8))
    colour.save(folder / "b.JPG", "JPEG")
    colour.convert("L").save(folder / "grey.png")
    colour.convert("CMYK").save(folder / "cmyk.jpeg")
    colour.convert("P").save(folder / "palette.gif", save_all=True, append_images=[colour.convert("P")])
    Image.fromarray(rng.integers(0, 65536, (9, 9)).astype(np.uint16)).save(folder / "deep.tiff")
    Image.new("RGBA", (1, 1), (255, 0, 0, 100)).save(folder / "one.webp")
    colour.resize((8, 900)).save(folder / HOSTILE)
    whole = (folder / "grey.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.bmp").write_bytes(b"")
    (folder / "text.png").write_text("not a picture")
    for name in (".hidden.png", "notes.txt", "noend"):
        (folder / name).write_bytes(whole)
    (folder / "folder.png").mkdir()
    return folder


def test_pictures_are_found_by_name(folder: Path) -> None:
    names = [path.name for path in find_pictures(folder)]
    assert names == sorted(names)
    assert set(names) == {
        "b.JPG", "grey.png", "cmyk.jpeg", "palette.gif", "deep.tiff", "one.webp", HOSTILE,
        "cut.png", "empty.bmp", "text.png",
    }  # fmt: skip
    assert find_pictures(folder / "noend") == [folder / "noend"]  # a file that is named is taken
    with pytest.raises(DataError, match="no file or folder"):
        find_pictures(folder / "nowhere")
    with pytest.raises(DataError, match="has no picture"):
        find_pictures(folder / "folder.png")


def test_every_picture_has_an_answer_or_a_reason(run: Run, folder: Path) -> None:
    lines: list[str] = []
    answers = list(answer_pictures(run, find_pictures(folder), thumbnails=True, progress=lines.append))
    bad = {answer.name: answer.problem for answer in answers if answer.result is None}
    assert set(bad) == {"cut.png", "empty.bmp", "text.png"} and all(bad.values())
    assert not any(str(folder) in problem for problem in bad.values())  # the page may go elsewhere
    assert all("'text.png'" in problem for name, problem in bad.items() if name == "text.png")
    good = {answer.name: answer for answer in answers if answer.result is not None}
    for name, answer in good.items():
        assert answer.result.text == run.predict(folder / name).text  # type: ignore[union-attr]
        with Image.open(io.BytesIO(answer.thumbnail)) as small:
            assert small.format == "JPEG" and small.size == answer.size and max(small.size) <= 400
    assert lines and lines[0].startswith("Picture 1 of 10: ")
    assert not any(answer.thumbnail for answer in answer_pictures(run, [folder / "b.JPG"]))


def test_the_page(run: Run, folder: Path, tmp_path: Path) -> None:
    answers = list(answer_pictures(run, find_pictures(folder), thumbnails=True))
    path = tmp_path / "out" / "gallery.html"
    write_gallery(path, answers, run.preprocessor, model="<model>", note="The first 10 of 12.")
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert not re.search(r"https?:|//|<script|javascript:|@import", re.sub(r"base64,[\w+/=]+", "", text))
    assert "onerror" not in {name for _, attributes in page.tags for name in attributes}
    policy = next(meta["content"] for meta in page.all("meta") if "http-equiv" in meta)
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    shown = "".join(page.text)
    assert "7 pictures by <model>" in shown and "The first 10 of 12." in shown and HOSTILE in shown
    assert "3 pictures could not be read" in shown and "empty.bmp" in shown
    images, words = page.all("img"), [button for button in page.all("button") if button["class"] == "word"]
    captions = [answer.result for answer in answers if isinstance(answer.result, Caption)]
    assert [image["alt"] for image in images] == [caption.text for caption in captions]
    assert len(words) == sum(len(caption_words(caption, run.preprocessor)) for caption in captions)
    for word in words:
        match = re.fullmatch(r"--map:url\(data:image/png;base64,([\w+/=]+)\)", word["style"] or "")
        assert match
        with Image.open(io.BytesIO(base64.b64decode(match[1]))) as picture:
            assert picture.mode == "RGBA" and picture.size == (3, 3)
            assert np.asarray(picture)[..., 3].max() == 204
    for caption in captions:
        assert caption.text in re.sub(r"\s+", " ", shown)
    write_gallery(path, answers, run.preprocessor, model="<model>", note="The first 10 of 12.")
    assert path.read_text(encoding="utf-8") == text
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_chinese_captions_and_labels(tmp_path: Path) -> None:
    tokens = ["好", "人", "▁大", "</p>"]
    preprocessor = CaptionPreprocessor([*SPECIAL, *tokens], image_size=(8, 8), max_length=8, language="zh")
    caption = Caption("好人 大</p>", -0.5, tuple(tokens), np.full((4, 2, 2), 0.25, np.float32))
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4)).save(buffer, "JPEG")
    answers = [
        Answered("图.png", caption, "", buffer.getvalue(), (4, 4)),
        Answered(
            "b.png", ImageClassification("cat & dog", {"cat & dog": 0.75}, np.eye(2)), "", buffer.getvalue(), (4, 4)
        ),
    ]
    write_gallery(tmp_path / "page.html", answers, preprocessor, model="m")
    page = Page((tmp_path / "page.html").read_text(encoding="utf-8"))
    shown = "".join(page.text)
    assert "好人 大</p>" in shown and "图.png" in shown and "cat & dog" in shown and "0.75" in shown
    assert [tag["lang"] for tag in page.all("p") if "lang" in tag] == ["zh"]
    assert len(page.all("button")) == 5 and "could not be read" not in shown
    with pytest.raises(DataError, match="None of the pictures"):
        write_gallery(tmp_path / "none.html", [Answered("a.png", None, "why")], preprocessor, model="m")
    assert not (tmp_path / "none.html").exists()


def test_sizes_are_bounded(run: Run, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1500, 1500, 3)).astype(np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png", compress_level=0)
    (answer,) = answer_pictures(run, [tmp_path / "noise.png"], thumbnails=True)
    assert 1000 < len(answer.thumbnail) <= 40_000 and answer.size == (400, 400)
    assert len(map_png(np.random.default_rng(0).random((64, 50)))) < 2_000
    with Image.open(io.BytesIO(map_png(np.eye(40)))) as picture:
        assert picture.size == (16, 16)
    with Image.open(io.BytesIO(map_png(np.zeros((2, 3))))) as picture:
        assert picture.size == (3, 2) and not np.asarray(picture)[..., 3].any()


def test_a_name_that_is_no_text(run: Run, tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path / "odd")
    os.mkdir(folder)
    buffer = io.BytesIO()
    Image.new("RGB", (9, 9), (10, 200, 30)).save(buffer, "PNG")
    Path(os.fsdecode(folder + b"/caf\xe9\n.png")).write_bytes(buffer.getvalue())
    Path(os.fsdecode(folder + b"/caf\xe8.png")).write_bytes(b"x")
    answers = list(answer_pictures(run, find_pictures(tmp_path / "odd"), thumbnails=True))
    write_gallery(tmp_path / "page.html", answers, run.preprocessor, model="m")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert r"caf\udce9" in text and r"caf\udce8.png" in text


def test_only_pictures() -> None:
    assert takes_pictures(zoo.load(STORED / "caption_attn").preprocessor)
    for name in ("text_attn", "price_attn"):
        run = zoo.load(STORED / name)
        assert not takes_pictures(run.preprocessor)
        with pytest.raises(ConfigError, match="does not take pictures"):
            next(answer_pictures(run, [Path("x.png")]))
