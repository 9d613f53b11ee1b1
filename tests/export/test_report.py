"""The report of a model's variants: what it holds, and the page, which is parsed and compared with the JSON."""

from __future__ import annotations

import base64
import io
import json
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from PIL import Image

from zoo.api import train
from zoo.errors import ConfigError, UnknownNameError, ZooError
from zoo.export._report_page import bin_names, render_page
from zoo.export._report_plots import ticks
from zoo.export.report import (
    WORST,
    describe,
    histogram,
    picture_address,
    problems,
    quality_rows,
    speed_rows,
    worst_cases,
    write_report,
)
from zoo.export.variants import Comparison, Variant
from zoo.registry import architecture
from zoo.run import Run
from zoo.tasks import Requests, get_task
from zoo.tasks.captioning import CaptionTruth

HOSTILE = "<script>alert(1)</script>\"'><img src=http://example.org/x onerror=alert(2)>&amp;"
EXAMPLES = 30
_VOID = {"meta", "br", "img", "link", "input", "hr"}
_SVG_ALONE = {"circle", "polygon", "rect", "line", "polyline"}


class Page(HTMLParser):
    """Checks balance and safety while it reads; keeps tables, numbers and pictures."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.stack: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.rows: dict[str, list[list[float]]] = {}
        self.numbers: list[tuple[float, str]] = []
        self.text: list[str] = []
        self._table = ""
        self.feed(text)
        self.close()
        assert not self.stack

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.tags.append((tag, given))
        for name, value in given.items():
            assert not name.startswith("on")
            if name in ("src", "href", "srcset", "action", "data", "poster"):
                assert value.startswith("data:image/"), value
        if given.get("role") == "region":
            self._table = given["aria-label"]
        if tag == "tr" and "tbody" in self.stack:
            self.rows.setdefault(self._table, []).append([])
        if tag == "data":
            value = float(given["value"])
            self.numbers.append((value, ""))
            if "tbody" in self.stack:
                self.rows[self._table][-1].append(value)
        if tag not in _VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in _SVG_ALONE

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)
        if self.stack and self.stack[-1] == "data":
            self.numbers[-1] = (self.numbers[-1][0], data)
        if self.stack and self.stack[-1] == "style":
            assert "url(" not in data and "@import" not in data


def check_page(text: str) -> Page:
    """Parse a page, and check what holds for every one."""
    assert len(text) < 3_000_000
    page = Page(text)
    names = [tag for tag, _ in page.tags]
    assert not {"script", "link", "iframe", "object", "embed", "form", "base"} & set(names)
    policy = next(given["content"] for tag, given in page.tags if given.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")
    assert all(given.get("alt") for tag, given in page.tags if tag == "img")
    assert all(given.get("scope") for tag, given in page.tags if tag == "th")
    for tag, given in page.tags:
        if tag == "svg":
            assert given.get("aria-hidden") == "true" or (given["role"] == "img" and given["aria-label"])
    assert [tag for tag in names if tag in ("h1", "main")] == ["main", "h1"]
    assert names.count("thead") == names.count("table") == len([1 for _, given in page.tags if "tabindex" in given])
    for value, shown in page.numbers:
        number = shown.replace("−", "-").replace(",", "").split()
        scale = {"kB": 1e3, "MB": 1e6, "%": 0.01}.get(number[-1], 1.0)
        assert float(number[0]) * scale == pytest.approx(value, rel=0.051, abs=5.1e-5), shown
    return page


def check_against_json(page: Page, report: dict[str, Any]) -> None:
    """The tables show exactly the numbers of the JSON."""
    made = [variant for variant in report["variants"] if not variant["error"]]
    quality, speed = [], []
    for variant in made:
        numbers = [variant["bytes"], variant["flatbuffer_bytes"]]
        numbers += [] if variant["size_ratio"] is None else [variant["size_ratio"]]
        numbers += [variant["metric"], variant["drop"]] if report["metric"] else []
        numbers += [*variant["agreement"].values(), variant["difference"]["mean"], variant["difference"]["max"]]
        quality.append(numbers)
        for record in variant["latency"]:
            keys = ("threads", "load_ms", "first_ms", "p50_ms", "p95_ms", "peak_memory_mb", "model_memory_mb")
            speed.append([record[key] for key in keys])
    assert page.rows["Size and answers"] == quality
    assert page.rows["Speed and memory"] == speed
    counts = [variant["difference"]["histogram"] for variant in made]
    assert page.rows["Examples by difference"] == [list(row) for row in zip(*counts, strict=True)]
    totals = [sum(sum(types.values()) for types in variant["operators"].values()) for variant in made]
    assert page.rows["Operators"][-1] == totals


def untrained(name: str) -> Run:
    config = architecture(name).tiny()
    return Run(name=name, config=config, preprocessor=get_task(architecture(name).task).default_preprocessor(config))


def answers(name: str) -> tuple[Run, Requests, dict[str, np.ndarray], dict[str, np.ndarray]]:
    """A run, hostile examples, the Keras model's answers, and answers that differ more and more from the first on."""
    run, rng = untrained(name), np.random.default_rng(0)
    task, preprocessor = run.task, run.preprocessor
    ids = [f"{HOSTILE}{i}" for i in range(EXAMPLES)]
    grow = np.linspace(0, 1, EXAMPLES)
    if task.name == "captioning":
        tokens = rng.integers(4, 20, (EXAMPLES, 6)).astype(np.int32)
        expected = {
            "tokens": tokens,
            "length": np.full(EXAMPLES, 6, np.int32),
            "score": np.full((EXAMPLES, 1), -0.5, np.float32),
            "attention": np.full((EXAMPLES, 6, 2, 2), 0.25, np.float32),
        }
        changed = np.arange(6) < np.round(grow * 6)[:, None]
        actual = {**expected, "tokens": np.where(changed, tokens + 1, tokens)}
        truth = CaptionTruth(
            [(f"{HOSTILE} {i}", preprocessor.decode(tokens[i])) for i in range(EXAMPLES)], ids, [False] * EXAMPLES
        )
        images = rng.integers(0, 256, (EXAMPLES, 24, 24, 3)).astype(np.uint8)
        return run, Requests({"image": images}, truth, ids), expected, actual
    if task.name == "text_classification":
        classes = len(preprocessor.class_names)  # type: ignore[attr-defined]
        expected = {
            "probabilities": np.full((EXAMPLES, classes), 1 / classes, np.float32),
            "token_weights": np.full((EXAMPLES, preprocessor.max_length), 0.1, np.float32),  # type: ignore[attr-defined]
        }
        moved = np.eye(classes, dtype=np.float32)[np.zeros(EXAMPLES, int)] - expected["probabilities"]
        probabilities = expected["probabilities"] + grow[:, None].astype(np.float32) * moved
        texts = [f"{HOSTILE} text {i}" for i in range(EXAMPLES)]
        tokens = preprocessor.encode_all(texts)  # type: ignore[attr-defined]
        truth_ = (texts, rng.integers(0, classes, EXAMPLES))
        return run, Requests({"tokens": tokens}, truth_, ids), expected, {**expected, "probabilities": probabilities}
    window, horizon, columns = (getattr(preprocessor, key) for key in ("window", "horizon", "columns"))
    inputs = (100 + rng.normal(size=(EXAMPLES, window, len(columns)))).astype(np.float32)
    mean = np.full((EXAMPLES, horizon), 100, np.float32)
    quantiles = np.linspace(90, 110, len(preprocessor.levels), dtype=np.float32)  # type: ignore[attr-defined]
    expected = {
        "mean": mean,
        "quantiles": np.broadcast_to(quantiles, (EXAMPLES, horizon, len(quantiles))),
        "step_weights": np.full((EXAMPLES, window), 1 / window, np.float32),
    }
    days = np.datetime64("2020-01-01", "s") + np.arange(EXAMPLES) * np.timedelta64(86400, "s")
    series = {
        "future": 100 + rng.normal(size=(EXAMPLES, horizon)),
        "times": days,
        "dates": np.tile(days[:1], (EXAMPLES, window + horizon)),
        "series": np.full(EXAMPLES, HOSTILE, object),
    }
    actual = {**expected, "mean": mean + grow[:, None].astype(np.float32)}
    return run, Requests({"window": inputs}, series, ids), expected, actual


