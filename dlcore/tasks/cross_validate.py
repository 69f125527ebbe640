"""Cross-validation: an estimator trained once per fold, measured on the rows that it has not seen.

    scores = cross_validate(TabularClassifier(), x, y, folds=5)
    scores.mean["accuracy"], scores.deviation["accuracy"], scores.predictions
"""
from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from dlcore.data.folds import KINDS, Fold, GroupKFold, TimeSeriesSplit
from dlcore.errors import DataError, UsageError
from dlcore.tasks.estimator import FEWEST_TO_DIVIDE, Estimator, pair, take
from dlcore.tasks.processes import check_jobs, in_processes
from dlcore.tasks.supervised import Classifier, Regressor

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

AnyEstimator = TypeVar("AnyEstimator", bound=Estimator)
FOLD_KINDS = ("auto", *KINDS, "time")


@dataclass(frozen=True)
class CrossValidation:
    """What `cross_validate` found.

    folds: a dict of metrics per fold.   fold: i64 (N,), the fold that each row was tested in, from 0; -1 for none.
    predictions: (N,), by the model that has not seen the row; what stands in rows of no fold means nothing.
    probabilities: f32 (N, classes), NaN in rows of no fold, or None for quantities.   kind: how the rows were divided.
    """

    kind: str
    folds: list[dict[str, float]]
    fold: np.ndarray
    predictions: np.ndarray
    probabilities: np.ndarray | None = None
    classes: np.ndarray | None = None
    seconds: list[float] = field(default_factory=list)

    @property
    def mean(self) -> dict[str, float]:
        """Each metric's mean over the folds."""
        return {name: float(np.mean(values)) for name, values in self._by_name().items()}

    @property
    def deviation(self) -> dict[str, float]:
        """Each metric's standard deviation over the folds, divided by their number as `numpy.std` does."""
        return {name: float(np.std(values)) for name, values in self._by_name().items()}

    def _by_name(self) -> dict[str, list[float]]:
        shared = [name for name in self.folds[0] if all(name in scores for scores in self.folds)]
        return {name: [scores[name] for scores in self.folds] for name in shared}


def cross_validate(estimator: Classifier | Regressor, x: Any, y: Any = None, *, folds: Any = 5, kind: str = "auto",
                   groups: ArrayLike | None = None, order: ArrayLike | None = None, jobs: int | None = 1,
                   log: Callable[[str], None] | None = None) -> CrossValidation:
    """Train and measure a fresh copy of `estimator` per fold.

    x, y: as for `fit`, or a `Dataset`.   folds: their number, or a splitter, ours or scikit-learn's.
    kind: "stratified", "plain", "group", "stratified-group", "time", or "auto": by time with `order`, by group with
    `groups`, else by label for classifiers and plain for regressors.  Folds by a number are shuffled by `random_state`.
    groups: (N,), rows of one group are never on both sides.   order: (N,), row numbers from first to last.
    jobs: processes at once, each with one thread; 0 or None for one per core.  The result does not depend on it.

    Rows kept for validation within a fold respect groups and time, too.  Raises `UsageError` and `DataError` before
    anything is trained.
    """
    if estimator._kind == "multi-label":
        raise UsageError("folds are for tasks with one answer for each row, and these rows have several labels",
                         hint="validate on a part of its own")
    say = log or (lambda line: None)
    jobs = check_jobs(jobs)
    estimator._check_params()
    x, y = pair(x, y, "the data")
    x = estimator._raw(x)
    if len(x) != len(y):
        raise DataError("inputs and answers do not fit together", expected=f"{len(x):,} answers", got=f"{len(y):,}")
    given = Rows(estimator, y, _column(groups, len(x), "groups"), _column(order, len(x), "order"))
    if isinstance(folds, (int, np.integer)):
        kind, parts = given.kind(kind), given.folds(kind, int(folds))
    else:
        kind, parts = type(folds).__name__, list(folds.split(np.zeros(len(x)), y, given.groups))
    _check_labels(estimator, y, parts)
    sizes = sorted({len(train) for train, _ in parts})
    say(f"{len(parts)} folds, {kind}; {' to '.join(f'{size:,}' for size in (sizes[0], sizes[-1])[:len(sizes)])} rows to train on"
        + (f"; {min(jobs, len(parts))} processes at once" if jobs > 1 else ""))

    def work(number: int) -> Any:
        train, test = parts[number]
        begin = time.perf_counter()
        fitted = fit_part(_fresh(estimator), x, given, train, kind)
        held_out, answers = take(x, test), y[test]
        metrics = fitted.evaluate(held_out, answers)
        probabilities = None
        if isinstance(fitted, Classifier) and fitted._kind == "classifier":
            probabilities = fitted.predict_proba(held_out)
        return metrics, fitted.predict(held_out), probabilities, getattr(fitted, "classes_", None), time.perf_counter() - begin

    results: dict[int, Any] = {}
    for number, result in in_processes(work, len(parts), jobs):
        results[number] = result
        shown = "  ".join(f"{name} {value:.4f}" for name, value in result[0].items() if isinstance(value, float))
        say(f"fold {number + 1} of {len(parts)}: {shown}  {result[-1]:.1f}s")
    return _joined(kind, parts, [results[number] for number in range(len(parts))], len(x))


