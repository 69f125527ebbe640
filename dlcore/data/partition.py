"""A table divided into files for training, validation and test, by seed alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from dlcore.data.files import bare
from dlcore.data.split import shuffled, split
from dlcore.data.table import Table, read_table
from dlcore.data.write import FORMATS, write_table
from dlcore.errors import DataError, UsageError, WriteError


def divide(
    source: str,
    out: str,
    val: float = 0.1,
    test: float = 0.1,
    seed: int = 0,
    label_col: str = "",
    group_col: str = "",
    time_col: str = "",
) -> dict[str, Any]:
    """Writes `out`/train, val and test in the format of `source` (csv where it cannot be written); returns rows and paths.

    label_col: every label is divided alike.  group_col: rows of one group stay together.  time_col: the last rows are the test
    part, those before them the validation part.  Raises `DataError`, `UsageError`, `WriteError`; nothing is overwritten."""
    if sum(map(bool, (label_col, group_col, time_col))) > 1:
        raise UsageError(
            "rows are divided by label, by group or by time", expected="one of --label-col, --group-col, --time-col"
        )
    if val + test >= 1 or val + test == 0:
        raise UsageError(
            "the shares of validation and test leave nothing", expected="0 < val + test < 1", got=f"{val:g} + {test:g}"
        )
    table = read_table(source)
    column = label_col or group_col or time_col
    if column and column not in table.columns:
        raise DataError(f"there is no column {column!r}", where=source, expected=", ".join(table.names[:30]))
    rows = _rows(table, val, test, seed, label_col, group_col, time_col)
    suffix = Path(bare(source)).suffix
    suffix = suffix if suffix in FORMATS else ".csv"
    paths = {name: Path(out) / f"{name}{suffix}" for name in rows}
    if there := [str(path) for path in paths.values() if path.exists()]:
        raise WriteError("a part is there already, and is not overwritten", where=there[0])
    for name, numbers in rows.items():
        write_table(table.take(numbers), str(paths[name]), label_col)
    return {
        "source": source,
        "seed": seed,
        "parts": {n: {"rows": len(r), "path": str(paths[n])} for n, r in rows.items()},
    }


def _rows(table: Table, val: float, test: float, seed: int, label: str, group: str, time: str) -> dict[str, np.ndarray]:
    """Part -> row numbers, rising; parts of share 0 are left out."""
    count = len(table)
    if time:
        return _by_time(table, val, test, time)
    if group:
        return _by_group(table, val, test, seed, group)
    classes = None
    if label:
        classes = np.unique([str(v) for v in table.columns[label]], return_inverse=True)[1]
    rest, found = np.arange(count), {}
    for name, share, left in (("test", test, 1.0), ("val", val, 1.0 - test)):
        if share:
            kept, taken = split(len(rest), share / left, seed, None if classes is None else classes[rest])
            found[name], rest = rest[taken], rest[kept]
    return {"train": rest, **{name: found[name] for name in ("val", "test") if name in found}}


def _by_group(table: Table, val: float, test: float, seed: int, column: str) -> dict[str, np.ndarray]:
    groups = np.unique([str(v) for v in table.columns[column]], return_inverse=True)[1]
    sizes = np.bincount(groups)
    order = shuffled(len(sizes), seed)
    # whole groups, in shuffled order, until a part has its share
    ends = np.cumsum(sizes[order]) / len(table)
    part = np.empty(len(sizes), np.int64)
    part[order] = np.where(ends <= test, 2, np.where(ends <= test + val, 1, 0))
    return _parts(part[groups], val, test, f"the groups of {column!r} are too few or too large")


def _by_time(table: Table, val: float, test: float, column: str) -> dict[str, np.ndarray]:
    cells = table.columns[column]
    values = cells if isinstance(cells, np.ndarray) else np.array([str(v) for v in cells])
    if isinstance(cells, list) and any(v is None for v in cells):
        raise DataError("a row has no time", where=table.place(cells.index(None), column))
    try:
        values = values.astype(np.float64)
    except ValueError:
        pass  # ISO dates sort as text
    order = np.argsort(values, kind="stable")
    place = np.empty(len(table), np.int64)
    place[order] = np.arange(len(table))
    first_test = len(table) - round(test * len(table))
    first_val = first_test - round(val * len(table))
    return _parts(
        np.where(place >= first_test, 2, np.where(place >= first_val, 1, 0)), val, test, "there are too few rows"
    )


def _parts(part: np.ndarray, val: float, test: float, why: str) -> dict[str, np.ndarray]:
    names = {"train": 0, **({"val": 1} if val else {}), **({"test": 2} if test else {})}
    found = {name: np.flatnonzero(part == number) for name, number in names.items()}
    if empty := [name for name, rows in found.items() if not len(rows)]:
        raise DataError(f"the part {empty[0]} would be empty: {why}")
    return found
