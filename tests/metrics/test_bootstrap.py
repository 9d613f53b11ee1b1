"""Bootstrap intervals, and the rows of a report."""

import subprocess
import sys

import numpy as np
import pytest

from zoo.errors import DataError
from zoo.metrics.bootstrap import bootstrap_interval, paired_bootstrap, resamples
from zoo.metrics.classification import macro_f1
from zoo.metrics.report import summarise


def test_width_is_that_of_the_standard_error():
    values = np.random.default_rng(0).normal(3, 2, 400)
    mean, low, high = bootstrap_interval(values, seed=1)
    assert mean == pytest.approx(values.mean())
    assert (high - low) / 2 == pytest.approx(1.96 * values.std() / 20, rel=0.1)


def test_equal_seeds_are_equal():
    values = np.arange(30.0)
    assert bootstrap_interval(values, n=100, seed=7) == bootstrap_interval(values, n=100, seed=7)
    assert bootstrap_interval(values, n=100, seed=7) != bootstrap_interval(values, n=100, seed=8)


def test_pairing_removes_what_both_share():
    hard = np.random.default_rng(0).normal(0, 5, 300)
    difference, low, high = paired_bootstrap(hard + 0.5, hard)
    assert (difference, low, high) == pytest.approx((0.5, 0.5, 0.5))
    assert paired_bootstrap(hard, hard) == (0, 0, 0)


def test_swapping_mirrors():
    random = np.random.default_rng(0)
    a, b = random.normal(size=50), random.normal(size=50)
    difference, low, high = paired_bootstrap(a, b, n=200)
    assert paired_bootstrap(b, a, n=200) == pytest.approx((-difference, -high, -low))


def test_functions_of_indices():
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, 300)
    good = np.where(random.random(300) < 0.8, labels, 0)
    bad = np.where(random.random(300) < 0.4, labels, 0)
    difference, low, high = paired_bootstrap(
        lambda i: macro_f1(labels[i], good[i], 3), lambda i: macro_f1(labels[i], bad[i], 3), size=300, n=300
    )
    assert difference == pytest.approx(macro_f1(labels, good, 3) - macro_f1(labels, bad, 3))
    assert 0 < low < difference < high
    mixed = paired_bootstrap(lambda i: 1.0, np.zeros(300), n=10)
    assert mixed == (1, 1, 1)


def test_blocks_are_runs_of_neighbours():
    for indices in resamples(12, n=20, block=4):
        assert len(indices) == 12
        runs = indices.reshape(3, 4)
        assert ((runs - runs[:, :1]) % 12 == np.arange(4)).all()


def test_every_example_is_drawn_as_often():
    counts = np.bincount(np.concatenate(list(resamples(10, n=4000, block=5))), minlength=10)
    np.testing.assert_allclose(counts / 4000, 1, atol=0.08)


def test_groups_stay_whole():
    groups = ["a", "b", "a", "c", "b", "a"]
    for indices in resamples(6, n=20, groups=groups):
        counts = np.bincount(indices, minlength=6)
        assert counts[0] == counts[2] == counts[5]
        assert counts[1] == counts[4]
        assert counts[0] + counts[1] + counts[3] == 3


def test_groups_widen_the_interval():
    values = np.repeat(np.random.default_rng(0).normal(size=40), 10)

    def width(**options):
        _, low, high = bootstrap_interval(values, **options)
        return high - low

    assert width(groups=np.repeat(np.arange(40), 10)) > 2 * width()
    assert width(block=10) > 2 * width()


@pytest.mark.parametrize(
    "call",
    [
        lambda: bootstrap_interval(np.zeros(0)),
        lambda: bootstrap_interval(np.zeros(3), block=0),
        lambda: bootstrap_interval(np.zeros(3), groups=["a"]),
        lambda: bootstrap_interval(np.zeros((3, 2))),
        lambda: bootstrap_interval(lambda i: 0.0),
        lambda: paired_bootstrap(np.zeros(3), np.zeros(4)),
        lambda: paired_bootstrap(lambda i: 0.0, lambda i: 0.0),
    ],
)
def test_bad_input_is_named(call):
    with pytest.raises(DataError) as error:
        call()
    assert "\n" not in str(error.value)


def test_rows_put_the_model_beside_its_baselines():
    model = {"cider": 8.0, "cider_se": 0.1, "classes": {"good": {"f1": 0.5}}}
    rows = summarise(model, {"nearest": {"cider": 4.0}}, ["cider", "classes.good.f1", "absent"], name="caption_attn")
    assert rows == [
        {"name": "caption_attn", "cider": 8.0, "cider_se": 0.1, "classes.good.f1": 0.5, "absent": None},
        {"name": "nearest", "cider": 4.0, "cider_se": None, "classes.good.f1": None, "absent": None},
    ]


def test_importing_brings_no_heavy_package():
    code = (
        "import sys, zoo.metrics.captions, zoo.metrics.baselines_captions, zoo.metrics.classification, "
        "zoo.metrics.baselines_text, zoo.metrics.forecasts, zoo.metrics.baselines_forecast, zoo.metrics.report, "
        "zoo.explain.pictures; "
        "print(sorted({'sklearn', 'matplotlib', 'pycocoevalcap', 'emoji', 'keras', 'tensorflow', 'jax', 'scipy'} "
        "& set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