def comparison(name: str) -> tuple[Run, Comparison]:
    """Four variants: equal answers, other answers, refused ones, and one that was not made."""
    run, requests, expected, actual = answers(name)
    task = run.task
    scores = [
        float(task.score(outputs, requests, run.preprocessor)[task.main_metric]) for outputs in (expected, actual)
    ]
    drop = (scores[0] - scores[1]) / abs(scores[0]) * (1 if task.higher_is_better else -1)

    def variant(name: str, outputs: dict[str, np.ndarray], size: int, **more: Any) -> Variant:
        equal = outputs is expected
        record = {"load_ms": 2.5 * size / 900, "first_ms": 3.25, "p50_ms": 1.125, "p95_ms": 150.5}
        record |= {"peak_memory_mb": 55.5, "model_memory_mb": 12.25}
        return Variant(
            name,
            flatbuffer=bytes(size),
            bundle=bytes(size + 100),
            metric=scores[not equal],
            drop=0.0 if equal else drop,
            outputs=outputs,
            same=task.agreement(expected, outputs),
            latency=[{"threads": threads, **record} for threads in (1, 2)],
            facts={"operators_by_type": {"ADD": {"float32": size % 7 + 1, HOSTILE: 2}}, "serving_options": {}},
            **more,
        )

    variants = [
        variant("float32", expected, 4_000_000),
        variant("dynamic", actual, 2_000_000),
        variant("float16", actual, 900, refused=f"It loses too much {HOSTILE}."),
        Variant("int8", error=f"Quantising crashed: {HOSTILE}."),
    ]
    timing = {"threads": [1, 2], "runs": 5, "rounds": 3, "examples": 8}
    return run, Comparison(variants, requests, expected, "valid", task.main_metric, scores[0], 0.01, timing)


