from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from zoo.tasks._sampling import draw, truncate, uniform_numbers

LARGEST = float(np.nextafter(np.float32(1), np.float32(0)))
_MODULI = (30269, 30307, 30323)


@st.composite
def chances(draw_from: st.DrawFn) -> np.ndarray:
    """Log-probabilities (3, V) with ties, near-certain and impossible tokens."""
    size = draw_from(st.integers(2, 40))
    numbers = st.one_of(st.sampled_from([0.0, -1.0, -1e9]), st.floats(-30, 5, width=32))
    rows = np.array(draw_from(st.lists(st.lists(numbers, min_size=size, max_size=size), min_size=3, max_size=3)))
    rows[:, draw_from(st.integers(0, size - 1))] = 0.0  # something is possible
    return rows.astype(np.float32)


def shares_of(logs: np.ndarray) -> np.ndarray:
    shares = np.exp(logs.astype(np.float64) - logs.max(-1, keepdims=True))
    return shares / shares.sum(-1, keepdims=True)


@settings(max_examples=120, deadline=None)
@given(
    logs=chances(),
    top_k=st.integers(0, 45),
    top_p=st.one_of(st.just(1.0), st.floats(0.001, 1.0)),
    uniforms=st.lists(
        st.one_of(st.sampled_from([0.0, LARGEST]), st.floats(0, LARGEST, width=32)), min_size=3, max_size=3
    ),
)
def test_what_is_drawn_is_never_outside_the_allowed_set(
    logs: np.ndarray, top_k: int, top_p: float, uniforms: list[float]
) -> None:
    kept = np.array(truncate(logs, top_k=top_k, top_p=top_p))
    tokens = np.array(draw(kept, np.array(uniforms, np.float32)))
    for row, token in enumerate(tokens):
        values = logs[row]
        assert 0 <= token < len(values) and kept[row, token] == values[token]
        assert shares_of(kept[row])[token] > 0
        better = values > values[token]
        assert not top_k or better.sum() < top_k
        among = np.sort(values)[::-1][: top_k or None]  # the nucleus is one of what top_k leaves
        before = shares_of(among)[among > values[token]].sum()
        assert top_p == 1.0 or before < top_p + 1e-5
        allowed = kept[row] == values  # and it reaches the share
        assert np.isin(values.argmax(), np.flatnonzero(allowed))
        if top_p < 1.0:
            assert shares_of(among)[among >= values[allowed].min()].sum() >= top_p - 1e-5


@settings(max_examples=60, deadline=None)
@given(logs=chances(), uniform=st.floats(0, LARGEST, width=32))
def test_a_token_is_where_the_cumulative_distribution_passes_the_number(logs: np.ndarray, uniform: float) -> None:
    tokens = np.array(draw(logs, np.full(3, uniform, np.float32)))
    for row, token in enumerate(tokens):
        sums = np.cumsum(shares_of(logs[row]))
        before = sums[token] - shares_of(logs[row])[token]
        assert before <= uniform + 1e-5 and sums[token] >= uniform - 1e-5


def test_by_hand() -> None:
    logs = np.log(np.array([[0.1, 0.4, 1e-30, 0.3, 0.2]], np.float32))
    numbers = [0.0, 0.0999, 0.1001, 0.4999, 0.5001, 0.7999, 0.8001, LARGEST]
    assert [int(draw(logs, np.array([number], np.float32))[0]) for number in numbers] == [0, 0, 1, 1, 3, 3, 4, 4]
    for options, left in (
        ({"top_k": 2}, [1, 3]),
        ({"top_p": 0.35}, [1]),
        ({"top_p": 0.65}, [1, 3]),
        ({"top_p": 0.75}, [1, 3, 4]),
        ({"top_k": 3, "top_p": 0.75}, [1, 3]),  # 0.4 and 0.3 of 0.9
        ({"top_k": 99, "top_p": 1.0}, [0, 1, 2, 3, 4]),
    ):
        assert np.flatnonzero(np.array(truncate(logs, **options))[0] > -1e8).tolist() == left


def reference(seed: int, count: int) -> list[float]:
    """The generator in whole numbers of any size."""
    starts = [
        (1 + seed % (_MODULI[0] - 1)) ** 3,
        1 + seed // (_MODULI[0] - 1) % (_MODULI[1] - 1),
        (1 + seed % (_MODULI[2] - 1)) ** 3,
    ]
    numbers = []
    for step in range(1, 1001 + count):
        starts = [a * s % m for a, s, m in zip((171, 172, 170), starts, _MODULI, strict=True)]
        if step > 1000:
            numbers.append(sum(s / m for s, m in zip(starts, _MODULI, strict=True)) % 1)
    return numbers


