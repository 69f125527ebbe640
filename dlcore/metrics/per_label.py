"""Precision, recall and F score of each label, their averages, and the report of all of them."""
from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from dlcore.errors import UsageError
from dlcore.metrics.targets import Answers, Average, UndefinedMetricWarning, pair, weights

_AVERAGES = ("binary", "micro", "macro", "weighted", "samples", None)
_HEADERS = ("precision", "recall", "f1-score", "support")


class Counts(NamedTuple):
    """Weights of the rows, (L,) for L labels, or (N,) for the rows of several labels each: hit, predicted, answered."""

    hit: np.ndarray
    pred: np.ndarray
    true: np.ndarray

    def summed(self) -> Counts:
        return Counts(*(part.sum(keepdims=True) for part in self))


def label_counts(answers: Answers, weight: np.ndarray | None, labels: Sequence[Any] | np.ndarray | None = None,
                 by_row: bool = False) -> Counts:
    """Counts of each of `labels` (all that occur, where None), or of each row with `by_row`."""
    if answers.kind == "multilabel":
        return _multilabel_counts(answers, weight, labels, by_row)
    if by_row:
        raise UsageError("averages over samples need rows with several labels each")
    count = len(answers.labels)
    right = answers.true == answers.pred
    parts = (np.bincount(answers.true[right], None if weight is None else weight[right], count),
             np.bincount(answers.pred, weight, count), np.bincount(answers.true, weight, count))
    if labels is None:
        return Counts(*parts)
    place = [int(found[0]) if len(found := np.flatnonzero(answers.labels == label)) else -1 for label in list(labels)]
    return Counts(*(np.append(part, 0)[place] for part in parts))


def _multilabel_counts(answers: Answers, weight: np.ndarray | None, labels: Any, by_row: bool) -> Counts:
    true, pred = answers.true, answers.pred
    if labels is not None:
        chosen = np.asarray(labels)
        if chosen.dtype.kind not in "iu" or chosen.min() < 0 or chosen.max() >= true.shape[1]:
            raise UsageError("labels must be columns of y_true", expected=f"0 to {true.shape[1] - 1}", got=str(labels))
        true, pred = true[:, chosen], pred[:, chosen]
    parts = (true & pred, pred, true)
    if by_row:
        sums = [part.sum(axis=1) for part in parts]
        return Counts(*(part if weight is None else part * weight for part in sums))
    return Counts(*(part.sum(axis=0) if weight is None else weight @ part for part in parts))


def precision_recall_fscore_support(
        y_true: Any, y_pred: Any, *, beta: float = 1.0, labels: Any = None, pos_label: Any = 1, average: Average = None,
        warn_for: Sequence[str] = ("precision", "recall", "f-score"), sample_weight: Any = None,
        zero_division: Any = "warn") -> tuple[Any, Any, Any, Any]:
    """Precision, recall, F_beta and support: (L,) each with `average=None`, else three numbers and None.

    `average`: "binary" is the label `pos_label` alone; "micro" counts over all labels; "macro" is the mean of the
    labels', "weighted" that by their support; "samples" the mean of the rows', where rows have several labels.
    `zero_division` is the value where nothing was predicted, or nothing is to be found: "warn" (0 and a warning), 0, 1
    or NaN; NaNs are left out of means.
    """
    answers = pair(y_true, y_pred)
    weight = weights(sample_weight, len(answers))
    chosen = _labels_to_count(answers, average, labels, pos_label)
    counts = label_counts(answers, weight, chosen, by_row=average == "samples")
    if average == "micro":
        counts = counts.summed()
    scores = Scores(counts, beta, zero_division, tuple(warn_for))
    if average is None:
        return scores.precision, scores.recall, scores.fscore, counts.true
    return (*scores.mean(average, weight), None)