@pytest.mark.parametrize("name", ["caption_attn", "text_attn", "price_attn"])
def test_page_of_every_task(name: str) -> None:
    run, compared = comparison(name)
    report = describe(run, compared)
    pictures = {
        case["row"]: picture_address(compared.requests.inputs["image"][case["row"]])
        for variant in report["variants"]
        for case in variant.get("worst", ())
        if name == "caption_attn"
    }
    page = check_page(render_page(report, pictures))
    check_against_json(page, json.loads(json.dumps(report)))
    shown = "".join(page.text)
    for expected in (HOSTILE, "Quantising crashed", "does not pass the export gate", "was not made", "float32 is the"):
        assert expected in shown
    assert [tag for tag, _ in page.tags].count("img") == len(pictures) and bool(pictures) == (name == "caption_attn")
    assert [given["class"] for tag, given in page.tags if tag == "li" and "class" in given] == ["case"] * 2 * WORST
    labels = [given["aria-label"] for tag, given in page.tags if given.get("role") == "img"]
    metric = run.task.main_metric
    for start in (
        f"Size against {metric}. float32: ",
        f"Latency against {metric}. ",
        "Latency by threads. ",
        "How far ",
    ):
        assert sum(label.startswith(start) for label in labels) == 1
    if name == "price_attn":
        assert sum(label.startswith("Forecasts for ") for label in labels) == 2 * WORST


@pytest.mark.parametrize("name", ["caption_attn", "text_attn", "price_attn"])
def test_worst_examples(name: str) -> None:
    run, requests, expected, actual = answers(name)
    differences = run.task.difference(expected, actual)
    cases = worst_cases(run.task, run.preprocessor, requests, expected, actual, differences)
    got = [case["difference"] for case in cases]
    assert got == sorted(differences.tolist(), reverse=True)[:WORST] and got[0] > got[-1] > 0
    assert all(case["difference"] == differences[case["row"]] for case in cases)
    same = run.task.agreement(expected, actual)
    assert [case["same"] for case in cases] == [bool(same[case["row"]]) for case in cases]
    first = cases[0]
    value, truth = run.task.example(requests, first["row"], run.preprocessor)
    if name == "caption_attn":
        assert first["input"] is None and first["truth"] == truth
        assert first["expected"]["text"] != first["actual"]["text"]
        assert set(first["actual"]) == {"text", "score"}
    elif name == "text_attn":
        assert first["input"] == value and first["truth"] == truth
        assert first["actual"]["label"] == "class_0" and first["actual"]["probabilities"]["class_0"] == 1.0
    else:
        np.testing.assert_array_equal(first["input"], value)
        np.testing.assert_array_equal(first["truth"], truth)
        assert first["actual"]["mean"] == [101.0] * len(first["expected"]["mean"])
    json.dumps(cases)


