from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from PIL import Image

from zoo import datasets
from zoo.datasets.emoji import LANGUAGES, base_of
from zoo.errors import ConfigError


def emoji(**options):
    return datasets.load("emoji", task="captioning", **options)


@pytest.fixture(scope="module")
def splits():
    return emoji().splits()


def groups(source):
    return Counter(record["group"] for record in source)


def pixels(record) -> bytes:
    with Image.open(record["image"]) as image:
        picture = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).tobytes()


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("1f44b", "1f44b-1f3fb"),  # tone
        ("1f9d1-200d-1f680", "1f469-1f3fd-200d-1f680"),  # person, woman
        ("1f3c3", "1f3c3-1f3fb-200d-2640-fe0f-200d-27a1-fe0f"),  # facing right
        ("1f9d1", "1f468-1f3ff-200d-1f9b2"),  # bald
        ("1f46f", "1f469-1f3fb-200d-1f430-200d-1f469-1f3fc"),  # bunny ears
        ("1f93c-200d-2642-fe0f", "1f468-1f3fb-200d-1faef-200d-1f468-1f3fc"),  # wrestling
        ("1f491", "1f468-1f3fb-200d-2764-fe0f-200d-1f468-1f3ff"),
        ("1f48f", "1f469-200d-2764-fe0f-200d-1f48b-200d-1f468"),
        ("1f46b", "1f9d1-1f3fb-200d-1f91d-200d-1f9d1-1f3fc"),
        ("1f46a", "1f468-200d-1f469-200d-1f467"),
        ("1f46a", "1f9d1-200d-1f9d2-200d-1f9d2"),
        ("1f91d-1f3fb", "1faf1-1f3fb-200d-1faf2-1f3fc"),
        ("1f385", "1f9d1-200d-1f384"),
    ],
)
def test_variants_have_one_base(first, second):
    assert base_of(first) == base_of(second)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("1f680", "1f9d1-200d-1f680"),  # a rocket is no astronaut
        ("2764", "1f491"),
        ("1f1eb-1f1f7", "1f1e9-1f1ea"),
        ("1f9d1", "1f9d2"),
        ("27a1", "2b05"),
        ("1f3fb", "1f3ff"),
    ],
)
def test_different_emoji_have_different_bases(first, second):
    assert base_of(first) != base_of(second)


def test_counts(splits):
    counts = {name: len(source) for name, source in splits.items()}
    assert set(counts) == {"train", "valid", "test", "variants"}
    assert counts["train"] > 3000
    assert counts["valid"] > 140
    assert counts["test"] > 180
    assert counts["variants"] > 180


def test_test_groups_were_never_seen(splits):
    test = groups(splits["test"])
    assert not test.keys() & (groups(splits["train"]) + groups(splits["valid"]) + groups(splits["variants"])).keys()
    assert max(test.values()) <= 4
    assert any(record["is_flag"] for record in splits["test"])
    assert len([group for group, count in test.items() if count > 1]) >= 10


def test_variants_are_of_seen_emoji(splits):
    train, variants = groups(splits["train"]), groups(splits["variants"])
    assert all(train[group] >= 2 for group in variants)
    large = [group for group in variants if train[group] + variants[group] >= 40]
    assert large and all(0.08 < variants[group] / (train[group] + variants[group]) < 0.16 for group in large)
    seen = {caption for record in splits["train"] for caption in record["captions"]}
    assert not any(seen.intersection(record["captions"]) for record in splits["variants"])


def test_valid_holds_both_kinds(splits):
    train = groups(splits["train"])
    kinds = Counter(record["group"] in train for record in splits["valid"])
    assert min(kinds.values()) >= 30


def test_equal_pictures_are_one_record(splits):
    records = [record for source in splits.values() for record in source]
    assert len({record["id"] for record in records}) == len(records)
    assert len({pixels(record) for record in records}) == len(records)
    several = [record for record in records if len(record["captions"]) > 1]
    assert any({"France", "Clipperton Island"} <= set(record["captions"]) for record in several)
    assert len(several) >= 8


def test_no_name_stands_in_two_groups(splits):
    owner: dict[str, str] = {}
    for source in splits.values():
        for record in source:
            for caption in record["captions"]:
                assert owner.setdefault(caption, record["group"]) == record["group"]


def test_names_are_plain_text(splits):
    for record in splits["train"]:
        for caption in record["captions"]:
            assert caption == " ".join(caption.split())
            assert caption
            assert not {":", "_"} & set(caption)
    by_id = {record["id"]: record for source in splits.values() for record in source}
    assert by_id["1f44b-1f3fb"]["captions"] == ("waving hand light skin tone",)
    assert by_id["1f44b-1f3fb"]["tone"] == "light"
    assert by_id["1f44b"]["tone"] == ""
    flags = [record for record in by_id.values() if record["is_flag"]]
    assert 240 < len(flags) < 275


def test_languages_share_the_splits(splits):
    chinese = emoji(language="zh").splits()
    for name, source in splits.items():
        assert [record["id"] for record in source] == [record["id"] for record in chinese[name]]
    by_id = {record["id"]: record for source in chinese.values() for record in source}
    assert by_id["1f44b-1f3fb"]["captions"] == ("挥手 较浅肤色",)
    assert emoji(language="zh").language == "zh"
    assert len(LANGUAGES) == 14


@pytest.mark.parametrize("language", ["de", "ja", "tr"])
def test_every_language_names_every_picture(splits, language):
    translated = emoji(language=language).split("test")
    assert all(record["captions"] for record in translated)
    pairs = zip(splits["test"], translated, strict=True)
    assert np.mean([a["captions"] != b["captions"] for a, b in pairs]) > 0.85


def test_seed_and_fractions(splits):
    again, other = emoji().splits(), emoji(seed=1).splits()
    assert [dict(record) for record in again["test"]] == [dict(record) for record in splits["test"]]
    assert {record["id"] for record in other["test"]} != {record["id"] for record in splits["test"]}
    none = emoji(test_fraction=0.0, variants_fraction=0.0).splits()
    assert (len(none["test"]), len(none["variants"])) == (0, 0)


def test_bad_options():
    with pytest.raises(ConfigError, match="language is 'xx'; it must be one of 'en'"):
        emoji(language="xx")
    with pytest.raises(ConfigError, match="valid_fraction"):
        emoji(valid_fraction=0.9)