@dataclass(frozen=True)
class Rows:
    """What is known of the rows beside their inputs, and how they are divided by it."""

    estimator: Estimator
    y: np.ndarray
    groups: np.ndarray | None = None
    order: np.ndarray | None = None

    def kind(self, kind: str) -> str:
        """The kind of folds that `kind` means for these rows.  Raises `UsageError` for one that cannot be."""
        if self.estimator._kind == "detector":
            raise UsageError("folds are for tasks with one answer for each row, and a detector finds any number",
                             hint="validate on a part of its own")
        if kind not in FOLD_KINDS:
            raise UsageError(f"no folds are called {kind!r}", expected=", ".join(FOLD_KINDS))
        labels = self.estimator._kind == "classifier"
        if kind == "auto" and self.order is not None:
            kind = "time"
        elif kind == "auto":
            kind = ("stratified" if labels else "plain") if self.groups is None else "stratified-group" if labels else "group"
        if "stratified" in kind and not labels:
            raise UsageError("folds are stratified by labels, and these answers are quantities",
                             expected="plain, group, time", got=kind)
        if ("group" in kind) != (self.groups is not None):
            raise UsageError("folds of groups need a group for each row" if self.groups is None
                             else f"folds of kind {kind!r} do not look at groups", got=kind,
                             hint="take group or stratified-group with groups, and another kind without")
        if self.order is not None and kind != "time":
            raise UsageError(f"folds of kind {kind!r} do not look at the order of time", got=kind, hint="take the kind time")
        return kind

    def folds(self, kind: str, count: int) -> list[Fold]:
        """Row numbers of each fold: (to train on, to test)."""
        kind = self.kind(kind)
        rows = range(len(self.y))
        if kind == "time":
            order = np.arange(len(rows)) if self.order is None else self.order
            return [(order[train], order[test]) for train, test in TimeSeriesSplit(count).split(rows)]
        seed = self.estimator.random_state or 0
        return list(KINDS[kind](count, shuffle=True, random_state=seed).split(rows, self.y, self.groups))

    def held_back(self, rows: np.ndarray, kind: str) -> tuple[np.ndarray, np.ndarray] | None:
        """`rows` without those kept for validation, and those: whole groups, or the latest.

        None where a random share may be taken, or none.  A label that training would not see is not validated on.
        """
        share = self.estimator.val_split
        if share == 0 or len(rows) < FEWEST_TO_DIVIDE or not ("group" in kind or kind == "time"):
            return None
        if kind == "time":
            kept = np.zeros(len(rows), bool)
            kept[len(rows) - round(len(rows) * share):] = True
        else:
            assert self.groups is not None
            groups = self.groups[rows]
            found = len(np.unique(groups))
            kept = np.zeros(len(rows), bool)
            if found > 1:
                kept[next(GroupKFold(min(max(2, round(1 / share)), found)).split(rows, groups=groups))[1]] = True
        if self.estimator._kind == "classifier":
            kept &= np.isin(self.y[rows], self.y[rows][~kept])
        return rows[~kept], rows[kept]


def fit_part(estimator: AnyEstimator, x: Any, given: Rows, rows: np.ndarray, kind: str, **options: Any) -> AnyEstimator:
    """`estimator` fitted to some rows; those that it keeps for validation respect groups and time."""
    parts = given.held_back(rows, kind)
    if parts is None:
        return estimator.fit(take(x, rows), given.y[rows], **options)
    train, val = parts
    if len(val):
        options["validation_data"] = (take(x, val), given.y[val])
        return estimator.fit(take(x, train), given.y[train], **options)
    share = estimator.val_split
    try:
        return estimator.set_params(val_split=0.0).fit(take(x, rows), given.y[rows], **options)
    finally:
        estimator.set_params(val_split=share)


def _fresh(estimator: AnyEstimator) -> AnyEstimator:
    return type(estimator)(**estimator.get_params())


def _column(values: Any, count: int, name: str) -> np.ndarray | None:
    if values is None:
        return None
    array = np.asarray(values)
    if array.shape != (count,):
        raise DataError(f"{name} must be one per row", expected=f"shape ({count},)", got=f"shape {array.shape}")
    if name == "order" and not np.array_equal(np.sort(array), np.arange(count)):
        raise DataError("the order must be the row numbers from 0, each once")
    return array


def _check_labels(estimator: Estimator, y: np.ndarray, parts: Sequence[Fold]) -> None:
    """Raises `DataError` if a fold tests a label that it has not trained on: no metric would mean anything."""
    if estimator._kind != "classifier":
        return
    for number, (train, test) in enumerate(parts, 1):
        unseen = np.setdiff1d(y[test], y[train])
        if len(unseen):
            raise DataError("a label occurs in the test part of a fold and not in its training part",
                            where=f"fold {number} of {len(parts)}", got=f"label {unseen[0]!s}",
                            hint="take fewer folds, another kind, or join rare labels")


def _joined(kind: str, parts: Sequence[Fold], results: Sequence[Any], count: int) -> CrossValidation:
    """Every row's answer from the fold that tested it."""
    fold = np.full(count, -1)
    first = results[0][1]
    predictions = np.zeros(count, np.result_type(*(result[1].dtype for result in results), first.dtype))
    classes = None if results[0][3] is None else np.unique(np.concatenate([result[3] for result in results]))
    probabilities = None if classes is None else np.full((count, len(classes)), np.nan, np.float32)
    for number, ((_, test), (_, predicted, probs, known, _)) in enumerate(zip(parts, results, strict=True)):
        fold[test], predictions[test] = number, predicted
        if probabilities is not None and classes is not None:
            probabilities[test] = 0
            probabilities[np.ix_(test, np.searchsorted(classes, known))] = probs
    return CrossValidation(kind, [dict(result[0]) for result in results], fold, predictions, probabilities, classes,
                           [result[-1] for result in results])


def summary(scores: CrossValidation) -> Mapping[str, Mapping[str, Any]]:
    """{metric: {"mean": ..., "deviation": ..., "folds": [...]}}."""
    return {name: {"mean": scores.mean[name], "deviation": scores.deviation[name], "folds": values}
            for name, values in scores._by_name().items()}
