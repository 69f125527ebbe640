"""What each column of a table becomes: decided on the training rows, saved with the model, applied to any later row."""
from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import numpy as np

from dlcore.data.saved import choice, fields
from dlcore.data.table import Cell, Column, Table, is_number
from dlcore.errors import DataError, ModelFileError

MOST_CATEGORIES = 256                  # rarer categories share no column of their own: they are encoded as unseen
FEW_VALUES = 32                        # whole numbers with at most as many values are encoded as categories, too
_STRAY = 0.05                          # a column with at most this share of cells that are no numbers is numeric
_DATE = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?)?")


class Encoder(Protocol):
    """One column's encoding: `width` numbers per row."""

    @property
    def name(self) -> str:
        """The column's name."""

    @property
    def width(self) -> int:
        """How many numbers it becomes."""

    def encode(self, table: Table, out: np.ndarray) -> None:
        """Write the column's numbers into `out`, f32 (N, width), which holds zeros; raises `DataError`."""

    def describe(self) -> str:
        """What was decided, for the user."""

    def to_json(self) -> dict[str, Any]:
        """For `preprocess.json`."""


@dataclass(frozen=True)
class Numeric:
    """(x - mean) / scale, a missing value as 0; `missing` adds a column that is 1 where it is missing.

    `strays`: training had a few cells that are no numbers, and they count as missing; otherwise they are refused.
    `values` adds a column for each of a few whole numbers: an hour or a month is an amount and a name.  A date such as
    2011-01-31 or 2011-01-31 12:00 counts as the days since the year 1.
    """

    name: str
    mean: float
    scale: float
    missing: bool
    strays: bool = False
    values: tuple[float, ...] = ()

    @property
    def width(self) -> int:
        return 1 + self.missing + len(self.values)

    def encode(self, table: Table, out: np.ndarray) -> None:
        numbers = _numbers(table, self.name, self.strays)
        absent = np.isnan(numbers)
        # in float64, and kept within what float32 can hold: a wild value in a later row must not become inf
        out[:, 0] = np.clip(np.where(absent, 0.0, (numbers - self.mean) / self.scale), -1e6, 1e6)
        if self.missing:
            out[:, 1] = absent
        for i, value in enumerate(self.values, 1 + self.missing):
            out[:, i] = numbers == value

    def describe(self) -> str:
        few = f", {len(self.values)} values" if self.values else ""
        strays = ", a few cells that are no numbers count as missing" if self.strays else ""
        return f"{self.name}: number{few}" + (", missing values" if self.missing and not strays else "") + strays

    def to_json(self) -> dict[str, Any]:
        return {"kind": "number", "name": self.name, "mean": self.mean, "scale": self.scale, "missing": self.missing,
                "strays": self.strays, "values": list(self.values)}

    @staticmethod
    def from_json(value: Any, where: str) -> Numeric:
        """Raises `ModelFileError` if malformed."""
        _, name, mean, scale, missing, strays, values = fields(value, where, kind=str, name=str, mean=float, scale=float,
                                                               missing=bool, strays=bool, values=list)
        if scale <= 0 or len(values) > MOST_CATEGORIES \
                or not all(type(item) is float and math.isfinite(item) for item in values):
            raise ModelFileError("the encoding of a column is malformed", where=where)
        return Numeric(name, mean, scale, missing, strays, tuple(values))


@dataclass(frozen=True)
class Categorical:
    """One column per category, one more for missing values if training had any; an unseen category is all zeros."""

    name: str
    categories: tuple[str, ...]
    missing: bool

    @property
    def width(self) -> int:
        return len(self.categories) + self.missing

    def encode(self, table: Table, out: np.ndarray) -> None:
        positions = {category: i for i, category in enumerate(self.categories)}
        absent = len(self.categories) if self.missing else -1
        ids = np.array([absent if cell is None else positions.get(category_text(cell), -1)
                        for cell in _cells(table.columns[self.name])], np.int64)
        rows = np.flatnonzero(ids >= 0)
        out[rows, ids[rows]] = 1

    def describe(self) -> str:
        return f"{self.name}: {len(self.categories)} categories" + (", missing values" if self.missing else "")

    def to_json(self) -> dict[str, Any]:
        return {"kind": "category", "name": self.name, "categories": list(self.categories), "missing": self.missing}

    @staticmethod
    def from_json(value: Any, where: str) -> Categorical:
        """Raises `ModelFileError` if malformed."""
        _, name, categories, missing = fields(value, where, kind=str, name=str, categories=list, missing=bool)
        if not all(isinstance(category, str) for category in categories) or len(set(categories)) != len(categories) \
                or not 0 < len(categories) <= MOST_CATEGORIES:
            raise ModelFileError("the categories of a column are malformed", where=where)
        return Categorical(name, tuple(categories), missing)


