"""Answers as a network sees them: classes as numbers from 0, quantities with mean 0 and standard deviation 1."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dlcore.data.saved import fields
from dlcore.data.table import is_number
from dlcore.errors import DataError, ModelFileError

_MOST_CLASSES = 1 << 20
_MOST_FRACTIONS = 20                    # more different fractions than this are quantities, not labels


@dataclass(frozen=True)
class Classes:
    """The labels that were there in training, sorted; a row's class is its label's position."""

    labels: np.ndarray

    @staticmethod
    def fit(y: Any, where: str = "") -> Classes:
        """The distinct labels of `y`; raises `DataError` if there is only one."""
        labels = np.unique(_label_array(y, where))
        if labels.dtype.kind == "f" and len(labels) > _MOST_FRACTIONS and (labels != np.rint(labels)).any():
            raise DataError("the answers are continuous quantities, not labels", where=where,
                            got=f"{len(labels):,} different numbers", hint="a regressor learns quantities; labels can be text")
        if len(labels) < 2:
            raise DataError("there is only one class: nothing to learn to tell apart", where=where, expected="two labels or more",
                            got=f"label {labels[0]!s}" if len(labels) else "no rows")
        return Classes(labels)

    def __len__(self) -> int:
        return len(self.labels)

    def encode(self, y: Any, where: str = "", place: Callable[[int], str] | None = None) -> np.ndarray:
        """The class of each label, i32; raises `DataError` with the row for a label that training did not see.

        place: where a row stands in its file, for the message."""
        given = _label_array(y, where)
        comparable = given if given.dtype.kind == self.labels.dtype.kind else _converted(given, self.labels.dtype)
        ids = np.minimum(np.searchsorted(self.labels, comparable), len(self.labels) - 1)
        unknown = np.flatnonzero(self.labels[ids] != comparable)
        if len(unknown):
            row = int(unknown[0])
            raise DataError("a label is none of those that the model knows",
                            where=place(row) if place else f"{where or 'the answers'}, row {row + 1}",
                            expected=self.listed(), got=str(given[row]))
        return ids.astype(np.int32)

    def decode(self, ids: np.ndarray) -> np.ndarray:
        """The label of each class."""
        return self.labels[ids]

    def listed(self) -> str:
        """The labels for a message."""
        shown = ", ".join(map(str, self.labels[:12]))
        return shown + (f", ... ({len(self.labels)} in all)" if len(self.labels) > 12 else "")

    def to_json(self) -> list[Any]:
        """For `labels.json`."""
        return self.labels.tolist()

    @staticmethod
    def from_json(value: Any, where: str) -> Classes:
        """Raises `ModelFileError` unless `value` is a sorted list of two or more labels of one type."""
        kinds = {type(label) for label in value} if isinstance(value, list) else set()
        if len(kinds) != 1 or not kinds <= {str, int, float, bool} or not 2 <= len(value) <= _MOST_CLASSES:
            raise ModelFileError("the labels are malformed", where=where, expected="two or more labels of one type")
        if kinds == {int} and not all(-(1 << 63) <= label < 1 << 63 for label in value):
            raise ModelFileError("a label is too large", where=where)
        labels = np.array(value)
        if not (labels[:-1] < labels[1:]).all():
            raise ModelFileError("the labels are not sorted, or one occurs twice", where=where)
        return Classes(labels)


def _label_array(y: Any, where: str) -> np.ndarray:
    labels = np.asarray(y)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise DataError("labels are one per row", where=where, got=f"shape {labels.shape}")
    if labels.dtype.kind == "O":
        if any(label is None for label in labels):
            raise DataError("a label is missing", where=where)
        labels = np.array([str(label) for label in labels])
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        raise DataError("a label is not a number",
                        where=f"{where or 'the answers'}, row {int(np.argmin(np.isfinite(labels))) + 1}")
    if labels.dtype.kind not in "biufU":
        raise DataError("labels are text or numbers", where=where, got=str(labels.dtype))
    if labels.dtype.kind in "iu":
        return labels.astype(np.int64)
    return labels.astype(np.float64) if labels.dtype.kind == "f" else labels


def _converted(given: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Labels of another type, such as 3 read from a file as "3"; those that cannot be converted match nothing."""
    if dtype.kind == "U":
        return given.astype(np.str_)
    try:
        return given.astype(np.float64)
    except ValueError:
        return np.full(len(given), np.nan)


def parse_answers(cells: Sequence[Any]) -> np.ndarray:
    """Answers of a file's column: truth values, i64 if all are whole numbers, f64 if all are numbers, else text."""
    if all(isinstance(cell, bool) for cell in cells):
        return np.array(cells, bool)
    if all(_is_number(cell) for cell in cells):
        numbers = np.array([float(cell) for cell in cells])
        whole = (numbers == np.rint(numbers)).all() and (np.abs(numbers) < 1 << 53).all()
        return numbers.astype(np.int64) if whole else numbers
    return np.array([str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell) for cell in cells])


def _is_number(cell: Any) -> bool:
    """A text such as 007 is a name: it would not be written back as it was."""
    if isinstance(cell, str):
        digits = cell.removeprefix("-")
        return is_number(cell) and not (digits[:1] == "0" and digits[1:2].isdigit())
    return not isinstance(cell, bool)


@dataclass(frozen=True)
class Quantity:
    """Mean and standard deviation of the answers in training."""

    mean: float
    scale: float

    @staticmethod
    def fit(y: Any, where: str = "") -> Quantity:
        """From finite numbers, one per row; raises `DataError` otherwise, or if all are equal."""
        values = quantities(y, where)
        if len(values) == 0:
            raise DataError("there are no rows", where=where)
        if values.min() == values.max():
            raise DataError("all answers are equal: nothing to learn", where=where, got=f"{values[0]:g}")
        return Quantity(float(values.mean()), float(values.std()))

    def encode(self, y: Any, where: str = "") -> np.ndarray:
        """(N, 1), f32."""
        return ((quantities(y, where) - self.mean) / self.scale).astype(np.float32)[:, np.newaxis]

    def decode(self, out: np.ndarray) -> np.ndarray:
        """(N,), f32, in the answers' own unit; as the network's outputs are f32, so is the arithmetic."""
        return out[:, 0] * np.float32(self.scale) + np.float32(self.mean)

    def to_json(self) -> dict[str, float]:
        """For `labels.json`."""
        return {"mean": self.mean, "scale": self.scale}

    @staticmethod
    def from_json(value: Any, where: str) -> Quantity:
        """Raises `ModelFileError` if malformed."""
        mean, scale = fields(value, where, mean=float, scale=float)
        if scale <= 0:
            raise ModelFileError("the scale of the answers must be positive", where=where, got=str(scale))
        return Quantity(mean, scale)


def quantities(y: Any, where: str = "") -> np.ndarray:
    """Answers of a regression, (N,) f64; raises `DataError` unless they are finite numbers, one per row."""
    values = np.asarray(y)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.dtype.kind == "O" and all(isinstance(value, (int, float)) for value in values.ravel()):
        values = values.astype(np.float64)
    if values.ndim != 1 or values.dtype.kind not in "biuf":
        raise DataError("a regression needs one number per row", where=where,
                        got=f"{values.dtype}, shape {values.shape}")
    values = values.astype(np.float64)
    if not np.isfinite(values).all():
        raise DataError("an answer is not a finite number",
                        where=f"{where or 'the answers'}, row {int(np.argmin(np.isfinite(values))) + 1}")
    return values
