"""What metrics are given, checked and brought into one form: labels as numbers of classes, weights as float64.

Kinds of answers are scikit-learn's: "binary" and "multiclass" (one label a row), "multilabel" (a matrix of 0 and 1,
one column a label).
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from dlcore.errors import UsageError

Average = Literal["binary", "micro", "macro", "weighted", "samples"] | None
_WIDEST = 1 << 20                       # whole numbers in a range up to this are classes found by counting, not by sorting


class UndefinedMetricWarning(UserWarning):
    """A metric has no value on these data and was set to one."""


@dataclass(frozen=True)
class Answers:
    """Answers and predictions of N rows.

    true, pred: (N,) numbers of classes in `labels`, or (N, L) of bool for "multilabel".  labels: sorted.
    """

    kind: str
    labels: np.ndarray
    true: np.ndarray
    pred: np.ndarray

    def __len__(self) -> int:
        return len(self.true)


def pair(y_true: Any, y_pred: Any) -> Answers:
    """Both sides of a comparison of labels.  Raises `UsageError` where they do not fit together."""
    true, pred = np.asarray(y_true), np.asarray(y_pred)
    same_length(true, pred)
    if len(true) == 0:
        raise UsageError("there are no rows to measure")
    if is_multilabel(true) or is_multilabel(pred):
        if true.shape != pred.shape:
            raise UsageError("rows of labels cannot be compared with single labels", expected=f"shape {true.shape}",
                             got=f"shape {pred.shape}")
        return Answers("multilabel", np.arange(true.shape[1]), true != 0, pred != 0)
    true, pred = label_column(true, "y_true"), label_column(pred, "y_pred")
    labels = present(true, pred)
    return Answers("binary" if len(labels) <= 2 else "multiclass", labels, encode(true, labels), encode(pred, labels))


def is_multilabel(y: np.ndarray) -> bool:
    """Whether y is a matrix of 0 and 1 with more than one column."""
    if y.ndim != 2 or y.shape[1] < 2 or y.dtype.kind not in "biuf":
        return False
    return y.dtype.kind == "b" or bool(((y == 0) | (y == 1)).all())


def column(y: Any, name: str) -> np.ndarray:
    """y as (N,): one column of a matrix is accepted."""
    y = np.asarray(y)
    if y.ndim == 2 and y.shape[1] == 1:
        return y[:, 0]
    if y.ndim != 1:
        raise UsageError(f"{name} must have one value a row", expected="shape (N,)", got=f"shape {y.shape}")
    return y


def label_column(y: Any, name: str) -> np.ndarray:
    """Labels as (N,): text, whole numbers or truth values.  Raises `UsageError` for fractions and NaN."""
    y = column(y, name)
    if y.dtype.kind == "f" and not (np.isfinite(y).all() and (y == np.rint(y)).all()):
        raise UsageError(f"{name} are numbers, not labels", expected="text or whole numbers", got=str(y[:3]))
    if y.dtype.kind == "O" and len({isinstance(value, str) for value in y.tolist()}) > 1:
        raise UsageError(f"{name} mixes text and numbers")
    return y


def numbers(y: Any, name: str) -> np.ndarray:
    """Finite float numbers; float32 stays, everything else becomes float64."""
    try:
        y = np.asarray(y)
        y = y if y.dtype in (np.float32, np.float64) else y.astype(np.float64)
    except (TypeError, ValueError):
        raise UsageError(f"{name} are no numbers", got=str(y)[:60]) from None
    with np.errstate(over="ignore", invalid="ignore"):
        total = y.sum(dtype=np.float64)                          # a NaN or an infinity is seen here, without a copy of y
    if not np.isfinite(total) and not np.isfinite(y).all():
        raise UsageError(f"{name} has a value that is not finite")
    return y


def weights(sample_weight: Any, count: int) -> np.ndarray | None:
    """(N,) float64, or None.  Raises `UsageError`."""
    if sample_weight is None:
        return None
    weight = column(numbers(sample_weight, "sample_weight"), "sample_weight").astype(np.float64, copy=False)
    if len(weight) != count:
        raise UsageError("sample_weight does not fit the rows", expected=f"{count:,}", got=f"{len(weight):,}")
    return weight


def same_length(*arrays: np.ndarray | None) -> None:
    """Raises `UsageError` unless the arrays have as many rows as each other."""
    counts = [np.shape(a)[0] if np.ndim(a) else -1 for a in arrays if a is not None]
    if len(set(counts)) > 1 or -1 in counts:
        raise UsageError("the arrays have different numbers of rows", got=", ".join(f"{n:,}" for n in counts))


def present(*arrays: np.ndarray) -> np.ndarray:
    """The labels that occur in any of the arrays, sorted."""
    kinds = {"text" if a.dtype.kind in "USO" and isinstance(a.flat[0], (str, bytes)) else "number"
             for a in arrays if a.size}
    if len(kinds) > 1:
        raise UsageError("text cannot be compared with numbers", hint="give y_true and y_pred labels of one kind")
    if all(a.dtype.kind in "biu" for a in arrays):
        found = [labels for a in arrays if (labels := _counted(a)) is not None]
        if len(found) == len(arrays):
            return np.unique(np.concatenate(found))
    return np.unique(np.concatenate([np.unique(a) for a in arrays]))


def _counted(y: np.ndarray) -> np.ndarray | None:
    """The whole numbers that occur, or None where they span too much to be counted."""
    if y.size == 0:
        return y
    if y.dtype.kind == "b":
        return np.array([value for value in (False, True) if (y == value).any()])
    low, high = int(y.min()), int(y.max())
    if high - low >= _WIDEST:
        return None
    return (np.flatnonzero(np.bincount(_shifted(y, low))) + low).astype(y.dtype)


def _shifted(y: np.ndarray, low: int) -> np.ndarray:
    wide = y.astype(np.int64, copy=False)
    return wide if low == 0 else wide - low


def encode(y: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(N,) int64: the number of each label in sorted `labels`, -1 where it is none of them."""
    if len(labels) == 0:
        return np.full(len(y), -1)
    if y.dtype.kind in "biu" and labels.dtype.kind in "biu":
        low, high = int(labels[0]), int(labels[-1])
        if high - low < _WIDEST:
            return _by_table(y, labels, low, high)
    place = np.searchsorted(labels, y).clip(0, len(labels) - 1)
    return np.where(labels[place] == y, place, -1)


