"""Dividing rows into folds: names, meanings and, without shuffling, the very rows of scikit-learn's splitters.

    for train, test in StratifiedKFold(5).split(x, y):          # sorted row numbers, i64

Every row is in one test part; with `TimeSeriesSplit` the first part is in none.  Shuffled folds follow from the seed
alone (`split.shuffled`), on every machine; scikit-learn's shuffled folds are others.
"""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from dlcore.data.split import shuffled
from dlcore.errors import DataError, UsageError

Fold = tuple[np.ndarray, np.ndarray]


class _Folds:
    """Base class.  A subclass says the fold in which each row is tested."""

    def __init__(self, n_splits: int = 5, shuffle: bool = False, random_state: int = 0):
        if not isinstance(n_splits, (int, np.integer)) or isinstance(n_splits, bool) or n_splits < 2:
            raise UsageError("there must be two folds or more", expected="a whole number from 2", got=repr(n_splits))
        self.n_splits, self.shuffle, self.random_state = int(n_splits), shuffle, random_state

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"

    def get_n_splits(self, x: Any = None, y: Any = None, groups: Any = None) -> int:
        """How many folds there are; the arguments are there for scikit-learn."""
        return self.n_splits

    def split(self, x: Any, y: Any = None, groups: Any = None) -> Iterator[Fold]:
        """(training rows, test rows) of each fold.  `x` gives the number of rows only.

        y: (N,) labels, groups: (N,) of anything that can be sorted.  Raises `DataError` where the rows do not suffice.
        """
        count = len(x)
        fold = self._fold_of(count, None if y is None else _one_per_row(y, count, "labels"),
                             None if groups is None else _one_per_row(groups, count, "groups"))
        for number in range(self.n_splits):
            yield np.flatnonzero(fold != number), np.flatnonzero(fold == number)

    def _fold_of(self, count: int, y: np.ndarray | None, groups: np.ndarray | None) -> np.ndarray:
        raise NotImplementedError

    def _enough(self, found: int, what: str) -> None:
        if self.n_splits > found:
            raise DataError(f"{self.n_splits} folds need at least as many {what}", got=f"{found} {what}",
                            hint="take fewer folds")


