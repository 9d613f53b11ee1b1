"""The forecasting task: targets and losses by hand, no leak from the future, and a planted signal that is found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

from zoo import datasets
from zoo.api import build_from_config
from zoo.execution import compile_serving
from zoo.metrics.forecasts import pinball_loss
from zoo.models.price_attn import PriceAttn
from zoo.preprocess.series import SeriesPreprocessor
from zoo.tasks.forecasting import TASK, mean_loss, quantile_loss

TINY = PriceAttn.tiny()
COLUMNS = ("open", "high", "low", "close", "volume")


def prices(days: int, seed: int = 0, phi: float = 0.0) -> np.ndarray:
    """Open, high, low, close and volume whose log returns are an autoregression with coefficient phi."""
    rng = np.random.default_rng(seed)
    shocks = rng.normal(0, 0.01, days)
    returns = shocks.copy()
    for day in range(1, days):
        returns[day] = phi * returns[day - 1] + shocks[day]
    close = 100 * np.exp(np.cumsum(returns))
    spread = rng.uniform(0.001, 0.01, (2, days))
    return np.stack([close, close * (1 + spread[0]), close * (1 - spread[1]), close, rng.uniform(1e5, 1e6, days)], 1)


def record(values: np.ndarray, name: str = "A", first_target: int = 0) -> dict[str, Any]:
    return {
        "id": name,
        "columns": COLUMNS,
        "target": "close",
        "dates": np.datetime64("2020-01-01") + np.arange(len(values)),
        "values": values.astype(np.float32),
        "split_factor": np.ones(len(values), np.float32),
        "first_target": first_target,
    }


def fit(source: list[dict[str, Any]], config: Any = TINY) -> tuple[SeriesPreprocessor, Any]:
    preprocessor = SeriesPreprocessor.fit(source, window=config.window, horizon=config.horizon, levels=config.levels)
    return preprocessor, TASK.configure(config, preprocessor)


def test_examples_gather_across_series() -> None:
    source = [record(prices(40, 1), "A"), record(prices(10, 2), "short"), record(prices(30, 3), "B", first_target=20)]
    preprocessor, config = fit(source)
    examples = TASK.examples(source, preprocessor, config)
    assert len(examples) == (40 - 12 - 3 + 1) + 0 + (30 - 20 - 3 + 1)
    inputs, targets, weights = examples.batch(np.array([25, 0, 26, 33]), None)
    assert weights is None
    for row, (one, end) in enumerate([(0, 36), (0, 11), (2, 19), (2, 26)]):
        values = source[one]["values"]
        np.testing.assert_allclose(inputs["window"][row], values[end - 11 : end + 1], rtol=1e-6)
        np.testing.assert_allclose(targets["mean"][row, :, 0], values[end + 1 : end + 4, 3], rtol=1e-6)
        np.testing.assert_allclose(targets["mean"][row, :, 2], values[end, 3], rtol=1e-6)
    unit = targets["mean"][..., 1]
    np.testing.assert_allclose(unit / unit[:, :1], np.tile(np.sqrt([1, 2, 3]), (4, 1)), rtol=1e-5)
    np.testing.assert_allclose(targets["quantiles"][..., 3:], np.broadcast_to(config.levels, (4, 3, 5)), rtol=1e-6)


def test_losses_by_hand() -> None:
    future, unit, last = np.array([[10.0, 11.0]]), np.array([[2.0, 4.0]]), 9.0
    mean = np.array([[9.0, 31.0]])  # off by half a unit and by five units
    levels = np.array([0.1, 0.5, 0.9])
    quantiles = np.array([[[8.0, 9.0, 12.0], [10.0, 11.0, 11.5]]])
    packed = np.stack([future, unit, np.full_like(unit, last)], -1)
    truth = np.concatenate([packed, np.broadcast_to(levels, (1, 2, 3))], -1)
    expected = np.array([[0.5 * 0.5**2, 3 * 5 - 0.5 * 9]]) + 0.08 * np.abs(mean - last) / unit
    np.testing.assert_allclose(ops.convert_to_numpy(mean_loss(packed, mean)), expected, rtol=1e-6)
    expected = pinball_loss(quantiles, levels, future).mean(-1) / unit
    np.testing.assert_allclose(ops.convert_to_numpy(quantile_loss(truth, quantiles)), expected, rtol=1e-6)


def test_requests_are_spread_and_named() -> None:
    source = [record(prices(40, 1), "A"), record(prices(60, 2), "B", first_target=30)]
    preprocessor, _ = fit(source)
    everything = TASK.requests(source, preprocessor)
    assert len(everything) == 26 + 28 and everything.ids[0] == "A@2020-01-12"
    few = TASK.requests(source, preprocessor, limit=5)
    assert len(few) == 5 and few.ids[0] == everything.ids[0] and few.ids[-1] == everything.ids[-1]
    assert set(few.truth["series"]) == {"A", "B"}
    np.testing.assert_array_equal(few.truth["dates"][:, 11], few.truth["times"])


def test_untrained_scores_as_persistence_and_ewma() -> None:
    source = [record(prices(120, 1), "A"), record(prices(120, 2), "B")]
    preprocessor, config = fit(source)
    model = build_from_config("price_attn", config)
    requests = TASK.requests(source, preprocessor)
    outputs = compile_serving(TASK.serving(model, batch_size=64))(requests.inputs)
    np.testing.assert_array_equal(outputs["mean"], np.repeat(requests.inputs["window"][:, -1:, 3], 3, 1))
    assert (np.diff(outputs["quantiles"], axis=-1) > 0).all()

    class Data:
        def split(self, name: str) -> list[dict[str, Any]]:
            return source

    metrics = TASK.score(outputs, requests, preprocessor)
    baselines = TASK.baselines(Data(), "test", preprocessor, requests)  # type: ignore[arg-type]
    assert set(baselines) == {"persistence", "drift", "ewma", "ewma_calibrated"}
    assert metrics["rmse_ratio"] == pytest.approx(1.0) and metrics["rmse"] == baselines["persistence"]["rmse"]
    assert metrics["pinball"] == pytest.approx(baselines["ewma"]["pinball"], rel=1e-4)
    assert set(metrics["per_series"]) == {"A", "B"} and metrics["coverage_nominal"] == pytest.approx(0.8)
    # calibrated on the very windows it is judged on
    assert baselines["ewma_calibrated"]["pinball"] < baselines["ewma"]["pinball"]


def test_series_that_cross_zero() -> None:
    values = np.random.default_rng(0).normal(size=(150, 5))
    preprocessor, config = fit([record(values)])
    assert not config.log_prices
    model = build_from_config("price_attn", config)
    requests = TASK.requests([record(values)], preprocessor)
    outputs = compile_serving(TASK.serving(model, batch_size=64))(requests.inputs)
    np.testing.assert_array_equal(outputs["mean"][:, 0], requests.inputs["window"][:, -1, 3])

    class Data:
        def split(self, name: str) -> list[dict[str, Any]]:
            return [record(values)]

    baselines = TASK.baselines(Data(), "test", preprocessor, requests)  # type: ignore[arg-type]
    metrics = TASK.score(outputs, requests, preprocessor)
    assert metrics["pinball"] == pytest.approx(baselines["ewma"]["pinball"], rel=1e-4)


def test_agreement_is_relative_to_the_price() -> None:
    expected = {"mean": np.full((3, 2), 200.0), "quantiles": np.full((3, 2, 5), 200.0)}
    actual = {name: array.copy() for name, array in expected.items()}
    actual["mean"][0] += 0.019
    actual["quantiles"][1, 0, 0] += 0.021
    actual["mean"][2] = np.nan
    assert TASK.agreement(expected, actual).tolist() == [True, False, False]


def write_csv(path: Path, values: np.ndarray) -> Path:
    days = np.datetime64("2018-01-01") + np.arange(len(values))
    lines = ["date," + ",".join(COLUMNS)]
    lines += [f"{day}," + ",".join(map(repr, row)) for day, row in zip(days, values.tolist(), strict=True)]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def test_nothing_after_the_split_reaches_back(tmp_path: Path) -> None:
    """Other rows from the first test day on: same preprocessor, windows, training and predictions before it."""
    values = prices(400)
    first_test_row = len(
        datasets.load(write_csv(tmp_path / "a.csv", values), task="forecasting", gap=12).split("valid")[0]["values"]
    )
    assert 200 < first_test_row < 380
    changed = values.copy()
    changed[first_test_row:] = 5 * values[first_test_row:][::-1] + 30
    answers = []
    for folder, rows in (("a", values), ("b", changed)):
        (tmp_path / folder).mkdir()
        data = datasets.load(
            write_csv(tmp_path / folder / "prices.csv", rows), task="forecasting", **TASK.data_options(TINY)
        )
        preprocessor = TASK.preprocessor(TINY, data)
        config = TASK.configure(TINY, preprocessor)
        keras.utils.set_random_seed(0)
        model = build_from_config("price_attn", config)
        model.compile(keras.optimizers.Adam(1e-2), **TASK.compile_arguments())
        examples = TASK.examples(data.split("train"), preprocessor, config)
        inputs, targets, _ = examples.batch(np.arange(len(examples)), None)
        model.train_on_batch(inputs, targets)
        requests = TASK.requests(data.split("valid"), preprocessor)
        outputs = compile_serving(TASK.serving(model, batch_size=64))(requests.inputs)
        answers.append(
            (preprocessor, config, inputs["window"], targets["quantiles"], requests.truth["future"], outputs)
        )
        assert data.split("test")[0]["values"][-1, 3] == pytest.approx(rows[-1, 3], rel=1e-6)
    first, second = answers
    assert first[:2] == second[:2]
    for one, other in zip(first[2:5], second[2:5], strict=True):
        np.testing.assert_array_equal(one, other)
    for key in first[5]:
        np.testing.assert_array_equal(first[5][key], second[5][key])


def gain(exchange: bool) -> float:
    """Train a tiny model on returns with phi = .5; the share of the attainable gain found on new series."""
    phi = 0.5
    train, test = ([record(prices(700, seed, phi)) for seed in seeds] for seeds in ((1, 2, 3, 4), (8, 9)))
    preprocessor, config = fit(train)
    keras.utils.set_random_seed(0)
    model = build_from_config("price_attn", config)
    model.compile(keras.optimizers.Adam(1e-2), **TASK.compile_arguments())
    examples = TASK.examples(train, preprocessor, config)
    inputs, targets, _ = examples.batch(np.arange(len(examples)), None)
    if exchange:  # the future's move from the last price is another window's
        order = np.random.default_rng(0).permutation(len(examples))
        last = inputs["window"][:, -1:, 3]
        moved = targets["mean"][order, :, 0] / last[order] * last
        for array in targets.values():
            array[..., 0] = moved
    model.fit(inputs, targets, batch_size=128, epochs=8, verbose=0)
    requests = TASK.requests(test, preprocessor)
    outputs = compile_serving(TASK.serving(model, batch_size=256))(requests.inputs)
    close, future = requests.inputs["window"][:, :, 3].astype(float), requests.truth["future"]
    best = close[:, -1:] * (close[:, -1:] / close[:, -2:-1]) ** np.cumsum(phi ** np.arange(1, 4))
    errors = [((np.log(forecast / future)) ** 2).mean() for forecast in (close[:, -1:], best, outputs["mean"])]
    return float((errors[0] - errors[2]) / (errors[0] - errors[1]))


def test_a_planted_signal_is_found() -> None:
    assert gain(exchange=False) >= 0.9


def test_exchanged_futures_give_no_skill() -> None:
    assert abs(gain(exchange=True)) <= 0.05
