from __future__ import annotations

import datetime
import gzip

import numpy as np
import pytest

from zoo import datasets
from zoo.datasets.series_file import parse_date
from zoo.errors import ConfigError, DataError

DAYS = [datetime.date(2020, 1, 1) + datetime.timedelta(days=i) for i in range(300)]


def table(rows=300, header="date,open,close,volume") -> list[str]:
    return [header, *(f"{DAYS[i]},{i + 1},{i + 1.5},{1000 + i}" for i in range(rows))]


def load(path, lines=None, **options):
    if lines is not None:
        path = path / "prices.csv"
        path.write_text("\n".join(lines) + "\n")
    return datasets.load(path, task="forecasting", **{"gap": 20, **options}).splits()


def test_split_by_time(tmp_path):
    splits = load(tmp_path, table())
    found = {name: (source[0]["first_target"], len(source[0]["dates"])) for name, source in splits.items()}
    assert found == {"train": (20, 182), "valid": (202, 228), "test": (248, 300)}
    record = splits["test"][0]
    assert record["id"] == "prices"
    assert record["columns"] == ("open", "close", "volume")
    assert record["target"] == "close"
    assert record["values"].dtype == np.float32
    assert record["values"][0].tolist() == [1.0, 1.5, 1000.0]
    assert (record["split_factor"] == 1).all()
    assert record["dates"][0] == np.datetime64("2020-01-01")


def test_rows_after_a_split_do_not_touch_it(tmp_path):
    before = load(tmp_path, table())
    changed = table()
    changed[183:] = [f"{DAYS[i]},9,9,9" for i in range(182, 300)]
    after = load(tmp_path, changed)
    for key in ("values", "dates", "split_factor"):
        assert (before["train"][0][key] == after["train"][0][key]).all()


def test_rows_in_any_order_and_gzip(tmp_path):
    head, *rows = table()
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress("\n".join([head, *rows[::-1]]).encode()))
    assert (load(path)["test"][0]["values"] == load(tmp_path, table())["test"][0]["values"]).all()


def test_options(tmp_path):
    splits = load(tmp_path, table(header="when,a,b,c"), target="b", columns=["b", "a"])
    assert splits["train"][0]["columns"] == ("b", "a")
    assert splits["train"][0]["target"] == "b"
    assert splits["train"][0]["values"][0].tolist() == [1.5, 1.0]
    assert load(tmp_path, table(header="when,a,b,c"))["train"][0]["target"] == "c"
    given = load(tmp_path, table(), gap=0, split_rows=[100, 50, 50])
    assert [len(source[0]["dates"]) for source in given.values()] == [100, 150, 200]


def test_no_header_and_no_dates(tmp_path):
    lines = [f"{i * 0.1:.1f},{i * 0.2:.1f}" for i in range(200)]
    splits = load(tmp_path, lines, header=False, date_column="none")
    assert splits["train"][0]["columns"] == ("column1", "column2")
    assert splits["test"][0]["values"][5].tolist() == [0.5, 1.0]
    assert (np.diff(splits["test"][0]["dates"]) > np.timedelta64(0, "D")).all()


def test_share_splits_of_the_user(tmp_path):
    lines = [f"{line},{'2' if i == 100 else '1'}" for i, line in enumerate(table())]
    lines[0] = "date,open,close,volume,split_factor"
    record = load(tmp_path, lines)["test"][0]
    assert record["columns"] == ("open", "close", "volume")
    assert np.flatnonzero(record["split_factor"] == 2).tolist() == [99]
    lines[101] = lines[101][:-1] + "0"
    with pytest.raises(DataError, match="line 102: 'split_factor' must be above 0"):
        load(tmp_path, lines)


@pytest.mark.parametrize("field", ["nan", "NaN", "inf", "-inf", "", "n/a", "1e50", "1,5"])
def test_values_that_are_no_numbers(tmp_path, field):
    lines = table()
    lines[7] = f'{DAYS[6]},7,"{field}",1'
    with pytest.raises(DataError, match="line 8: column 'close' is '.*', which is no finite number") as caught:
        load(tmp_path, lines)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: lines[:1], "has no rows of data"),
        (lambda lines: [], "is empty"),
        (lambda lines: lines[:70], "has 69 rows; a window of 20 needs at least 70"),
        (lambda lines: [*lines, lines[-1]], "has the date 2020-10-26 twice, in lines 301 and 302"),
        (lambda lines: [*lines[:5], "soon,1,2,3", *lines[5:]], "line 6: 'soon' in column 'date' is no date"),
        (lambda lines: [line.split(",", 1)[1] for line in lines], "has no date column; it has open, close, volume"),
        (lambda lines: [line.split(",")[0] for line in lines], "has no column of numbers beside the date"),
        (lambda lines: [*lines, "2021-01-01,1"], "line 302 has 2 fields, but there are 4 columns"),
    ],
)
def test_bad_files(tmp_path, change, message):
    with pytest.raises(DataError, match=message) as caught:
        load(tmp_path, change(table()))
    assert "\n" not in str(caught.value)


def test_bad_options(tmp_path):
    with pytest.raises(DataError, match="has no column 'price' to forecast; it has open, close, volume"):
        load(tmp_path, table(), target="price")
    with pytest.raises(DataError, match="has no column 'x'; it has date, open, close, volume. Name one with columns"):
        load(tmp_path, table(), columns=["x"])
    with pytest.raises(DataError, match="has no column 'x'.*date_column"):
        load(tmp_path, table(), date_column="x")
    with pytest.raises(ConfigError, match="split_rows is .*; it must be three numbers"):
        load(tmp_path, table(), split_rows=[1, 2])
    with pytest.raises(ConfigError, match="gap is -3"):
        load(tmp_path, table(), gap=-3)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2020-02-01", "2020-02-01T00:00"),
        ("2020-02-01 13:05:00", "2020-02-01T13:05"),
        ("2020-02-01T13:05:00+02:00", "2020-02-01T11:05"),
        ("2020/02/01", "2020-02-01T00:00"),
        ("2/1/2020", "2020-02-01T00:00"),
        ("01.02.2020", "2020-02-01T00:00"),
        ("20200201", "2020-02-01T00:00"),
    ],
)
def test_dates(text, expected):
    assert parse_date(text) == datetime.datetime.fromisoformat(expected)


@pytest.mark.parametrize("text", ["", "1993", "3.5", "yes", "2020-13-01", "99999999", "nan"])
def test_what_is_no_date(text):
    assert parse_date(text) is None
