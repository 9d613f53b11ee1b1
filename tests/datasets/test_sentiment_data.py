from __future__ import annotations

from collections import Counter

import pytest

from zoo import datasets
from zoo.datasets.tweets import repair


@pytest.fixture(scope="module", params=["tweets", "reviews_zh"])
def data(request):
    return datasets.load(request.param, task="text_classification")


def test_counts_and_shares(data):
    counts = {name: len(source) for name, source in data.splits().items()}
    total = sum(counts.values())
    assert total == {"tweets": 37214, "reviews_zh": 17396}[data.name]
    assert counts["valid"] / total == pytest.approx(0.1, abs=0.005)
    assert counts["test"] / total == pytest.approx(0.1, abs=0.005)


def test_labels_are_stratified(data):
    shares = []
    for source in data.splits().values():
        labels = Counter(record["label"] for record in source)
        assert set(labels) == set(data.class_names)
        shares.append([labels[name] / len(source) for name in data.class_names])
    for column in zip(*shares, strict=True):
        assert max(column) - min(column) < 0.02


def test_no_text_and_no_group_straddles(data):
    owner: dict[str, str] = {}
    texts: set[str] = set()
    for name, source in data.splits().items():
        for record in source:
            assert owner.setdefault(record["group"], name) == name
            assert record["text"] not in texts
            texts.add(record["text"])


def test_splits_are_mixed_and_repeatable(data):
    train = data.split("train")
    assert len({train[i]["label"] for i in range(30)}) == len(data.class_names)
    again = datasets.load(data.name, task="text_classification").split("train")
    assert [record["id"] for record in again] == [record["id"] for record in train]
    other = datasets.load(data.name, task="text_classification", seed=3).split("test")
    assert {record["id"] for record in other} != {record["id"] for record in data.split("test")}


def test_tweets_are_clean():
    tweets = datasets.load("tweets", task="text_classification")
    assert tweets.language == "en"
    texts = [record["text"] for source in tweets.splits().values() for record in source]
    assert all(text.isprintable() for text in texts)
    assert {char for text in texts for char in text if not char.isascii()} <= {"\u2019"}
    assert not any("&amp;" in text or "&lt;" in text for text in texts)
    assert sum("can't" in text for text in texts) > 700


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("I can\xc8t wait", "I can't wait"),
        ("it\xd5\xa2_\x8a\xce_\x86\xa2s a robot", "it's a robot"),
        ("I\x8a\x97\xc8ve been. it\x8c\xc7s", "I've been. it's"),
        ("this _\xf4\xd6\x89_ is just driverless", "this is just driverless"),
        ("a &amp; b &lt;3\r\nc", "a & b <3 c"),
        ("down _ @some_one", "down @some_one"),
        ("YOU\xc8RE", "YOU'RE"),
        ("&amp;quot;tea&not coffee&amp;quot;", '"tea&not coffee"'),
    ],
)
def test_repair(raw, clean):
    assert repair(raw) == clean


def test_reviews_are_chinese():
    reviews = datasets.load("reviews_zh", task="text_classification")
    assert reviews.language == "zh"
    texts = [record["text"] for record in reviews.split("test")]
    assert sum(any("\u4e00" <= char <= "\u9fff" for char in text) for text in texts) > 0.98 * len(texts)