def test_long_texts_are_cut() -> None:
    run, requests, expected, actual = answers("text_attn")
    requests.truth[0][-1] = "x" * 1_000_000
    cases = worst_cases(run.task, run.preprocessor, requests, expected, actual, run.task.difference(expected, actual))
    assert cases[0]["row"] == EXAMPLES - 1 and len(cases[0]["input"]) == 600 and cases[0]["input"].endswith("…")


def test_histogram() -> None:
    assert histogram(np.array([0.0, 0.5, 1.0, 1.5, 4.0, 99.0]), (1.0, 2.0, 4.0)) == [2, 2, 0, 2]
    assert bin_names((1.0, 2.5)) == ["< 1", "≥ 1", "≥ 2.5"]


def test_ticks_are_round_and_cover() -> None:
    rng = np.random.default_rng(0)
    for low, span in zip(rng.normal(0, 100, 500), 10 ** rng.uniform(-6, 6, 500), strict=True):
        got = ticks(low, low + span)
        assert 2 <= len(got) <= 8 and got == sorted(got)
        assert got[0] <= low + 1e-9 * span and got[-1] >= low + span * (1 - 1e-9)
    assert ticks(0, 10) == [0, 2, 4, 6, 8, 10]
    assert len(ticks(3.0, 3.0)) >= 2 and len(ticks(0.0, 0.0)) >= 2


def test_pictures_are_small() -> None:
    rng = np.random.default_rng(0)
    for size, kind in (((72, 72), "png"), ((300, 160), "jpeg")):
        address = picture_address(rng.integers(0, 256, (*size, 3)).astype(np.uint8))
        start, _, content = address.partition(",")
        assert start == f"data:image/{kind};base64" and len(address) < 60_000
        assert max(Image.open(io.BytesIO(base64.b64decode(content))).size) == min(160, max(size))


def test_rows_of_the_terminal() -> None:
    run, compared = comparison("price_attn")
    report = describe(run, compared)
    rows = quality_rows(report)
    assert [row["variant"] for row in rows] == ["float32", "dynamic", "float16", "int8"]
    assert [row["gate"] for row in rows] == ["passed", "passed", "refused", "not made"]
    assert len({tuple(row) for row in rows}) == 1
    assert rows[1]["of float32"] == "50.00%" and rows[0]["same answers"] == "30 of 30" and rows[3]["kB"] == "-"
    assert rows[1]["largest difference"] == report["variants"][1]["difference"]["max"]
    speed = speed_rows(report)
    assert [(row["variant"], row["threads"]) for row in speed[:3]] == [("float32", 1), ("float32", 2), ("dynamic", 1)]
    assert len(speed) == 6 and speed[0]["p50 ms"] == 1.125 and speed[0]["peak MiB"] == 55.5
    assert [line.split(":")[0] for line in problems(report)] == ["float16", "int8"]


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("kept")
    with pytest.raises(ZooError, match="it is a file; give a folder name"):
        write_report(untrained("price_attn"), tmp_path / "mine")
    with pytest.raises(ZooError, match="not a folder that can be written to"):
        write_report(untrained("price_attn"), tmp_path / "mine" / "report")
    assert (tmp_path / "mine").read_text() == "kept"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"budget": -0.1}, "budget"),
        ({"examples": 0}, "examples"),
        ({"threads": ()}, "at least 1 run and 1 thread"),
        ({"runs": 0}, "at least 1 run and 1 thread"),
        ({"rounds": 0}, "rounds"),
        ({"names": ("int4",)}, "int4"),
    ],
)
def test_bad_options_are_refused_before_the_work(tmp_path: Path, options: dict[str, Any], says: str) -> None:
    lines: list[str] = []
    with pytest.raises(ConfigError if says != "int4" else UnknownNameError, match=says) as caught:
        write_report(untrained("price_attn"), tmp_path / "report", progress=lines.append, **options)
    assert "\n" not in str(caught.value) and not lines
    assert list(tmp_path.iterdir()) == []


