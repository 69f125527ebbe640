"""Series of numbers in the order of time: read from tables, checked, filled, divided.

A `Series` is a stretch of steps of a matrix that is in memory once: parts of it share the values, and a part knows what
came before it, because who forecasts its first step has seen that.
"""
from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from dlcore.data.dataset import Dataset, Parts
from dlcore.data.table import Column, Table, as_table, is_number, read_table
from dlcore.data.times import Step, check_order, parse, parse_times, show
from dlcore.errors import DataError, UsageError

TIME_COLUMNS = ("date", "time", "datetime", "timestamp", "ds", "day", "month", "hour", "dteday")
GAPS = ("error", "fill", "ignore")
NO_TIME = "none"                    # in the place of a column's name: there are no times, rows are steps


@dataclass(frozen=True)
class Series:
    """Steps `begin` to `end` of the rows of `values`, f64 (rows, columns), finite.

    names: of the columns;  times: datetime64[s] or f64 (rows,), or None;  time: the column they came from
    held: steps at the end of the part that are kept for validation, -1 where nobody said so
    gaps, split: how it was read and divided
    notes: what was decided while reading
    """

    values: np.ndarray
    names: tuple[str, ...]
    times: np.ndarray | None = None
    time: str = ""
    begin: int = 0
    end: int = -1
    held: int = -1
    gaps: str = "error"
    split: str = ""
    source: str = ""
    notes: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        if self.end < 0:
            object.__setattr__(self, "end", len(self.values))

    def __len__(self) -> int:
        return self.end - self.begin

    def part(self, begin: int, end: int, held: int = -1) -> Series:
        """Steps begin to end of this part, counted from its own beginning; what came before stays known."""
        return replace(self, begin=self.begin + begin, end=self.begin + end, held=held, notes=())

    def take(self, rows: np.ndarray) -> Series:
        """The part of these steps, which follow each other.  Raises DataError where they do not."""
        rows = np.sort(np.asarray(rows))
        if len(rows) and (rows[-1] - rows[0] != len(rows) - 1):
            raise DataError("a series is divided in the order of time only", expected="steps that follow each other",
                            got=f"{len(rows):,} steps between {rows[0]:,} and {rows[-1]:,}")
        return self.part(int(rows[0]), int(rows[-1]) + 1) if len(rows) else self.part(0, 0)

    def picked(self, names: Sequence[str]) -> Series:
        """The columns of these names, in this order.  Raises DataError for one that is not there."""
        known = {name: i for i, name in enumerate(self.names)}
        for name in names:
            if name not in known:
                raise unknown_column(name, self.names, self.source)
        if tuple(names) == self.names:
            return self
        return replace(self, values=self.values[:, [known[name] for name in names]], names=tuple(names))

    def digest(self, rows: int) -> str:
        """sha256 of the first rows' numbers."""
        return hashlib.sha256(np.ascontiguousarray(self.values[:rows]).tobytes()).hexdigest()

    def step(self) -> Step | None:
        """What lies between two times; None without times."""
        return None if self.times is None or len(self.times) < 2 else Step.of(self.times)

    def times_after(self, count: int) -> list[str]:
        """The times of the steps after the end, as text; their numbers from 1 where there are no times."""
        step = self.step()
        if step is None or self.times is None:
            return [str(i) for i in range(1, count + 1)]
        return [show(time) for time in step.after(self.times[self.end - 1], count)]


def unknown_column(name: str, names: Sequence[str], where: str) -> DataError:
    import difflib
    near = difflib.get_close_matches(name, names, 1)
    return DataError(f"there is no column {name!r}", where=where, expected=", ".join(list(names)[:30]),
                     hint=f"did you mean {near[0]!r}?" if near else "")


def read_series(source: str, *, time_col: str = "", columns: Sequence[str] = (), gaps: str = "error") -> Series:
    """The series in a csv, tsv, jsonl, npz or parquet file (see `as_series`).  Raises DataError."""
    return as_series(read_table(source), time_col=time_col, columns=columns, gaps=gaps)


