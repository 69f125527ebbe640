"""What every reader gives: inputs, answers, and what was decided while reading."""
from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

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

    def take(self, rows: np.ndarray) -> Dataset:
        """The rows with these indices, in this order."""
        x = self.x[rows] if isinstance(self.x, np.ndarray) else self.x.take(rows)
        return Dataset(x, None if self.y is None else self.y[rows], self.source, label=self.label)


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