def test_report_of_an_untrained_model(tmp_path: Path) -> None:
    keras.utils.set_random_seed(1)
    run = untrained("price_attn")
    for weight in run.model.trainable_weights:
        weight.assign(weight + keras.random.normal(weight.shape, stddev=0.1))
    lines: list[str] = []
    folder = tmp_path / "new" / "report"
    report = run.report(folder, names=("float16",), examples=12, threads=(1,), runs=2, rounds=1, progress=lines.append)
    assert sorted(path.name for path in folder.iterdir()) == ["report.html", "report.json"]
    assert json.loads((folder / "report.json").read_text()) == json.loads(json.dumps(report))
    check_against_json(check_page((folder / "report.html").read_text()), report)
    assert report["metric"] is None and report["split"] is None and report["choice"] == {"size": None, "latency": None}
    (variant,) = report["variants"]
    assert variant["size_ratio"] is None and variant["metric"] is None and not variant["error"]
    assert variant["bytes"] > variant["flatbuffer_bytes"] > 0 and variant["agreement"]["of"] == 12
    assert 0 < variant["difference"]["max"] == variant["worst"][0]["difference"] < 0.1
    assert [record["threads"] for record in variant["latency"]] == [1]
    assert variant["command"] == "zoo export price_attn --quantize float16"
    assert lines[0].startswith("Answer 12 examples") and "Convert float16" in lines[1] and lines[-1].endswith("1 of 1")


@pytest.mark.full
def test_command_on_a_trained_run_with_hostile_texts(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = ["text,label"]
    for number in range(160):
        label, word = (("good", "lovely"), ("bad", "awful"))[number % 2]
        quoted = HOSTILE.replace('"', '""')
        rows.append(f'"{word} {quoted} {" ".join(rng.choice(list("abcdefghij"), 5))} {number}",{label}')
    data = tmp_path / "texts.csv"
    data.write_text("\n".join(rows), encoding="utf-8")
    run = train("text_attn", data=str(data), quick=True, out=tmp_path / "run", quiet=True)
    assert run.folder is not None
    words = ["report", str(run.folder), "-o", str(tmp_path / "report"), "--budget", "0.5", "--threads", "1", "2"]
    done = subprocess.run(
        [sys.executable, "-P", "-m", "zoo", *words, "--json"], capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    report = json.loads(done.stdout)
    assert report == json.loads((tmp_path / "report" / "report.json").read_text())
    assert "Convert int8 and answer without TensorFlow" in done.stderr and "round 3 of 3" in done.stderr
    page = check_page((tmp_path / "report" / "report.html").read_text())
    check_against_json(page, report)
    assert HOSTILE in "".join(page.text)
    assert [variant["name"] for variant in report["variants"]] == ["float32", "float16", "dynamic", "int8"]
    assert not any(variant["error"] for variant in report["variants"])
    assert report["metric"]["name"] == "macro_f1" and report["metric"]["budget"] == 0.5
    smallest = min(report["variants"], key=lambda variant: variant["bytes"])
    fastest = min(report["variants"], key=lambda variant: variant["latency"][0]["p50_ms"])
    assert report["choice"] == {"size": smallest["name"], "latency": fastest["name"]}
    assert f"zoo export {run.folder} --quantize {smallest['name']} --budget 0.5" in "".join(page.text)
    for variant in report["variants"]:
        worst = [case["difference"] for case in variant["worst"]]
        assert worst == sorted(worst, reverse=True) and worst[0] == variant["difference"]["max"]
        assert len(worst) == min(WORST, report["examples"])