@pytest.mark.parametrize("seed", [0, 1, 30267, 30268, 123456789, 2**31 - 1, -1, -(2**31)])
def test_numbers_are_those_of_wichmann_and_hill(seed: int) -> None:
    numbers = np.array(uniform_numbers(np.int32(seed), 60))
    assert numbers.dtype == np.float32 and (numbers >= 0).all() and (numbers < 1).all()
    np.testing.assert_allclose(numbers, reference(seed, 60), atol=1e-6)


def test_numbers_of_neighbouring_seeds_and_steps_have_nothing_to_do_with_each_other() -> None:
    count, steps = 5000, 20
    numbers = np.array(uniform_numbers(np.arange(count, dtype=np.int32)[:, None], steps))
    pairs = [(numbers[:, a], numbers[:, b]) for a in range(steps) for b in range(a)]
    pairs += [(numbers[:-gap, a], numbers[gap:, a]) for a in range(steps) for gap in (1, 2)]
    values = []
    for first, second in pairs:
        seen = np.histogram2d(first, second, bins=8, range=[[0, 1]] * 2)[0].ravel()
        values.append(stats.chisquare(seen).pvalue)
    assert min(values) > 0.01 / len(pairs)  # as of random numbers: none too unequal,
    assert stats.kstest(values, "uniform").pvalue > 0.001  # and not too equal either
    assert max(abs(np.corrcoef(*pair)[0, 1]) for pair in pairs) < 5 / count**0.5


SEARCHES = """
import keras, numpy as np
from zoo.layers.transformer_decoder import TransformerDecoder
from zoo.tasks._sampling import uniform_numbers
from zoo.tasks._search import beam_search, greedy_search, sample_search

def found(weights):
    decoder = TransformerDecoder(30, 16, 2, 32, 1, 8)
    decoder.build((6, 8), (6, 5, 16))
    for weight, value in zip(decoder.trainable_weights, weights or made(decoder), strict=True):
        weight.assign(value)
    memory = np.random.default_rng(1).normal(size=(6, 5, 16)).astype("float32")
    numbers = uniform_numbers(np.arange(6, dtype=np.int32)[:, None], 8)
    rules = {"max_length": 8, "never": ((4,), (5, 6)), "no_repeat_ngram": 2}
    answers = {
        "greedy": greedy_search(decoder, memory, **rules),
        "beam": beam_search(decoder, memory, width=3, must=((7,), (8, 9)), **rules),
        "plain": sample_search(decoder, memory, numbers, max_length=8),
        "ruled": sample_search(decoder, memory, numbers, temperature=1.2, top_k=20, top_p=0.95, **rules),
    }
    parts = [(f"{key}/{name}", value) for key in answers for name, value in answers[key]._asdict().items()]
    return decoder, {name: np.array(value) for name, value in parts}

def made(decoder):
    rng = np.random.default_rng(0)
    return [np.array(weight) + 0.4 * rng.normal(size=weight.shape) for weight in decoder.trainable_weights]
"""


@pytest.mark.full
def test_the_other_backend_finds_and_draws_the_same(tmp_path: Path) -> None:
    here: dict[str, Any] = {}
    exec(SEARCHES, here)
    decoder, expected = here["found"](None)
    np.savez(tmp_path / "weights.npz", *[keras.ops.convert_to_numpy(weight) for weight in decoder.trainable_weights])
    script = f"{SEARCHES}\nweights = np.load('weights.npz')\n"
    script += "np.savez('answers.npz', **found([weights[f'arr_{i}'] for i in range(len(weights.files))])[1])"
    other = "jax" if keras.backend.backend() == "tensorflow" else "tensorflow"
    done = subprocess.run(
        [sys.executable, "-P", "-c", script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "KERAS_BACKEND": other, "JAX_PLATFORMS": "cpu"},
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "answers.npz") as actual:
        assert set(actual.files) == set(expected)
        for name, array in expected.items():
            np.testing.assert_allclose(actual[name], array, atol=1e-4, err_msg=name)
    assert (expected["plain/tokens"] != expected["ruled/tokens"]).any()
