"""Forecast metrics and baselines, by hand and by what must always hold."""

from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import mean_pinball_loss

from zoo.errors import DataError
from zoo.metrics.baselines_forecast import (
    calibrate_standard_quantiles,
    drift,
    ewma_quantiles,
    ewma_volatility,
    historical_average,
    persistence,
)
from zoo.metrics.forecasts import forecast_metrics, pinball_loss, wilson_interval

LEVELS = np.array([0.1, 0.5, 0.9])


def band(mean, half=1.0):
    return np.stack([mean - half, mean, mean + half], -1)


def walk(count, window, horizon, seed=0, sigma=0.02):
    steps = np.random.default_rng(seed).normal(0, sigma, (count, window + horizon))
    prices = 100 * np.exp(steps.cumsum(1))
    return prices[:, :window], prices[:, window:]


def test_by_hand():
    history = np.array([[1.0, 2, 4], [5, 5, 4]])  # mean absolute changes 1.5 and 0.5
    last, future = history[:, -1], np.array([[5.0, 6], [4, 2]])
    mean = np.array([[5.0, 4.5], [4, 5]])
    result = forecast_metrics(mean, band(mean), LEVELS, future, last, history)
    assert result["mae"] == pytest.approx((0 + 1.5 + 0 + 3) / 4)
    assert result["rmse"] == pytest.approx(np.sqrt((1.5**2 + 3**2) / 4))
    assert result["skill"] == pytest.approx(1 - np.sqrt(11.25 / 4) / np.sqrt((1 + 4 + 0 + 4) / 4))
    assert result["rmse_ratio"] == pytest.approx(1 - result["skill"])
    assert result["mase"] == pytest.approx((0.75 / 1.5 + 1.5 / 0.5) / 2)
    assert result["directional_accuracy"] == 0.5  # up and up; up and down
    assert result["directional_count"] == 2
    assert result["coverage"] == 0.5
    assert result["coverage_nominal"] == pytest.approx(0.8)
    # level 0.1 is 1 below the mean: errors y - f are 1, 2.5, 1, -2
    assert result["pinball_by_level"]["0.1"] == pytest.approx((0.1 + 0.25 + 0.1 + 0.9 * 2) / 4)
    assert result["pinball"] == pytest.approx(np.mean(list(result["pinball_by_level"].values())))


def test_pinball_is_scikit_learns():
    random = np.random.default_rng(0)
    future, quantiles = random.normal(size=(7, 3)), random.normal(size=(7, 3, 3))
    loss = pinball_loss(quantiles, LEVELS, future)
    for i, level in enumerate(LEVELS):
        expected = mean_pinball_loss(future.ravel(), quantiles[..., i].ravel(), alpha=level)
        assert loss[..., i].mean() == pytest.approx(expected)


def test_true_quantiles_have_the_least_pinball_loss():
    future = np.random.default_rng(0).normal(size=(20000, 1))
    true = np.array([NormalDist().inv_cdf(level) for level in LEVELS])
    best = pinball_loss(np.tile(true, (20000, 1, 1)), LEVELS, future).mean()
    for factor in (0.8, 1.25):
        assert pinball_loss(np.tile(true * factor, (20000, 1, 1)), LEVELS, future).mean() > best


def test_persistence_has_no_skill_and_perfection_all():
    history, future = walk(50, 20, 4)
    last = history[:, -1]
    flat = persistence(last, 4)
    none = forecast_metrics(flat, band(flat), LEVELS, future, last, history)
    assert none["skill"] == pytest.approx(0)
    assert none["directional_accuracy"] == 0.5  # no forecast of a direction counts one half
    perfect = forecast_metrics(future, band(future), LEVELS, future, last, history)
    assert perfect["skill"] == perfect["coverage"] == perfect["directional_accuracy"] == 1
    assert perfect["mae"] == perfect["mase"] == 0
    assert perfect["directional_low"] < 1 == perfect["directional_high"]  # 50 windows of 4 steps are not certainty


def test_overlapping_windows_widen_the_interval():
    signs = np.repeat(np.random.default_rng(3).choice([-1.0, 1.0], 40), 10)
    last, future = np.zeros(400), np.ones((400, 10))
    narrow = forecast_metrics(signs[:, None], band(signs[:, None]), LEVELS, future[:, :1], last)
    mean = np.tile(signs[:, None], 10)
    wide = forecast_metrics(mean, band(mean), LEVELS, future, last)
    assert wide["directional_accuracy"] == narrow["directional_accuracy"]

    def width(result):
        return result["directional_high"] - result["directional_low"]

    assert width(wide) > 1.8 * width(narrow)