def as_series(x: Any, *, time_col: str = "", columns: Sequence[str] = (), gaps: str = "error") -> Series:
    """A series from itself, a `Dataset` of one, a table, a data frame, an array (steps, columns) or (steps,).

    time_col   the column of times; by default one that is called as usual (date, time, ...) or the only one of dates; "none": rows
               are steps without times
    columns    those to take; by default all but the times, which must be numbers
    gaps       where steps are missing: "error", "fill" (rows are put in that repeat the last one) or "ignore" (rows count as steps)

    A missing number repeats the one before it, at the beginning the first that is there; `notes` count them.
    Raises DataError: times that go back or repeat, gaps, columns that are no numbers or empty, and UsageError."""
    if isinstance(x, Dataset):
        x = x.x
    if isinstance(x, Series):
        return x
    if gaps not in GAPS:
        raise UsageError(f"gaps = {gaps!r} is of no use", expected=", ".join(GAPS))
    if isinstance(x, np.ndarray) and x.ndim == 1:
        x = x[:, np.newaxis]
    table = as_table(x)
    name = _time_column(table, time_col, columns)
    times = None
    if name:
        times = parse_times(_cells(table.columns[name]), lambda row: table.place(row, name))
        check_order(times, lambda row: table.place(row, name))
    names = tuple(columns) or tuple(n for n in table.names if n != name)
    if not names:
        raise DataError("there is no column of numbers", where=table.source, got=", ".join(table.names)[:120])
    for n in names:
        if n not in table.columns:
            raise unknown_column(n, table.names, table.source)
        if n == name:
            raise DataError("the column of times cannot be forecast", where=table.source, got=n)
    values = np.stack([_numbers(table, n) for n in names], axis=1)
    notes = [*table.notes, f"{len(names)} columns of numbers: {_listed(names)}"]
    if times is not None and len(times) > 1:
        values, times, lines = _regular(values, times, table, name, gaps)
        notes += lines
    notes += _fill(values, names, table)
    return Series(values, names, times, name, gaps=gaps, source=table.source, notes=tuple(notes))


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (f", ... ({len(names)} in all)" if len(names) > 8 else "")


def _cells(column: Column) -> list[Any]:
    return [None if np.isnan(v) else v for v in column.tolist()] if isinstance(column, np.ndarray) else list(column)


def _time_column(table: Table, given: str, columns: Sequence[str]) -> str:
    """The name of the column of times, or ""."""
    if given == NO_TIME:
        return ""
    if given:
        if given not in table.columns:
            raise unknown_column(given, table.names, table.source)
        return given
    def is_time(name: str) -> bool:
        first = next((cell for cell in _cells(table.columns[name])[:20] if cell is not None), None)
        return name not in columns and isinstance(first, str) and parse(first) is not None
    dates = [name for name in table.names if is_time(name)]
    usual = [name for name in dates if name.lower() in TIME_COLUMNS]
    if len(usual or dates) > 1:
        raise DataError("several columns could be the times", where=table.source, got=", ".join(usual or dates),
                        hint="name it: --time-col; --time-col none: rows are steps without times")
    return (usual or dates or [""])[0]


def _numbers(table: Table, name: str) -> np.ndarray:
    """f64 (rows,), NaN where a number is missing.  Raises DataError for what is no number, or infinite."""
    column = table.columns[name]
    if not isinstance(column, np.ndarray):
        for row, cell in enumerate(column):
            if cell is not None and (isinstance(cell, str) and not is_number(cell)):
                raise DataError("a cell of a series is no number", where=table.place(row, name), got=str(cell)[:40],
                                hint="leave the column out: --set data.columns='[\"...\"]' names those to take")
        column = np.array([np.nan if cell is None else float(cell) for cell in column])
    found = column.astype(np.float64)
    if np.isinf(found).any():
        row = int(np.argmax(np.isinf(found)))
        raise DataError("a number is infinite", where=table.place(row, name), got=str(found[row]),
                        hint="correct it, or leave it empty")
    if np.isnan(found).all():
        raise DataError("a column has no numbers", where=table.source, got=name, hint="leave it out: see data.columns")
    return found