def _by_table(y: np.ndarray, labels: np.ndarray, low: int, high: int) -> np.ndarray:
    inside = y.size == 0 or (int(y.min()) >= low and int(y.max()) <= high)
    if inside and len(labels) == high - low + 1:
        return _shifted(y, low)
    table = np.full(high - low + 2, -1)
    table[labels.astype(np.int64) - low] = np.arange(len(labels))
    index = _shifted(y, low)
    return table[index] if inside else table[np.where((index >= 0) & (index <= high - low), index, high - low + 1)]


def ordered_labels(labels: Any, columns: int, y_true: np.ndarray) -> np.ndarray:
    """The labels of the columns of scores: as given, sorted and without repetition, or those that occur."""
    if labels is None:
        found = present(y_true)
        if len(found) != columns:
            raise UsageError("the labels that occur do not fit the columns of scores", expected=f"{columns} labels",
                             got=f"{len(found)}", hint="name all of them: labels=")
        return found
    given = column(labels, "labels")
    if not np.array_equal(np.unique(given), given):
        raise UsageError("labels must be sorted and without repetition", got=str(given[:10]))
    if len(given) != columns:
        raise UsageError("labels do not fit the columns of scores", expected=str(columns), got=str(len(given)))
    if len(np.setdiff1d(present(y_true), given)):
        raise UsageError("y_true has labels that are not among labels=",
                         got=str(np.setdiff1d(present(y_true), given)[:10]))
    return given


def positive(y_true: Any, pos_label: Any) -> np.ndarray:
    """(N,) bool: which answers are `pos_label`, which may be left out for labels in {0, 1} or {-1, 1}."""
    y = column(y_true, "y_true")
    if pos_label is not None:
        return np.asarray(y == pos_label, bool)
    if y.dtype.kind == "b":
        return y
    y = label_column(y, "y_true")
    labels = present(y)
    if labels.dtype.kind not in "biuf" or not (np.isin(labels, [0, 1]).all() or np.isin(labels, [-1, 1]).all()):
        raise UsageError("it is not clear which label is the positive one", got=str(labels[:5]),
                         expected="labels in {0, 1} or {-1, 1}", hint="name it: pos_label=")
    return np.asarray(y == 1, bool)


def average(values: np.ndarray, weight: np.ndarray | None) -> float:
    """The mean of (N,) values in float64; raises `UsageError` where the weights sum to 0."""
    if weight is None:
        return float(np.mean(values, dtype=np.float64))
    total = weight.sum()
    if total == 0:
        raise UsageError("the sample weights sum to zero")
    return float(np.dot(values.astype(np.float64, copy=False), weight) / total)