class KFold(_Folds):
    """Consecutive rows, or rows in the seed's order; sizes differ by at most one."""

    def _fold_of(self, count: int, y: np.ndarray | None, groups: np.ndarray | None) -> np.ndarray:
        self._enough(count, "rows")
        sizes = np.full(self.n_splits, count // self.n_splits)
        sizes[:count % self.n_splits] += 1
        fold = np.empty(count, np.int64)
        fold[shuffled(count, self.random_state) if self.shuffle else np.arange(count)] = np.repeat(
            np.arange(self.n_splits), sizes)
        return fold


class StratifiedKFold(_Folds):
    """Every fold has the same share of each label, up to one row."""

    def _fold_of(self, count: int, y: np.ndarray | None, groups: np.ndarray | None) -> np.ndarray:
        classes, sizes = _classes(y)
        self._enough(int(sizes.max()), "rows of some label")
        classes, sizes = _by_first_row(classes, sizes)
        # the labels in order of their first row, dealt out one by one, say how many of each a fold gets
        in_order = np.sort(classes)
        share = [np.bincount(in_order[number::self.n_splits], minlength=len(sizes)) for number in range(self.n_splits)]
        fold = np.empty(count, np.int64)
        for label, wanted in enumerate(np.stack(share, axis=1)):
            rows = np.flatnonzero(classes == label)
            if self.shuffle:
                rows = rows[shuffled(len(rows), self.random_state + label)]
            fold[rows] = np.repeat(np.arange(self.n_splits), wanted)
        return fold


class GroupKFold(_Folds):
    """All rows of a group are in the same fold; the biggest groups go first, each into the fold with the fewest rows.

    Shuffled, groups of equal size are dealt out in the seed's order.
    """

    def _fold_of(self, count: int, y: np.ndarray | None, groups: np.ndarray | None) -> np.ndarray:
        group, sizes = _groups(groups)
        self._enough(len(sizes), "groups")
        order = shuffled(len(sizes), self.random_state) if self.shuffle else np.arange(len(sizes))
        biggest_first = order[np.argsort(sizes[order], kind="stable")[::-1]]
        rows, fold_of_group = np.zeros(self.n_splits, np.int64), np.empty(len(sizes), np.int64)
        for number in biggest_first:
            lightest = int(np.argmin(rows))
            rows[lightest] += sizes[number]
            fold_of_group[number] = lightest
        return fold_of_group[group]


class StratifiedGroupKFold(_Folds):
    """All rows of a group are in the same fold, and the folds have about the same share of each label.

    Groups with the most uneven labels go first; each goes where the labels' shares then differ least between the folds.
    """

    def _fold_of(self, count: int, y: np.ndarray | None, groups: np.ndarray | None) -> np.ndarray:
        classes, totals = _classes(y)
        group, sizes = _groups(groups)
        self._enough(int(totals.max()), "rows of some label")
        self._enough(len(sizes), "groups")
        if self.shuffle:
            group = np.argsort(shuffled(len(sizes), self.random_state), kind="stable")[group]
        per_group = np.zeros((len(sizes), len(totals)))
        np.add.at(per_group, (group, classes), 1)
        per_fold, fold_of_group = np.zeros((self.n_splits, len(totals))), np.empty(len(sizes), np.int64)
        itself = np.eye(self.n_splits)[:, :, np.newaxis]
        for number in np.argsort(-per_group.std(axis=1), kind="stable"):
            if_there = (per_fold + itself * per_group[number]) / totals          # (candidate, fold, label)
            chosen = _least(if_there.std(axis=1).mean(axis=1), per_fold.sum(axis=1))
            per_fold[chosen] += per_group[number]
            fold_of_group[number] = chosen
        return fold_of_group[group]


class TimeSeriesSplit:
    """Rows in the order of time: trained on what was before, tested on what came next.

    test_size: rows of each test part, by default N // (n_splits + 1).   gap: rows left out before each test part.
    max_train_size: the most rows to train on, the latest ones.
    """

    def __init__(self, n_splits: int = 5, max_train_size: int | None = None, test_size: int | None = None, gap: int = 0):
        self.n_splits = KFold(n_splits).n_splits
        self.max_train_size, self.test_size, self.gap = max_train_size, test_size, gap

    get_n_splits = _Folds.get_n_splits
    __repr__ = _Folds.__repr__

    def split(self, x: Any, y: Any = None, groups: Any = None) -> Iterator[Fold]:
        """(training rows, test rows) of each fold.  Raises `DataError` where the rows do not suffice."""
        count = len(x)
        size = self.test_size if self.test_size is not None else count // (self.n_splits + 1)
        if size < 1 or count - self.gap - size * self.n_splits <= 0:
            raise DataError(f"{count} rows are too few for {self.n_splits} folds in the order of time",
                            expected=f"more than {max(size, 1) * self.n_splits + self.gap} rows", hint="take fewer folds")
        for begin in range(count - self.n_splits * size, count, size):
            end = begin - self.gap
            first = max(0, end - self.max_train_size) if self.max_train_size else 0
            yield np.arange(first, end), np.arange(begin, begin + size)


def _one_per_row(values: Any, count: int, what: str) -> np.ndarray:
    array = np.asarray(values)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.shape != (count,):
        raise DataError(f"{what} are one per row", expected=f"{count} {what}", got=f"shape {array.shape}")
    return array


def _classes(y: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """The number of each row's label, sorted, and how many rows each has.  Raises `UsageError` without labels."""
    if y is None:
        raise UsageError("stratified folds need labels")
    if y.dtype.kind == "f" and (y != np.rint(y)).any():
        raise DataError("stratified folds need labels, and these are quantities", hint="take plain folds: KFold")
    _, inverse, sizes = np.unique(y, return_inverse=True, return_counts=True)
    return inverse, sizes


def _by_first_row(classes: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same, numbered by the first row of each label."""
    order = np.argsort(np.unique(classes, return_index=True)[1])
    return np.argsort(order)[classes], sizes[order]


def _groups(groups: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """The number of each row's group, and how many rows each has.  Raises `UsageError` without groups."""
    if groups is None:
        raise UsageError("grouped folds need a group per row")
    _, inverse, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    return inverse, sizes


def _least(values: np.ndarray, rows: np.ndarray) -> int:
    """The first fold of least value; among those that are about equal one with fewer rows."""
    chosen, least, fewest = 0, np.inf, np.inf
    for fold, (value, size) in enumerate(zip(values, rows, strict=True)):
        if value < least or (np.isclose(value, least) and size < fewest):
            chosen, least, fewest = fold, value, size
    return chosen


KINDS: dict[str, type[_Folds]] = {"plain": KFold, "stratified": StratifiedKFold, "group": GroupKFold,
                                  "stratified-group": StratifiedGroupKFold}


def order_of(values: Sequence[Any], where: str = "") -> np.ndarray:
    """Row numbers in the order of time: numbers by size, anything else as text; equal ones stay as they are.

    ISO dates and times are in order as text.  Raises `DataError` with the row where a time is missing, after `where`.
    """
    missing = [value is None or value != value for value in values]
    if any(missing):
        raise DataError("a time is missing", where=f"{where}row {missing.index(True) + 1}",
                        hint="fill it in, or leave the row out")
    try:
        keys = np.array([float(value) for value in values])
    except (TypeError, ValueError):
        keys = np.array([str(value) for value in values])
    return np.argsort(keys, kind="stable")
