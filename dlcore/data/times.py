"""Columns of times: read, checked, the step between them, and how they go on."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from dlcore.data.table import Cell
from dlcore.errors import DataError

# besides what ISO 8601 says, which NumPy reads
_FORMATS = ("%Y/%m/%d %H:%M:%S", "%Y/%m/%d %H:%M", "%Y/%m/%d", "%d.%m.%Y %H:%M:%S", "%d.%m.%Y %H:%M", "%d.%m.%Y")
_DAY = 86400
_UNITS = ((7 * _DAY, "week"), (_DAY, "day"), (3600, "hour"), (60, "minute"), (1, "second"))


def parse_times(cells: Sequence[Cell], place: Callable[[int], str]) -> np.ndarray:
    """datetime64[s] of texts, or float64 where all cells are numbers.   place: where a row's cell stands, for messages.

    Raises DataError for a cell that is missing or no time."""
    texts = [str(cell) for cell in cells]
    if None in cells:
        raise DataError("a time is missing", where=place(list(cells).index(None)), hint="fill it in, or leave the row out")
    if all(_is_number(text) for text in texts):
        return np.array(texts, np.float64)
    for i, text in enumerate(texts):
        if parse(text) is None:
            raise DataError("this is no time", where=place(i), expected="a date such as 2016-07-01 or 2016-07-01 13:00:00",
                            got=text[:40])
    return np.array([parse(text) for text in texts], "datetime64[s]")


def parse(text: str) -> np.datetime64 | None:
    """The time that a text says, seconds; a zone of Z is left out.  None where it says none."""
    text = text.strip().removesuffix("Z")
    if not any(sign in text for sign in "-/.:T") or _is_number(text):
        return None
    try:
        return np.datetime64(text, "s")
    except ValueError:
        pass
    for form in _FORMATS:
        try:
            return np.datetime64(datetime.strptime(text, form), "s")
        except ValueError:
            continue
    return None


def _is_number(text: str) -> bool:
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False


@dataclass(frozen=True)
class Step:
    """What lies between two times: `size` months, seconds, or units of a column of numbers."""

    size: float
    unit: str                       # "months", "seconds" or "numbers"

    @staticmethod
    def of(times: np.ndarray) -> Step:
        """The commonest step of increasing times (at least 2)."""
        if times.dtype.kind == "f":
            return Step(_commonest(np.diff(times)), "numbers")
        seconds = times.astype(np.int64)
        months = _months(times)
        if months is not None:
            return Step(_commonest(np.diff(months)), "months")
        return Step(_commonest(np.diff(seconds)), "seconds")

    def between(self, times: np.ndarray) -> np.ndarray:
        """How many steps lie between neighbours, f64 (N - 1,): 1 everywhere where nothing is missing."""
        if self.unit == "months":
            months = _months(times)
            assert months is not None
            return np.diff(months) / self.size
        return np.diff(times.astype(np.float64)) / self.size

    def after(self, time: np.datetime64 | float, count: int) -> np.ndarray:
        """The next `count` times after one."""
        k = np.arange(1, count + 1)
        if self.unit == "numbers":
            return float(time) + self.size * k
        last = np.asarray(time, "datetime64[s]")[()]
        if self.unit == "seconds":
            return last + (k * int(self.size)).astype("timedelta64[s]")
        month = last.astype("datetime64[M]")
        return (month + (k * int(self.size)).astype("timedelta64[M]")).astype("datetime64[s]") + (last - month)

    def __str__(self) -> str:
        if self.unit == "numbers":
            return f"{self.size:g}"
        if self.unit == "months":
            return f"{self.size:g} month" + "s" * (self.size > 1)
        size, name = next((self.size / s, n) for s, n in _UNITS if self.size % s == 0)
        return f"{size:g} {name}" + "s" * (size > 1)


def _commonest(steps: np.ndarray) -> float:
    values, counts = np.unique(steps, return_counts=True)
    return float(values[counts.argmax()])


def _months(times: np.ndarray) -> np.ndarray | None:
    """Numbers of months, where every time is at the same place of its month and all steps are that long; else None."""
    months = times.astype("datetime64[M]")
    inside = times - months.astype("datetime64[s]")
    if (inside != inside[0]).any() or (np.diff(times.astype(np.int64)) < 28 * _DAY).any():
        return None
    return months.astype(np.int64)


def show(time: np.datetime64 | float) -> str:
    """2016-07-01 13:00:00, without what is zero at its end; a number as it is."""
    if isinstance(time, np.datetime64):
        text = str(time.astype("datetime64[s]")).replace("T", " ")
        return text.removesuffix(" 00:00:00")
    return f"{float(time):.15g}"


def check_order(times: np.ndarray, place: Callable[[int], str]) -> None:
    """DataError unless each time is after the one before it."""
    steps = np.diff(times.astype(np.float64))
    if not len(steps) or (steps > 0).all():
        return
    row = int(np.argmax(steps <= 0)) + 1
    same = steps[row - 1] == 0
    raise DataError("two rows have the same time" if same else "the times go back", where=place(row),
                    expected=f"a time after {show(times[row - 1])}", got=show(times[row]),
                    hint="keep one row for each time, or name another column: --time-col; --time-col none counts rows" if same
                    else "sort the rows by time, the oldest first")
