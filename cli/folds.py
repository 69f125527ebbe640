"""`dlcore train --folds K`: the rows of a table divided into folds, measured, and the answers out of each fold written."""

from __future__ import annotations

import csv
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from dlcore.cli.console import Console, number
from dlcore.cli.errors import similar, writing
from dlcore.data.folds import order_of
from dlcore.data.table import Table
from dlcore.errors import DataError, UsageError
from dlcore.tasks import cross_validate

if TYPE_CHECKING:
    from dlcore.cli.plan import Plan
    from dlcore.cli.run_folder import RunFolder
    from dlcore.data.dataset import Dataset, Parts

PREDICTIONS = "out-of-fold.csv"


@dataclass(frozen=True)
class Rows:
    """The training part without its column of groups, and how it is divided."""

    train: Dataset
    division: cross_validate.Rows
    kind: str
    folds: int
    jobs: int

    @classmethod
    def of(cls, plan: Plan, parts: Parts, estimator: Any) -> Rows:
        """Columns looked up and folds tried before anything is trained.  Raises DataError and UsageError."""
        data, train = plan.sections["data"], parts.train
        if train.y is None:
            raise UsageError(
                "data without answers are not divided in folds",
                where="--folds",
                got=plan.task.name,
                hint="a series: train with several values of --split" if plan.task.name == "series" else "leave it out",
            )
        groups = order = None
        if data["time-order"]:
            name = data["time-order"]
            order = order_of(_column(train, name, "--time-order"), f"{train.source}, column {name!r}, ")
        if data["group"]:
            groups = np.array([str(value) for value in _column(train, data["group"], "--group")])
            assert isinstance(train.x, Table)  # a column of it was found
            train = replace(train, x=train.x.without(data["group"]))
        division = cross_validate.Rows(estimator, np.asarray(train.y), groups, order)
        kind = division.kind(data["fold-kind"])
        division.folds(kind, data["folds"])
        return cls(train, division, kind, data["folds"], plan.sections["run"]["jobs"])

    def cross_validate(self, console: Console, folder: RunFolder, begin_with: Any) -> cross_validate.CrossValidation:
        """Train and measure every fold; writes the answers into the run folder."""
        scores = cross_validate.cross_validate(
            begin_with,
            self.train,
            folds=self.folds,
            kind=self.kind,
            groups=self.division.groups,
            order=self.division.order,
            jobs=self.jobs,
            log=lambda line: console.say("folds", line),
        )
        _write(folder, scores, np.asarray(self.train.y))
        console.say("", f"every row's answer by a model that has not seen it: {folder.path / PREDICTIONS}")
        for name, value in scores.mean.items():
            console.say("", f"{name:<12} {number(value)} \u00b1 {number(scores.deviation[name])}")
        return scores

    def for_training(self) -> tuple[Dataset, dict[str, Any]]:
        """What the final model is trained on, and what it is validated on where groups or time say so."""
        parts = self.division.held_back(np.arange(len(self.train)), self.kind)
        if parts is None or not len(parts[1]):
            return self.train, {}
        return self.train.take(parts[0]), {"validation_data": self.train.take(parts[1])}


def added(report: dict[str, Any], scores: cross_validate.CrossValidation) -> dict[str, Any]:
    """The report of a run with its folds; their means are metrics called cv_..."""
    found = {f"cv_{name}": value for name, value in scores.mean.items()}
    folds = {"kind": scores.kind, "count": len(scores.folds), "metrics": cross_validate.summary(scores)}
    return {**report, "metrics": {**report["metrics"], **found}, "folds": {**folds, "predictions": PREDICTIONS}}


def _column(train: Dataset, name: str, option: str) -> Any:
    columns = getattr(train.x, "columns", None)
    if columns is None:
        hint = f"leave out {option}"
        raise DataError(f"{option} names a column, and these data are no table", where=train.source, got=name, hint=hint)
    if name == train.label:
        expected = "another column: " + ", ".join(columns)
        raise DataError(f"{option} names the column of the answers", where=train.source, expected=expected[:200], got=name)
    if name not in columns:
        guess = similar(name, columns)
        raise DataError(
            f"there is no column {name!r}",
            where=f"{train.source}, {option}",
            expected=", ".join(list(columns)[:30]),
            hint=f"did you mean {guess!r}?" if guess else "",
        )
    return columns[name]


def _write(folder: RunFolder, scores: cross_validate.CrossValidation, answers: np.ndarray) -> None:
    classes = [] if scores.classes is None else [f"p_{label}" for label in scores.classes]
    path = folder.path / PREDICTIONS
    with writing(path), open(path, "x", encoding="utf-8", newline="") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(["row", "fold", "answer", "prediction", *classes])
        for row in np.flatnonzero(scores.fold >= 0):
            shares = [] if scores.probabilities is None else [f"{p:.6g}" for p in scores.probabilities[row]]
            out.writerow([row + 1, scores.fold[row] + 1, answers[row], scores.predictions[row], *shares])