def test_series_at_one_time_are_resampled_together():
    signs = np.random.default_rng(4).choice([-1.0, 1.0], 100)
    times = np.arange(100)
    one = forecast_metrics(signs[:, None], band(signs[:, None]), LEVELS, np.ones((100, 1)), np.zeros(100), times=times)
    mean = np.tile(signs, 5)[:, None]  # five series that always agree hold no more evidence than one
    args = (mean, band(mean), LEVELS, np.ones((500, 1)), np.zeros(500))
    names = np.repeat(list("abcde"), 100)
    five = forecast_metrics(*args, times=np.tile(times, 5), series=names)
    assert five["directional_low"] == pytest.approx(one["directional_low"], abs=0.02)
    assert forecast_metrics(*args)["directional_low"] > five["directional_low"] + 0.02
    assert list(five["per_series"]) == list("abcde")
    assert five["per_series"]["c"] == one


def test_per_series_is_each_by_itself():
    history, future = walk(30, 10, 3)
    names = np.array(["x", "y"] * 15)
    mean = future + 1
    result = forecast_metrics(mean, band(mean), LEVELS, future, history[:, -1], history, series=names)
    odd = names == "y"
    alone = forecast_metrics(mean[odd], band(mean[odd]), LEVELS, future[odd], history[odd, -1], history[odd])
    assert result["per_series"]["y"] == alone


def test_a_series_that_never_moves():
    flat = np.ones((4, 2))
    result = forecast_metrics(flat, band(flat), LEVELS, flat, np.ones(4), np.ones((4, 5)))
    assert result["skill"] == 0
    assert result["directional_count"] == 0
    assert np.isnan(result["directional_accuracy"])
    assert np.isnan(result["mase"])


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 12), st.integers(1, 4), st.integers(0, 1000), st.floats(0.1, 50))
def test_bounds_order_and_unit(count, horizon, seed, unit):
    random = np.random.default_rng(seed)
    mean, future, last = random.normal(size=(count, horizon)), random.normal(size=(count, horizon)), np.zeros(count)
    quantiles = np.sort(random.normal(size=(count, horizon, 3)), -1)
    history = random.normal(size=(count, 6))
    result = forecast_metrics(mean, quantiles, LEVELS, future, last, history)
    low, high = result["directional_low"], result["directional_high"]
    assert 0 <= low <= result["directional_accuracy"] <= high <= 1
    assert result["mae"] <= result["rmse"] + 1e-12
    assert 0 <= result["coverage"] <= 1
    scaled = forecast_metrics(unit * mean, unit * quantiles, LEVELS, unit * future, last, unit * history)
    for name in ("skill", "mase", "pinball_scaled", "coverage", "directional_accuracy"):
        assert scaled[name] == pytest.approx(result[name])
    assert scaled["rmse"] == pytest.approx(unit * result["rmse"])
    order = random.permutation(count)
    mixed = forecast_metrics(mean[order], quantiles[order], LEVELS, future[order], last, history[order])
    for name in ("mae", "rmse", "skill", "mase", "pinball", "coverage", "directional_accuracy"):
        assert mixed[name] == pytest.approx(result[name])


def test_wilson_by_hand():
    low, high = wilson_interval(0.5, 100)
    assert (low, high) == pytest.approx((0.4038, 0.5962), abs=1e-4)
    assert wilson_interval(0, 10) == pytest.approx((0, 0.2775), abs=1e-4)
    assert wilson_interval(1, 10)[1] == 1


@pytest.mark.parametrize(
    "change",
    [
        {"future": np.zeros((3, 2))},
        {"last": np.zeros(3)},
        {"quantiles": np.zeros((2, 2, 2))},
        {"levels": [0.9, 0.5, 0.1]},
        {"levels": [0.0, 0.5, 0.9]},
        {"history": np.zeros((2, 1))},
        {"history": np.full((2, 3), np.nan)},
        {"times": np.zeros(3)},
        {"series": ["a"]},
        {"mean": np.full((2, 2), np.nan)},
        {"mean": np.zeros((0, 2)), "future": np.zeros((0, 2)), "last": np.zeros(0), "quantiles": np.zeros((0, 2, 3))},
    ],
)
def test_bad_input_is_named(change):
    good = {"mean": np.zeros((2, 2)), "quantiles": np.zeros((2, 2, 3)), "levels": LEVELS}
    good |= {"future": np.ones((2, 2)), "last": np.zeros(2)}
    with pytest.raises(DataError) as error:
        forecast_metrics(**(good | change))
    assert "\n" not in str(error.value)


