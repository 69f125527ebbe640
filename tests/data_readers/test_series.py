"""Series: columns of times, missing steps and numbers, parts in the order of time."""
from __future__ import annotations

import numpy as np
import pytest

from dlcore.data.series import as_series, divide, parse_split, read_series
from dlcore.data.times import Step, parse, show
from dlcore.errors import DataError, UsageError


def write(tmp_path, rows, header="date,a,b", name="s.csv"):
    (tmp_path / name).write_text("\n".join([header, *rows]) + "\n")
    return str(tmp_path / name)


def hours(count, start="2020-02-28 22:00"):
    times = np.datetime64(start) + np.arange(count).astype("timedelta64[h]")
    return [str(t).replace("T", " ") for t in times]


def test_a_csv_with_times(tmp_path):
    series = read_series(write(tmp_path, [f"{t},{i},{-i / 2}" for i, t in enumerate(hours(30))]))
    assert series.names == ("a", "b") and series.time == "date" and len(series) == 30
    np.testing.assert_array_equal(series.values[:, 1], -np.arange(30) / 2)
    assert "a row every 1 hour" in " ".join(series.notes)
    assert series.times_after(2) == ["2020-03-01 04:00:00", "2020-03-01 05:00:00"]


def test_arrays_have_no_times():
    series = as_series(np.arange(5.0))
    assert series.names == ("c1",) and series.times is None and series.times_after(2) == ["1", "2"]
    assert as_series(series) is series
    assert as_series([{"t": 1, "x": 3}, {"t": 2, "x": 4}], time_col="t").names == ("x",)


@pytest.mark.parametrize(("texts", "unit", "size", "after"), [
    (["2020-01-31", "2020-03-31", "2020-05-31"], "seconds", 60 * 86400, None),
    (["2020-01-01", "2020-02-01", "2020-03-01"], "months", 1, "2020-04-01"),
    (["2019-01-01", "2020-01-01", "2021-01-01"], "months", 12, "2022-01-01"),
    (["2020-01-01", "2020-01-08", "2020-01-15"], "seconds", 7 * 86400, "2020-01-22"),
    (["01.02.2020 10:00", "01.02.2020 10:15", "01.02.2020 10:30"], "seconds", 900, "2020-02-01 10:45:00"),
    (["2020/02/28", "2020/02/29", "2020/03/01"], "seconds", 86400, "2020-03-02"),
])
def test_steps_and_how_times_go_on(texts, unit, size, after):
    times = np.array([parse(t) for t in texts], "datetime64[s]")
    step = Step.of(times)
    if after is not None:
        assert (step.unit, step.size) == (unit, size)
        assert show(step.after(times[-1], 1)[0]) == after


def test_months_of_different_lengths_are_equal_steps(tmp_path):
    months = [f"{2000 + i // 12}-{i % 12 + 1:02}-01" for i in range(40)]
    assert "a row every 1 month" in " ".join(read_series(write(tmp_path, [f"{m},1,2" for m in months])).notes)


def test_missing_numbers_are_filled_and_counted(tmp_path):
    rows = [f"{t},{'' if i in (0, 1, 5) else i},{i}" for i, t in enumerate(hours(8))]
    series = read_series(write(tmp_path, rows))
    np.testing.assert_array_equal(series.values[:, 0], [2, 2, 2, 3, 4, 4, 6, 7])
    assert "3 missing numbers repeat the one before: a 3" in series.notes


def test_gaps(tmp_path):
    times = hours(12)
    path = write(tmp_path, [f"{t},{i},{i}" for i, t in enumerate(times) if i not in (3, 7, 8)])
    with pytest.raises(DataError, match="steps are missing") as caught:
        read_series(path)
    assert "2 gaps, 3 steps" in caught.value.got and "row 5" in caught.value.where and "gaps=fill" in caught.value.hint
    filled = read_series(path, gaps="fill")
    np.testing.assert_array_equal(filled.values[:, 0], [0, 1, 2, 2, 4, 5, 6, 6, 6, 9, 10, 11])
    assert [show(t) for t in filled.times] == [show(parse(t)) for t in times]
    assert "2 gaps: 3 rows put in, which repeat the one before" in filled.notes
    assert len(read_series(path, gaps="ignore")) == 9
    with pytest.raises(UsageError, match="gaps"):
        read_series(path, gaps="often")


@pytest.mark.parametrize(("rows", "message", "where"), [
    (["2020-01-02,1,2", "2020-01-01,1,2"], "the times go back", "row 3"),
    (["2020-01-01,1,2", "2020-01-01,1,2"], "two rows have the same time", "row 3"),
    (["2020-01-01,1,2", "2020-01-02,x,2"], "is no number", "row 3, column 'a'"),
    (["2020-01-01,1,2", "2020-01-02,inf,2"], "is no number", "column 'a'"),
    (["2020-01-01,1,", "2020-01-02,1,"], "has no numbers", ""),
    (["2020-01-01,1,2", ",1,2"], "a time is missing", "row 3"),
    (["2020-01-01,1,2", "never,1,2"], "this is no time", "row 3"),
    (["2020-01-01,1,2", "2020-01-02,1,2", "2020-01-03,1,2", "2020-01-04 13:00,1,2"], "not equally far apart", "row 5"),
])
def test_what_is_refused(tmp_path, rows, message, where):
    with pytest.raises(DataError, match=message) as caught:
        read_series(write(tmp_path, rows))
    assert where in caught.value.where


def test_columns_are_named(tmp_path):
    path = write(tmp_path, ["2020-01-01,1,x", "2020-01-02,2,y"])
    assert read_series(path, columns=["a"]).names == ("a",)
    for bad in ({"columns": ["aa"]}, {"time_col": "dat"}):
        with pytest.raises(DataError, match="there is no column"):
            read_series(path, **bad)
    with pytest.raises(DataError, match="cannot be forecast"):
        read_series(path, time_col="date", columns=["date"])
    with pytest.raises(DataError, match="several columns could be the times"):
        read_series(write(tmp_path, ["2020-01-01,2020-01-02,1"], "made,seen,a"))
    with pytest.raises(DataError, match="infinite"):
        as_series(np.array([1.0, np.inf]))


def test_parts_share_the_values_and_know_what_came_before():
    series = as_series(np.arange(20.0))
    parts = divide(series, "0.5,0.2,0.3")
    train, test = parts.train.x, parts.test.x
    assert (len(train), train.held, len(test), test.begin) == (14, 4, 6, 14)
    assert test.values is train.values and len(parts.test) == 6
    assert "10 steps to train on, 4 for validation, 6 to test" in parts.train.notes[-1]
    assert len(test.take(np.array([3, 1, 2]))) == 3 and test.take(np.array([1, 2])).begin == 15
    with pytest.raises(DataError, match="order of time"):
        test.take(np.array([0, 2]))
    counted = divide(series, "8,4,4")
    assert "the last 4 are left out" in counted.train.notes[-1] and counted.test.x.end == 16
    assert divide(series, "10,10").test is None
    with pytest.raises(DataError, match="fewer steps"):
        divide(series, "18,2,2")
    for bad in ("", "1", "0.5,0.6", "a,b", "0,1,1", "0.5,3", "-1,2"):
        with pytest.raises(UsageError, match="split"):
            parse_split(bad)
