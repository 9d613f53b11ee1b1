from __future__ import annotations

import csv
import gzip

import numpy as np
import pytest

from zoo import datasets
from zoo.datasets import stocks
from zoo.datasets._package import package_file
from zoo.datasets._series import Series, split_by_rows, split_by_share
from zoo.errors import ConfigError, DataError


def load(name, **options):
    return datasets.load(name, task="forecasting", **options).splits()


def series(rows: int, name: str = "s") -> Series:
    dates = np.datetime64("2020-01-01") + np.arange(rows)
    values = np.arange(2 * rows, dtype=np.float32).reshape(rows, 2)
    return Series(name, ("a", "close"), "close", dates, values, np.ones(rows, np.float32))


@pytest.mark.parametrize(("name", "ids"), [("stocks", ["AAPL", "GOOG", "IBM", "MSFT"]), ("sp500", ["sp500"])])
def test_records(name, ids):
    for source in load(name).values():
        assert [record["id"] for record in source] == ids
        for record in source:
            rows = len(record["dates"])
            assert record["values"].shape == (rows, 5)
            assert record["values"].dtype == record["split_factor"].dtype == np.float32
            assert np.isfinite(record["values"]).all()
            assert (record["values"][:, :4] > 0).all()
            assert record["columns"] == ("open", "high", "low", "close", "volume")
            assert record["target"] == "close"
            assert (np.diff(record["dates"]) > np.timedelta64(0, "D")).all()
            high, low = record["values"][:, 1], record["values"][:, 2]
            assert (high >= low).all()


@pytest.mark.parametrize("name", ["stocks", "sp500"])
@pytest.mark.parametrize("gap", [30, 60])
def test_a_gap_of_one_window_lies_between_targets_and_nothing_after_the_end(name, gap):
    splits = load(name, gap=gap)
    full = {record["id"]: record["dates"] for record in splits["test"]}
    for before, after in (("train", "valid"), ("valid", "test")):
        for one, two in zip(splits[before], splits[after], strict=True):
            assert two["first_target"] == len(one["dates"]) + gap
            # a window of the later split starts after the last target of the earlier one
            assert two["dates"][two["first_target"] - gap] > one["dates"][-1]
            assert (two["dates"][: len(one["dates"])] == one["dates"]).all()
            assert one["dates"][-1] < full[one["id"]][-1]
    assert all(record["first_target"] == gap for record in splits["train"])


def test_all_tickers_share_the_calendar():
    for name, source in load("stocks").items():
        ends = {record["dates"][-1] for record in source}
        assert len(ends) == 1
        if name != "train":
            assert len({record["dates"][record["first_target"]] for record in source}) == 1


def test_share_splits_are_where_the_price_halves_and_nowhere_else():
    for record in load("stocks")["test"]:
        close = record["values"][:, 3].astype(float)
        opening = record["values"][1:, 0] / close[:-1]
        split = record["split_factor"][1:] != 1
        assert split.sum() == len(stocks.SHARE_SPLITS.get(record["id"], {}))
        unbroken = opening * record["split_factor"][1:]
        assert (np.abs(np.log(unbroken[split])) < 0.1).all()
        # nothing else looks like a split: the one halving overnight is Apple's profit warning of September 2000
        halved = record["dates"][1:][(opening < 0.6) & ~split]
        assert list(halved) == ([np.datetime64("2000-09-29")] if record["id"] == "AAPL" else [])


def test_share_splits_agree_with_the_adjusted_close():
    path = package_file("bokeh_sampledata", "_data/stocks.csv.gz", distribution="bokeh-sampledata")
    with gzip.open(path, "rt", newline="") as file:
        rows = list(csv.DictReader(file))
    for ticker in ("AAPL", "GOOG", "IBM", "MSFT"):
        mine = [row for row in rows if row["Ticker"] == ticker]
        raw, adjusted = (np.array([float(row[key]) for row in mine]) for key in ("Close", "Adj Close"))
        broken = np.flatnonzero(np.abs(np.diff(np.log(raw)) - np.diff(np.log(adjusted))) > 0.2) + 1
        assert [mine[i]["Date"] for i in broken] == list(stocks.SHARE_SPLITS.get(ticker, {}))


def test_nasdaq_is_an_option():
    assert load("sp500", index="nasdaq")["test"][0]["id"] == "nasdaq"
    assert load("sp500", index="nasdaq")["test"][0]["values"][0, 3] == pytest.approx(2208.05, abs=0.01)


def test_bad_options():
    with pytest.raises(ConfigError, match="gap is -1"):
        load("stocks", gap=-1)
    with pytest.raises(ConfigError, match="valid_start is 'soon'; it must be a date"):
        load("stocks", valid_start="soon")
    with pytest.raises(ConfigError, match="test_start is '2009-01-01'; it must be after valid_start"):
        load("stocks", test_start="2009-01-01")
    with pytest.raises(DataError, match="'AAPL' is too short: its split 'valid' has 380 rows .* window of 1000"):
        load("stocks", gap=1000)


@pytest.mark.parametrize("rows", [200, 251, 1000])
@pytest.mark.parametrize("gap", [0, 10, 50])
def test_shares_are_of_the_rows_without_gaps(rows, gap):
    splits = split_by_share(series(rows), gap, 0.1, 0.2)
    train, valid, test = (splits[name][0] for name in ("train", "valid", "test"))
    targets = [len(record["dates"]) - record["first_target"] for record in (valid, test)]
    usable = rows - 2 * gap
    assert targets == [round(usable * 0.1), round(usable * 0.2)]
    assert len(train["dates"]) == usable - sum(targets)
    assert valid["first_target"] == len(train["dates"]) + gap
    assert test["first_target"] == len(valid["dates"]) + gap
    assert len(test["dates"]) == rows


def test_the_shortest_series():
    needed = 2 * 20 + 30
    assert split_by_share(series(needed), 20, 0.1, 0.2)["train"][0]["first_target"] == 20
    with pytest.raises(DataError, match=f"has {needed - 1} rows; a window of 20 needs at least {needed} "):
        split_by_share(series(needed - 1), 20, 0.1, 0.2)


def test_rows_of_a_published_protocol():
    splits = split_by_rows(series(100), 0, (50, 20, 20))
    assert [(len(source[0]["dates"]), source[0]["first_target"]) for source in splits.values()] == [
        (50, 0),
        (70, 50),
        (90, 70),
    ]
    with pytest.raises(DataError, match="has 100 rows, and the splits ask for 110"):
        split_by_rows(series(100), 0, (50, 30, 30))
