"""What every reader gives: inputs, answers, and what was decided while reading."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dlcore.errors import DataError

if TYPE_CHECKING:
    from dlcore.data.series import Series
    from dlcore.data.table import Table


@dataclass(frozen=True)
class Dataset:
    """Rows of one part of a data set.

    `x`: images (N, H, W) or (N, H, W, C), a `Table` of N rows or a `Series` of N
    steps; `y`: N answers, or None where there are none;
    `source`: the file or folder; `notes`: what the reader decided, one line each, for the user to see; `label`: the
    column that the answers of a table come from.
    """

    x: np.ndarray | Table | Series
    y: np.ndarray | None = None
    source: str = ""
    notes: tuple[str, ...] = field(default=())
    label: str = ""

    def __len__(self) -> int:
        return len(self.x)

    def place(self, row: int) -> str:
        """Where a row's answer stands, for messages: the line of a table's file, else the row's number, from 1."""
        from dlcore.data.table import Table
        if not isinstance(self.x, Table):
            return f"{self.source or 'the data'}, row {row + 1}"
        return self.x.place(row, self.label) if self.label else f"{self.source or 'the data'}, row {self.x.lines[row]}"

    def take(self, rows: np.ndarray) -> Dataset:
        """The rows with these indices, in this order."""
        x = self.x[rows] if isinstance(self.x, np.ndarray) else self.x.take(rows)
        return Dataset(x, None if self.y is None else self.y[rows], self.source, label=self.label)


def together(parts: Sequence[Dataset]) -> Dataset:
    """The rows of several inputs, one after another: of tables the columns that all of them have.  DataError for arrays of
    different shapes, and for what is no array and no table."""
    from dlcore.data.table import Table
    first = parts[0]
    if len(parts) == 1:
        return first
    note = f"{sum(len(part) for part in parts):,} rows of {len(parts)} inputs"
    sources = f"{first.source}, ..."
    arrays = [part.x for part in parts if isinstance(part.x, np.ndarray)]
    if len(arrays) == len(parts):
        for part, array in zip(parts, arrays, strict=True):
            if array.shape[1:] != arrays[0].shape[1:]:
                raise DataError("the inputs do not fit together", where=part.source, got=f"shape {array.shape[1:]}",
                                expected=f"shape {arrays[0].shape[1:]}, as {first.source}")
        return Dataset(np.concatenate(arrays), None, sources, (note,))
    tables = [part.x for part in parts if isinstance(part.x, Table)]
    if len(tables) < len(parts):
        raise DataError("several inputs of this kind cannot be joined", got=", ".join(part.source for part in parts[:3]),
                        hint="name one at a time, or the folder that they lie in")
    shared = [name for name in tables[0].names if all(name in table.columns for table in tables)]
    columns: dict[str, Any] = {name: [value for table in tables for value in _cells(table.columns[name])] for name in shared}
    lines = [line for table in tables for line in table.lines]
    return Dataset(replace(tables[0], columns=columns, lines=lines, source=sources), None, sources, (note,), first.label)


def _cells(column: Any) -> list[Any]:
    return [None if v != v else v for v in column.tolist()] if isinstance(column, np.ndarray) else column


class Parts(NamedTuple):
    """A data set as its source divides it; `test` is None where there is only one part."""

    train: Dataset
    test: Dataset | None = None

    @property
    def notes(self) -> tuple[str, ...]:
        """What the reader decided, over all parts."""
        return self.train.notes + (self.test.notes if self.test else ())

    def held_out(self) -> Dataset:
        """The part to evaluate on: the test part if there is one, else everything."""
        return self.train if self.test is None else self.test