@dataclass(frozen=True)
class Ignored:
    """A column that says nothing that could be learned; `reason` is for the user."""

    name: str
    reason: str
    width: int = 0

    def encode(self, table: Table, out: np.ndarray) -> None:
        pass

    def describe(self) -> str:
        return f"{self.name}: ignored, {self.reason}"

    def to_json(self) -> dict[str, Any]:
        return {"kind": "ignored", "name": self.name, "reason": self.reason}

    @staticmethod
    def from_json(value: Any, where: str) -> Ignored:
        """Raises `ModelFileError` if malformed."""
        _, name, reason = fields(value, where, kind=str, name=str, reason=str)
        return Ignored(name, reason)


_KINDS: dict[str, type[Numeric] | type[Categorical] | type[Ignored]] = {
    "number": Numeric, "category": Categorical, "ignored": Ignored}


def encoder_from_json(value: Any, where: str) -> Encoder:
    """The encoder that `to_json` described; raises `ModelFileError` if malformed."""
    return choice(value.get("kind") if isinstance(value, dict) else None, where, _KINDS).from_json(value, where)


def fit_encoder(table: Table, name: str) -> Encoder:
    """Infer what a column holds, from the cells that are not missing.  Raises `DataError` for infinite numbers."""
    column = table.columns[name]
    cells: list[Cell] = [] if isinstance(column, np.ndarray) else [cell for cell in column if cell is not None]
    strays = sum(_number(cell) is None for cell in cells)
    if isinstance(column, np.ndarray) or strays <= _STRAY * len(cells):
        return _fit_numeric(table, name, strays > 0)
    return _fit_categorical(name, cells, len(column))


def _fit_numeric(table: Table, name: str, strays: bool) -> Encoder:
    numbers = _numbers(table, name, strays)
    present = numbers[~np.isnan(numbers)]
    if len(present) == 0:
        return Ignored(name, "all values are missing")
    low, high = float(present.min()), float(present.max())
    missing = len(present) < len(numbers)
    if low == high and not missing:
        return Ignored(name, "all values are equal")
    if high - low < 1e150:
        mean, scale = float(present.mean()), float(present.std())
    else:                                                  # squares would overflow
        mean, scale = 0.0, max(abs(low), abs(high))
    few = () if isinstance(table.columns[name], np.ndarray) else _few_values(present)
    return Numeric(name, mean, scale if scale > 0 else 1.0, missing, strays, few)


def _few_values(present: np.ndarray) -> tuple[float, ...]:
    """The distinct values, if they are whole, more than two and few, and each occurs often enough to learn from."""
    if len(present) > 1000:
        values, counts = np.unique(present, return_counts=True)
        if 2 < len(values) <= FEW_VALUES and (values == np.rint(values)).all() and np.median(counts) >= 20:
            return tuple(values.tolist())
    return ()


def _fit_categorical(name: str, cells: list[Cell], rows: int) -> Encoder:
    counts = Counter(category_text(cell) for cell in cells)
    if len(counts) > 50 and len(counts) > 0.5 * len(cells):
        return Ignored(name, f"{len(counts):,} different texts in {len(cells):,} rows")
    missing = len(cells) < rows
    if len(counts) == 1 and not missing:
        return Ignored(name, "all values are equal")
    common = sorted(counts, key=lambda category: (-counts[category], category))[:MOST_CATEGORIES]
    return Categorical(name, tuple(sorted(common)), missing)


def _number(cell: Cell) -> float | None:
    """A cell as a number, a date as its days since the year 1; None for what is neither."""
    if isinstance(cell, bool) or cell is None:
        return None
    if not isinstance(cell, str) or is_number(cell):
        return float(cell)
    if _DATE.fullmatch(cell):
        try:
            moment = datetime.fromisoformat(cell)
        except ValueError:
            return None
        return moment.toordinal() + (moment.hour * 3600 + moment.minute * 60 + moment.second) / 86400
    return None


def category_text(cell: Cell) -> str:
    """A category as it is compared: 3, 3.0 and "3" are one."""
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return str(cell)


def _cells(column: Column) -> list[Cell]:
    return [None if np.isnan(cell) else float(cell) for cell in column] if isinstance(column, np.ndarray) else column


def _numbers(table: Table, name: str, strays: bool) -> np.ndarray:
    """A column as f64 with NaN where a value is missing; raises `DataError` for what is no finite number."""
    column = table.columns[name]
    if isinstance(column, np.ndarray):
        numbers = column
    else:
        numbers = np.full(len(column), np.nan)
        for row, cell in enumerate(column):
            number = _number(cell)
            if number is not None:
                numbers[row] = number
            elif cell is not None and not strays:
                raise DataError("a cell of a numeric column is no number", where=table.place(row, name),
                                expected="a number as in training, or an empty cell where it is not known",
                                got=str(cell)[:60])
    if np.isinf(numbers).any():
        row = int(np.argmax(np.isinf(numbers)))
        raise DataError("a number is infinite or too large", where=table.place(row, name), got=str(numbers[row]),
                        expected="a finite number, or an empty cell where it is not known")
    return numbers
