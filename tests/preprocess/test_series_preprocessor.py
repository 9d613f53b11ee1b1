"""Reading tables, cutting windows, share splits, and the one line that every bad input gets."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo import preprocess
from zoo.errors import DataError, ModelFileError
from zoo.preprocess.series import SeriesPreprocessor, SeriesWindows, volatility, windows

COLUMNS = ("open", "high", "low", "close", "volume")


def record(values: np.ndarray, columns: tuple[str, ...] = COLUMNS, target: str = "close", **changes: Any) -> dict:
    count = len(values)
    return {
        "id": "TEST",
        "columns": columns,
        "target": target,
        "dates": np.datetime64("2020-01-01") + np.arange(count),
        "values": values.astype(np.float32),
        "split_factor": np.ones(count, np.float32),
        "first_target": 0,
        **changes,
    }


def prices(count: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, count)))
    spread = rng.uniform(0.001, 0.02, (2, count))
    return np.stack([close, close * (1 + spread[0]), close * (1 - spread[1]), close, rng.uniform(1e5, 1e6, count)], 1)


@pytest.fixture
def fitted() -> SeriesPreprocessor:
    return SeriesPreprocessor.fit([record(prices(60))], window=8, horizon=3)


def as_csv(folder: Path, values: np.ndarray, name: str = "prices.csv", columns: tuple[str, ...] = COLUMNS) -> Path:
    days = np.datetime64("2020-01-01") + np.arange(len(values))
    lines = [",".join(("Date", *columns))]
    lines += [f"{day}," + ",".join(repr(float(cell)) for cell in row) for day, row in zip(days, values, strict=True)]
    path = folder / name
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def test_windows_match_a_loop() -> None:
    values = prices(40)
    cut, future, ends = windows(record(values), 8, 3)
    assert cut.shape == (30, 8, 5) and future.shape == (30, 3) and cut.dtype == future.dtype == np.float32
    for i, end in enumerate(range(7, 37)):
        assert ends[i] == end
        np.testing.assert_allclose(cut[i], values[end - 7 : end + 1], rtol=1e-6)
        np.testing.assert_allclose(future[i], values[end + 1 : end + 4, 3], rtol=1e-6)


def test_targets_start_at_first_target() -> None:
    _, _, ends = windows(record(prices(40), first_target=20), 8, 3)
    assert ends[0] == 19 and ends[-1] == 36


def test_too_short_gives_no_window() -> None:
    assert len(SeriesWindows(record(prices(10)), 8, 3)) == 0


def test_share_split_is_undone_inside_the_window_and_for_its_target() -> None:
    smooth = prices(20)
    quoted = smooth.copy()
    quoted[10:, :4] /= 2  # from day 10 on every old share is two
    quoted[10:, 4] *= 2
    factor = np.ones(20)
    factor[10] = 2
    cut, future, ends = windows(record(quoted, split_factor=factor), 4, 2)
    for i, end in enumerate(ends):
        units = 1 if end < 10 else 2  # in units of the last day's shares
        np.testing.assert_allclose(cut[i][:, :4], smooth[end - 3 : end + 1, :4] / units, rtol=1e-6)
        np.testing.assert_allclose(cut[i][:, 4], smooth[end - 3 : end + 1, 4] * units, rtol=1e-6)
        np.testing.assert_allclose(future[i], smooth[end + 1 : end + 3, 3] / units, rtol=1e-6)


def test_a_later_split_changes_no_earlier_window() -> None:
    values, factor = prices(30), np.ones(30)
    before, _, _ = windows(record(values, split_factor=factor), 5, 2)
    factor[20], values[20:] = 3, 7 * values[20:]
    after, _, ends = windows(record(values, split_factor=factor), 5, 2)
    np.testing.assert_array_equal(before[ends < 20], after[ends < 20])


@given(
    count=st.integers(12, 40),
    window=st.integers(2, 6),
    horizon=st.integers(1, 4),
    split=st.integers(1, 11),
    seed=st.integers(0, 99),
)
@settings(max_examples=40, deadline=None)
def test_every_window_is_a_slice(count: int, window: int, horizon: int, split: int, seed: int) -> None:
    values, factor = prices(count, seed), np.ones(count)
    factor[split] = 2
    cut, future, ends = windows(record(values, split_factor=factor), window, horizon)
    assert len(cut) == count - window - horizon + 1
    unsplit = (ends < split) | (ends - window + 1 >= split)
    for i in np.flatnonzero(unsplit):
        np.testing.assert_allclose(cut[i], values[ends[i] - window + 1 : ends[i] + 1], rtol=1e-6)
    np.testing.assert_array_equal(cut[:, -1], values[ends].astype(np.float32))
    assert np.isfinite(future).all()


def test_volatility_by_hand() -> None:
    # changes .1 then -.2 with weights .5/1.5 and 1/1.5
    path = np.exp(np.array([[0.0, 0.1, -0.1]]))
    expected = np.sqrt((0.5 * 0.01 + 0.04) / 1.5)
    np.testing.assert_allclose(volatility(path, log_prices=True, floor=0.0, decay=0.5), [expected])
    np.testing.assert_allclose(volatility(np.log(path), log_prices=False, floor=0.0, decay=0.5), [expected])
    assert volatility(np.ones((1, 5)), log_prices=True, floor=0.3) == [0.3]


def test_fit_knows_kinds_of_columns() -> None:
    fitted = SeriesPreprocessor.fit([record(prices(60))], window=8, horizon=3)
    assert (fitted.price_columns, fitted.log_columns, fitted.log_prices) == ((0, 1, 2, 3), (4,), True)
    assert 1e-4 < fitted.scale_floor < 1e-3  # 5% of the median move of about .7%
    signed = np.random.default_rng(0).normal(size=(60, 2))
    signed[:, 1] **= 2
    fitted = SeriesPreprocessor.fit([record(signed, ("flow", "wind"), "flow")], window=8, horizon=3)
    assert (fitted.price_columns, fitted.log_columns, fitted.log_prices) == ((0,), (1,), False)


def test_a_series_that_leaps_takes_no_logarithm() -> None:
    values = prices(60)
    values[30, 3] = 1e-3
    assert not SeriesPreprocessor.fit([record(values)], window=8, horizon=3).log_prices


def test_fit_refuses_what_does_not_belong_together() -> None:
    other = record(prices(60)[:, :2], ("open", "close"), id="OTHER")
    with pytest.raises(DataError, match="'OTHER' has the columns open, close"):
        SeriesPreprocessor.fit([record(prices(60)), other], window=8, horizon=3)
    with pytest.raises(DataError, match="10 rows; one window of 8 and its horizon of 3 need 11"):
        SeriesPreprocessor.fit([record(prices(10))], window=8, horizon=3)
    bad = prices(60)
    bad[33, 1] = np.nan
    with pytest.raises(DataError, match=r"'high' \(TEST, 2020-02-03\) is nan"):
        SeriesPreprocessor.fit([record(bad)], window=8, horizon=3)


def test_files_round_trip(fitted: SeriesPreprocessor) -> None:
    assert preprocess.load(fitted.files()) == fitted


@pytest.mark.parametrize("old, new", [('"close"', '"clos"'), ('"window": 8', '"window": -8'), ("{", "[")])
def test_damaged_files_are_refused(fitted: SeriesPreprocessor, old: str, new: str) -> None:
    content = fitted.files()["preprocessor.json"].decode().replace(old, new, 1)
    with pytest.raises(ModelFileError):
        preprocess.load({"preprocessor.json": content.encode()})


def test_all_kinds_of_tables_give_the_same_window(fitted: SeriesPreprocessor, tmp_path: Path) -> None:
    values = prices(30).astype(np.float32)
    expected = values[-8:][None]
    path = as_csv(tmp_path, values)
    zipped = tmp_path / "prices.csv.gz"
    zipped.write_bytes(gzip.compress(path.read_bytes()))
    semicolons = tmp_path / "semicolons.csv"
    semicolons.write_text("\ufeff" + path.read_text().replace(",", ";"), encoding="utf-8")
    header, *lines = path.read_text().splitlines()
    reversed_rows = tmp_path / "reversed.csv"
    reversed_rows.write_text("\r\n".join([header, *lines[::-1]]), encoding="utf-8")
    columns = {name: values[:, i] for i, name in enumerate(COLUMNS)}
    rows = [dict(zip(COLUMNS, row, strict=True)) for row in values]
    shuffled = {
        "CLOSE ": values[:, 3],
        "extra": ["x"] * 30,
        **{name: columns[name] for name in COLUMNS if name != "close"},
    }
    for value in (path, str(path), zipped, semicolons, reversed_rows, values, columns, rows, shuffled):
        window = fitted.request(value)["window"]
        assert window.dtype == np.float32
        np.testing.assert_array_equal(window, expected)


def test_request_undoes_share_splits(fitted: SeriesPreprocessor) -> None:
    values, factor = prices(8), np.ones(8)
    factor[4] = 2
    window = fitted.request({**{name: values[:, i] for i, name in enumerate(COLUMNS)}, "split_factor": factor})[
        "window"
    ]
    np.testing.assert_allclose(window[0, :4, :4], values[:4, :4] / 2, rtol=1e-6)
    np.testing.assert_allclose(window[0, :4, 4], values[:4, 4] * 2, rtol=1e-6)
    np.testing.assert_allclose(window[0, 4:], values[4:], rtol=1e-6)


def test_one_column_array_may_be_flat() -> None:
    fitted = SeriesPreprocessor.fit([record(prices(60)[:, :1], ("close",))], window=8, horizon=3)
    assert fitted.request(np.arange(1, 20))["window"].shape == (1, 8, 1)


def test_dates_in_other_notations_are_ordered(fitted: SeriesPreprocessor, tmp_path: Path) -> None:
    values = prices(10).astype(np.float32)
    days = [f"{1 + i // 5}/{20 + i % 5}/2021" for i in range(10)]
    order = np.random.default_rng(0).permutation(10)
    lines = ["when," + ",".join(COLUMNS)]
    lines += [days[i] + "," + ",".join(repr(float(cell)) for cell in values[i]) for i in order]
    path = tmp_path / "american.csv"
    path.write_text("\n".join(lines), encoding="utf-8")
    np.testing.assert_array_equal(fitted.request(path)["window"][0], values[-8:])


def edited(folder: Path, row: int, column: int, cell: str) -> Path:
    path = as_csv(folder, prices(20))
    lines = [line.split(",") for line in path.read_text().splitlines()]
    lines[row][column] = cell
    path.write_text("\n".join(map(",".join, lines)), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "row, column, cell, message",
    [
        (18, 4, "nan", r"'close' \(line 19\) is nan"),
        (18, 4, "inf", r"'close' \(line 19\) is inf"),
        (18, 4, "1e39", r"'close' \(line 19\) is 1e\+39"),
        (18, 4, "", r"column 'close' is empty in line 19; it must be a number"),
        (18, 2, "n/a", r"column 'high' is 'n/a' in line 19"),
        (18, 4, "-3", r"'close' \(line 19\) is -3; this model was trained on positive prices"),
        (18, 0, "soon", r"'soon' in line 19 of column 'date' is no date"),
        (18, 0, "2020-01-05", r"has the date 2020-01-05 twice"),
        (0, 4, "last", r"has no column 'close'; the model needs open, high"),
        (0, 4, "low", r"several columns named 'low'"),
        (18, 4, "1,2", r"line 19 has 7 fields, but there are 6 columns"),
    ],
)
def test_bad_csv_gets_one_line(
    fitted: SeriesPreprocessor, tmp_path: Path, row: int, column: int, cell: str, message: str
) -> None:
    with pytest.raises(DataError, match=message) as caught:
        fitted.request(edited(tmp_path, row, column, cell))
    assert "\n" not in str(caught.value)


def test_a_fault_before_the_window_does_not_matter(fitted: SeriesPreprocessor, tmp_path: Path) -> None:
    np.testing.assert_allclose(fitted.request(edited(tmp_path, 3, 4, ""))["window"][0], prices(20)[-8:], rtol=1e-6)


def test_bad_values_get_one_line(fitted: SeriesPreprocessor, tmp_path: Path) -> None:
    binary = tmp_path / "binary.csv"
    binary.write_bytes(b"a,b\n\xff\xfe")
    empty = tmp_path / "empty.csv"
    empty.write_text("")
    values = prices(20)
    values[15, 0] = np.inf
    whole = {name: prices(20)[:, i] for i, name in enumerate(COLUMNS)}
    cases: list[tuple[Any, str]] = [
        (tmp_path / "missing.csv", "No such file"),
        (tmp_path, "is a folder"),
        (binary, "not UTF-8: line 2"),
        (empty, "is empty"),
        (as_csv(tmp_path, prices(5)), "has 5 rows, but the model looks back 8"),
        (prices(5), "The array has 5 rows"),
        (prices(20)[:, :3], r"shape \(20, 3\)"),
        (np.array([["a"] * 5] * 9), "must be numbers"),
        (values, r"'open' \(row 16\) is inf"),
        (12, "not int"),
        ([], "not list"),
        ({**whole, "close": [1.0]}, "column 'close' has 1 values"),
        ({**whole, "split_factor": np.zeros(20)}, "above 0"),
    ]
    for value, message in cases:
        with pytest.raises(DataError, match=message) as caught:
            fitted.request(value)
        assert "\n" not in str(caught.value)


def test_result(fitted: SeriesPreprocessor) -> None:
    request = fitted.request(prices(20))
    outputs = {
        "mean": np.ones((1, 3)),
        "quantiles": np.ones((1, 3, 5)),
        "step_weights": np.full((1, 8), 0.125),
    }
    forecast = fitted.result(request, outputs)
    assert forecast.last == pytest.approx(prices(20)[-1, 3]) and forecast.target == "close"
    assert forecast.levels == (0.1, 0.25, 0.5, 0.75, 0.9) and forecast.mean.shape == (3,)
    assert "close" in str(forecast)