def test_plain_forecasts_by_hand():
    np.testing.assert_array_equal(persistence(np.array([3.0, 4]), 2), [[3, 3], [4, 4]])
    np.testing.assert_allclose(drift(np.array([[1.0, 7, 5], [2, 2, 2]]), 2), [[7, 9], [2, 2]])


def test_ewma_volatility_by_hand():
    prices = np.array([[1.0, np.exp(0.1), np.exp(0.3)]])  # changes 0.1 (weight 0.5) and 0.2 (weight 1)
    assert ewma_volatility(prices, 0.5)[0] == pytest.approx(np.sqrt((0.5 * 0.01 + 0.04) / 1.5))


def test_ewma_quantiles_by_hand():
    prices = np.array([[1.0, np.exp(0.1), 1.0]])
    quantiles = ewma_quantiles(prices, 4, LEVELS)
    assert quantiles.shape == (1, 4, 3)
    np.testing.assert_allclose(quantiles[0, :, 1], 1)
    z = NormalDist().inv_cdf(0.9)
    np.testing.assert_allclose(quantiles[0, :, 2], np.exp(0.1 * z * np.sqrt([1, 2, 3, 4])))
    np.testing.assert_allclose(quantiles[..., 0] * quantiles[..., 2], 1)


def test_ewma_bands_cover_a_random_walk():
    history, future = walk(4000, 80, 5)
    quantiles = ewma_quantiles(history, 5, LEVELS)
    result = forecast_metrics(quantiles[..., 1], quantiles, LEVELS, future, history[:, -1])
    assert result["coverage"] == pytest.approx(0.8, abs=0.02)


def test_calibration_learns_fat_tails():
    random = np.random.default_rng(5)
    steps = 0.01 * random.standard_t(2.5, (6000, 63))
    prices = np.exp(steps.cumsum(1))
    history, future = prices[:, :60], prices[:, 60:]
    levels = [0.01, 0.5, 0.99]
    table = calibrate_standard_quantiles(history[:3000], future[:3000], levels)
    assert table.shape == (3, 3)
    assert (np.diff(table, axis=1) > 0).all()

    def coverage(standard):
        quantiles = ewma_quantiles(history[3000:], 3, levels, standard_quantiles=standard)
        return forecast_metrics(quantiles[..., 1], quantiles, levels, future[3000:], history[3000:, -1])["coverage"]

    assert abs(coverage(table) - 0.98) < abs(coverage(None) - 0.98)


def test_historical_average_by_hand():
    values = np.array([[1.0, 10], [2, 20], [3, np.nan], [4, 40]])
    slots = np.array([0, 1, 0, 1])
    result = historical_average(values, slots, np.array([[0, 1], [1, 2]]))
    assert result.shape == (2, 2, 2)
    np.testing.assert_allclose(result[0], [[2, 10], [3, 30]])
    np.testing.assert_allclose(result[1, 1], [2.5, 70 / 3])  # a slot never seen: the mean over all


@pytest.mark.parametrize(
    "call",
    [
        lambda: drift(np.ones((2, 1)), 2),
        lambda: ewma_volatility(np.array([[1.0, -1]])),
        lambda: ewma_volatility(np.array([[1.0, np.nan]])),
        lambda: ewma_volatility(np.ones((1, 3)), decay=1.0),
        lambda: ewma_quantiles(np.ones((1, 3)), 2, LEVELS, standard_quantiles=np.zeros((3, 3))),
        lambda: calibrate_standard_quantiles(np.ones((2, 3)), np.ones((2, 2)), LEVELS),
        lambda: historical_average(np.ones(3), np.array([0, 1]), np.array([[0]])),
        lambda: historical_average(np.ones(2), np.array([0, -1]), np.array([[0]])),
    ],
)
def test_bad_baseline_input_is_named(call):
    with pytest.raises(DataError) as error:
        call()
    assert "\n" not in str(error.value)