def _labels_to_count(answers: Answers, average: Average, labels: Any, pos_label: Any) -> Any:
    if average not in _AVERAGES:
        raise UsageError("unknown average", expected=", ".join(map(repr, _AVERAGES)), got=repr(average))
    if average != "binary":
        return labels
    if answers.kind != "binary":
        raise UsageError('average="binary" needs two labels', got=f"{len(answers.labels)} labels",
                         hint='average="macro", "micro", "weighted" or None')
    if len(answers.labels) == 2 and not (answers.labels == pos_label).any():
        raise UsageError(f"pos_label={pos_label!r} does not occur", expected=f"one of {answers.labels.tolist()}")
    return [pos_label]


class Scores:
    """Precision, recall and F_beta of counts, and their averages."""

    def __init__(self, counts: Counts, beta: float, zero_division: Any, warn_for: tuple[str, ...] = ()):
        if not beta >= 0:
            raise UsageError("beta must not be negative", got=repr(beta))
        self.counts, self.beta, self.zero_division, self.warn_for = counts, beta, zero_division, warn_for
        self.precision = self._divide(counts.hit, counts.pred, "precision")
        self.recall = self._divide(counts.hit, counts.true, "recall")
        self.fscore = self._fscore()

    def _fscore(self) -> np.ndarray:
        if np.isposinf(self.beta):
            return self.recall
        if self.beta == 0:
            return self.precision
        square = self.beta ** 2
        below = square * self.counts.true.astype(np.float64) + self.counts.pred
        return self._divide((1 + square) * self.counts.hit.astype(np.float64), below, "f-score")

    def _divide(self, above: np.ndarray, below: np.ndarray, name: str) -> np.ndarray:
        empty = below == 0
        fill = 0.0 if isinstance(self.zero_division, str) else float(self.zero_division)
        if isinstance(self.zero_division, str) and self.zero_division != "warn" or fill not in (0, 1) and fill == fill:
            raise UsageError("unknown zero_division", expected='"warn", 0, 1 or NaN', got=repr(self.zero_division))
        if empty.any() and isinstance(self.zero_division, str) and name in self.warn_for:
            warnings.warn(f"{name} has no value for {int(empty.sum())} of {len(empty)} labels and is set to 0 there; "
                          "zero_division= chooses", UndefinedMetricWarning, stacklevel=5)
        return np.divide(above, below, out=np.full(len(below), fill), where=~empty)

    def mean(self, average: Average, weight: np.ndarray | None = None) -> tuple[float, float, float]:
        """The three scores averaged; `weight` is that of the rows, for "samples"."""
        by = {"weighted": self.counts.true, "samples": weight}.get(str(average))
        return (_nan_mean(self.precision, by), _nan_mean(self.recall, by), _nan_mean(self.fscore, by))


def _nan_mean(values: np.ndarray, weight: np.ndarray | None) -> float:
    """The mean without NaNs; where the weights left sum to 0, the plain mean, as scikit-learn has it."""
    known = ~np.isnan(values)
    if not known.any():
        return float("nan")
    values, weight = values[known], None if weight is None else weight[known]
    if weight is not None and weight.sum() != 0:
        return float(np.average(values, weights=weight))
    return float(np.mean(values))


def precision_score(y_true: Any, y_pred: Any, *, labels: Any = None, pos_label: Any = 1, average: Average = "binary",
                    sample_weight: Any = None, zero_division: Any = "warn") -> Any:
    """What share of the rows predicted to have a label has it; see `precision_recall_fscore_support`."""
    return precision_recall_fscore_support(y_true, y_pred, labels=labels, pos_label=pos_label, average=average,
                                           warn_for=("precision",), sample_weight=sample_weight,
                                           zero_division=zero_division)[0]


def recall_score(y_true: Any, y_pred: Any, *, labels: Any = None, pos_label: Any = 1, average: Average = "binary",
                 sample_weight: Any = None, zero_division: Any = "warn") -> Any:
    """What share of the rows that have a label is found; see `precision_recall_fscore_support`."""
    return precision_recall_fscore_support(y_true, y_pred, labels=labels, pos_label=pos_label, average=average,
                                           warn_for=("recall",), sample_weight=sample_weight,
                                           zero_division=zero_division)[1]