def _regular(values: np.ndarray, times: np.ndarray, table: Table, name: str,
             gaps: str) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Values and times with a row for every step, and lines about it.  Raises DataError."""
    step = Step.of(times)
    between = step.between(times)
    said = [f"times: {name}, {show(times[0])} to {show(times[-1])}, a row every {step}"]
    wrong = np.flatnonzero(np.abs(between - 1) > 1e-6)
    if not len(wrong) or gaps == "ignore":
        return values, times, said + ([f"{len(wrong):,} steps of another length are taken as they stand"] if len(wrong) else [])
    uneven = np.flatnonzero(np.abs(between - np.rint(between)) > 1e-6)
    first = int((uneven if len(uneven) else wrong)[0])
    where = table.place(first + 1, name)
    found = f"{show(times[first])}, then {show(times[first + 1])}"
    if len(uneven):
        raise DataError("the times are not equally far apart", where=where, expected=f"steps of {step}, or several of them",
                        got=f"{len(uneven):,} other steps; the first: {found}",
                        hint="--set data.gaps=ignore takes every row as one step")
    missing = int(np.rint(between).sum()) - len(between)
    if gaps == "error":
        raise DataError("steps are missing", where=where, expected=f"a row every {step}",
                        got=f"{len(wrong):,} gaps, {missing:,} steps; the first: {found}",
                        hint="--set data.gaps=fill repeats the row before a gap, --set data.gaps=ignore takes each row as one step")
    at = np.concatenate([[0], np.cumsum(np.rint(between).astype(np.int64))])
    source = np.searchsorted(at, np.arange(at[-1] + 1), side="right") - 1
    whole = np.full((at[-1] + 1, values.shape[1]), np.nan)
    whole[at] = values
    inside = np.arange(at[-1] + 1) - at[source]
    filled = times[source].copy()
    for row in np.flatnonzero(inside):
        filled[row] = step.after(times[source[row]], int(inside[row]))[-1]
    return whole, filled, [*said, f"{len(wrong):,} gaps: {missing:,} rows put in, which repeat the one before"]


def _fill(values: np.ndarray, names: Sequence[str], table: Table) -> list[str]:
    """Fills missing numbers in place: the one before, at the beginning the first; a line that counts them."""
    holes = np.isnan(values)
    if not holes.any():
        return []
    counts = holes.sum(axis=0)
    for c in np.flatnonzero(counts):
        there = np.where(holes[:, c], -1, np.arange(len(values)))
        last = np.maximum.accumulate(there)
        last[last < 0] = int(np.argmin(holes[:, c]))
        values[:, c] = values[last, c]
    shown = ", ".join(f"{names[c]} {counts[c]:,}" for c in np.flatnonzero(counts)[:8])
    return [f"{int(counts.sum()):,} missing numbers repeat the one before: {shown}"]


# ---- dividing ------------------------------------------------------------------------------------------------------------
def parse_split(text: str) -> tuple[float, ...]:
    """"0.7,0.1,0.2" or "8640,2880,2880": training, validation, test; the last may be left out.  UsageError."""
    expected = "shares such as 0.7,0.1,0.2 or numbers of steps such as 8640,2880,2880: training, validation, test"
    try:
        found = tuple(float(part) for part in text.split(","))
    except ValueError:
        found = ()
    shares, steps = all(0 <= v < 1 for v in found), all(v >= 1 and v == int(v) or v == 0 for v in found)
    if len(found) not in (2, 3) or not found[0] > 0 or not (shares and sum(found) <= 1 + 1e-9 or steps):
        raise UsageError(f"split = {text!r} is of no use", expected=expected)
    return found


def divide(series: Series, split: str) -> Parts:
    """Training and validation steps as one part, whose `held` says how many are for validation, and the test part.

    Raises UsageError, and DataError where there are not so many steps."""
    wanted = parse_split(split)
    sizes = [round(v * len(series)) if max(wanted) < 1 else int(v) for v in wanted] + [0] * (3 - len(wanted))
    if max(wanted) < 1 and abs(sum(wanted) - 1) < 1e-9:
        sizes[0] += len(series) - sum(sizes)
    train, val, test = sizes
    if sum(sizes) > len(series):
        raise DataError("the series has fewer steps than it is divided into", where=series.source,
                        expected=f"{sum(sizes):,} steps", got=f"{len(series):,}", hint="change data.split")
    rest = len(series) - sum(sizes)
    notes = (*series.notes, f"{train:,} steps to train on, {val:,} for validation, {test:,} to test"
             + (f"; the last {rest:,} are left out" if rest else ""))
    series = replace(series, split=split)
    first = Dataset(series.part(0, train + val, val), None, series.source, notes, series.time)
    if not test:
        return Parts(first)
    part = series.part(train + val, sum(sizes))
    return Parts(first, Dataset(part, None, series.source, (), series.time))