def fbeta_score(y_true: Any, y_pred: Any, *, beta: float, labels: Any = None, pos_label: Any = 1,
                average: Average = "binary", sample_weight: Any = None, zero_division: Any = "warn") -> Any:
    """(1 + beta^2) precision recall / (beta^2 precision + recall); see `precision_recall_fscore_support`."""
    return precision_recall_fscore_support(y_true, y_pred, beta=beta, labels=labels, pos_label=pos_label, average=average,
                                           warn_for=("f-score",), sample_weight=sample_weight,
                                           zero_division=zero_division)[2]


def f1_score(y_true: Any, y_pred: Any, *, labels: Any = None, pos_label: Any = 1, average: Average = "binary",
             sample_weight: Any = None, zero_division: Any = "warn") -> Any:
    """The harmonic mean of precision and recall; see `precision_recall_fscore_support`."""
    return fbeta_score(y_true, y_pred, beta=1.0, labels=labels, pos_label=pos_label, average=average,
                       sample_weight=sample_weight, zero_division=zero_division)


def classification_report(y_true: Any, y_pred: Any, *, labels: Any = None, target_names: Sequence[str] | None = None,
                          sample_weight: Any = None, digits: int = 2, output_dict: bool = False,
                          zero_division: Any = "warn") -> str | dict[str, Any]:
    """Precision, recall, F1 and support of each label and their averages, as a table of text or a dict."""
    answers = pair(y_true, y_pred)
    weight = weights(sample_weight, len(answers))
    shown = answers.labels if labels is None else np.asarray(labels)
    names = [str(label) for label in shown.tolist()] if target_names is None else [str(n) for n in target_names]
    if len(names) != len(shown):
        raise UsageError("target_names do not fit the labels", expected=str(len(shown)), got=str(len(names)))
    rows = _report_rows(answers, weight, shown, names, labels is None, zero_division)
    return _as_dict(rows) if output_dict else _as_text(rows, names, digits)


Row = tuple[str, float, float, float, float]


def _report_rows(answers: Answers, weight: np.ndarray | None, shown: np.ndarray, names: list[str], all_labels: bool,
                 zero_division: Any) -> list[Row]:
    scores = Scores(label_counts(answers, weight, shown), 1.0, zero_division, ("precision", "recall", "f-score"))
    support = scores.counts.true
    rows: list[Row] = [(name, *values) for name, *values in
                       zip(names, scores.precision, scores.recall, scores.fscore, support, strict=True)]
    single = answers.kind != "multilabel"
    whole = single and (all_labels or set(shown.tolist()) >= set(answers.labels.tolist()))
    for average in ("micro", "macro", "weighted") if single else ("micro", "macro", "weighted", "samples"):
        of = scores
        if average == "micro":
            of = Scores(scores.counts.summed(), 1.0, zero_division)
        elif average == "samples":
            of = Scores(label_counts(answers, weight, shown, by_row=True), 1.0, zero_division)
        rows.append(("accuracy" if average == "micro" and whole else f"{average} avg",
                     *of.mean(average, weight), support.sum()))
    return rows


def _as_dict(rows: list[Row]) -> dict[str, Any]:
    report: dict[str, Any] = {name: dict(zip(_HEADERS, map(float, values), strict=True)) for name, *values in rows}
    if "accuracy" in report:
        report["accuracy"] = report["accuracy"]["precision"]
    return report


def _as_text(rows: list[Row], names: list[str], digits: int) -> str:
    width = max(*map(len, names), len("weighted avg"), digits) if names else len("weighted avg")
    lines = [f"{'':>{width}s} " + "".join(f" {head:>9}" for head in _HEADERS), ""]
    for i, (name, *scores, support) in enumerate(rows):
        if i == len(names):
            lines.append("")
        cells = [f"{score:.{digits}f}" for score in scores]
        if name == "accuracy" and i >= len(names):
            cells[:2] = "", ""
        lines.append(f"{name:>{width}s} " + "".join(f" {cell:>9}" for cell in (*cells, str(support))))
    return "\n".join(lines) + "\n"
