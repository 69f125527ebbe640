"""A model measured with everything that fits: what `dlcore evaluate` prints and a run's report draws.

`of_labels` and `of_numbers` take answers and predictions; `find_threshold` chooses where two labels are told apart.
"""
from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dlcore.errors import UsageError
from dlcore.metrics import bootstrap as boot
from dlcore.metrics import classification, per_label, probability, ranking, regression
from dlcore.metrics.bootstrap import Interval

_DRAWS = 20_000_000                     # rows drawn in all resamples of an interval
_POINTS = 256                           # of a curve that is kept to be drawn


@dataclass(frozen=True)
class Curve:
    """Points of a curve, at most 256, and a number that sums it up."""

    x: np.ndarray
    y: np.ndarray
    area: float


@dataclass(frozen=True)
class Bins:
    """A calibration curve: per bin of confidence the rows, their mean confidence, and the share that was right."""

    rows: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray


@dataclass
class Evaluation:
    """kind: "classifier" or "regressor".  metrics: by name.  intervals: 95 % intervals of some of them.

    For labels also: names, the report of each label, the confusion matrix (rows: answers), curves by label (two labels:
    the second alone; more: against the rest), calibration, and the threshold where one was chosen.  For numbers: answers
    and predictions.  correct: per row how probable the answer was, or minus the absolute error; the worst rows have the
    least.
    """

    kind: str
    rows: int
    metrics: dict[str, float]
    intervals: dict[str, Interval]
    correct: np.ndarray
    true: np.ndarray
    pred: np.ndarray
    labels: list[str] = field(default_factory=list)
    report: dict[str, Any] = field(default_factory=dict)
    confusion: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.int64))
    roc: dict[str, Curve] = field(default_factory=dict)
    pr: dict[str, Curve] = field(default_factory=dict)
    calibration: Bins | None = None
    threshold: float | None = None
    text: str = ""

    def worst(self, count: int) -> np.ndarray:
        """The numbers of the rows that the model got most wrong, the worst first."""
        return np.argsort(self.correct, kind="stable")[:count]

    def __str__(self) -> str:
        lines = []
        for name, value in self.metrics.items():
            interval = self.intervals.get(name)
            lines.append(f"{name:<22}{value:.4f}" + (f"   95 % {interval.low:.4f} to {interval.high:.4f}" if interval else ""))
        return "\n".join(lines) + (f"\n\n{self.text.rstrip()}" if self.text else "")

    def to_json(self) -> dict[str, Any]:
        """What JSON can hold, without curves and rows."""
        found: dict[str, Any] = {"metrics": self.metrics,
                                 "intervals": {name: [i.low, i.high] for name, i in self.intervals.items()}}
        if self.kind == "classifier":
            found |= {"labels": self.labels, "report": self.report, "confusion": self.confusion.tolist()}
            if self.calibration is not None:
                found["calibration"] = {name: getattr(self.calibration, name).tolist()
                                        for name in ("rows", "confidence", "accuracy")}
        if self.threshold is not None:
            found["threshold"] = self.threshold
        return found


def of_labels(targets: np.ndarray, probs: np.ndarray, names: list[str], *, threshold: float | None = None,
              seed: int = 0, intervals: bool = True) -> Evaluation:
    """Measure a classifier.  targets: (N,) numbers of labels; probs: (N, C); names: C labels.

    `threshold` is for two labels: the second is predicted where its probability is at least that.
    """
    classes = np.arange(probs.shape[1])
    pred = probs.argmax(axis=1) if threshold is None else (probs[:, 1] >= threshold).astype(np.int64)
    counts = np.bincount(targets * len(classes) + pred, minlength=len(classes) ** 2).reshape(len(classes), -1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")                          # undefined values are shown as such
        roc, pr = _curves(targets, probs, names)
        text = per_label.classification_report(targets, pred, labels=classes, target_names=names, digits=4,
                                               zero_division=0)
        report = per_label.classification_report(targets, pred, labels=classes, target_names=names, output_dict=True,
                                                 zero_division=0)
        metrics = _label_metrics(targets, probs, pred, classes, roc, pr)
        found = _label_intervals(targets, probs, counts, seed) if intervals else {}
    assert isinstance(report, dict) and isinstance(text, str)
    return Evaluation("classifier", len(targets), metrics, found, probs[np.arange(len(targets)), targets], targets, pred,
                      names, report, counts, roc, pr, _calibration(targets, probs), threshold, text)


def _label_metrics(targets: np.ndarray, probs: np.ndarray, pred: np.ndarray, classes: np.ndarray,
                   roc: dict[str, Curve], pr: dict[str, Curve]) -> dict[str, float]:
    metrics = {"accuracy": classification.accuracy_score(targets, pred),
               "macro_f1": per_label.f1_score(targets, pred, average="macro", zero_division=0),
               "log_loss": probability.log_loss(targets, probs, labels=classes),
               "balanced_accuracy": classification.balanced_accuracy_score(targets, pred),
               "matthews_corrcoef": classification.matthews_corrcoef(targets, pred),
               "cohen_kappa": classification.cohen_kappa_score(targets, pred),
               "roc_auc": _mean_area(roc), "average_precision": _mean_area(pr),
               "brier_score": probability.brier_score_loss(targets, probs, labels=classes),
               "calibration_error": probability.expected_calibration_error(targets, probs, labels=classes)}
    if len(classes) > 10:
        metrics["top_5_accuracy"] = classification.top_k_accuracy_score(targets, probs, k=5, labels=classes)
    return metrics


def _mean_area(curves: dict[str, Curve]) -> float:
    """The mean of the areas of labels that occur: one against the rest."""
    areas = np.array([curve.area for curve in curves.values()])
    known = areas[~np.isnan(areas)]
    return float(known.mean()) if len(known) else float("nan")


def _curves(targets: np.ndarray, probs: np.ndarray, names: list[str]) -> tuple[dict[str, Curve], dict[str, Curve]]:
    """ROC and precision-recall curves: of the second of two labels, else of each against the rest."""
    roc, pr = {}, {}
    for c in ([1] if len(names) == 2 else range(len(names))):
        hits, score = targets == c, probs[:, c]
        if hits.all() or not hits.any():
            continue
        fps, tps, _ = ranking.cumulate(hits, score)
        fpr, tpr = np.append(0.0, fps / fps[-1]), np.append(0.0, tps / tps[-1])
        roc[names[c]] = Curve(*_thinned(fpr, tpr), float(np.sum(np.diff(fpr) * (tpr[1:] + tpr[:-1])) / 2))
        precision, recall = tps / (tps + fps), tps / tps[-1]
        area = float(np.dot(np.diff(recall, prepend=0.0), precision))
        pr[names[c]] = Curve(*_thinned(np.append(0.0, recall), np.append(1.0, precision)), area)
    return roc, pr


def _thinned(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """At most 256 points at even distances along the curve."""
    if len(x) <= _POINTS:
        return x, y
    way = np.append(0.0, np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y))))
    kept = np.unique(np.searchsorted(way, np.linspace(0, way[-1], _POINTS)).clip(0, len(x) - 1))
    return x[kept], y[kept]


def _calibration(targets: np.ndarray, probs: np.ndarray) -> Bins:
    """Ten bins: of two labels the second's probability, else the greatest probability of a row."""
    if probs.shape[1] == 2:
        hits, prob = targets == 1, probs[:, 1].astype(np.float64)
    else:
        hits, prob = probs.argmax(axis=1) == targets, probs.max(axis=1).astype(np.float64)
    rows, sums, right = probability.calibration_bins(hits, prob, 10)
    filled = rows > 0
    return Bins(rows[filled], sums[filled] / rows[filled], right[filled] / rows[filled])


def _label_intervals(targets: np.ndarray, probs: np.ndarray, counts: np.ndarray, seed: int) -> dict[str, Interval]:
    draws = _resamples(len(targets))
    smallest = np.finfo(probs.dtype).eps
    chosen = probs[np.arange(len(targets)), targets]
    losses = -np.log(np.clip(chosen, smallest, 1 - smallest).astype(np.float64))
    right = np.repeat([True, False], [np.trace(counts), counts.sum() - np.trace(counts)])
    found = {"accuracy": boot.bootstrap_mean(right, seed=seed),
             "macro_f1": boot.bootstrap_counts(_macro_f1s, counts, seed=seed),
             "log_loss": boot.bootstrap_mean(losses, n_resamples=draws, seed=seed)}
    if probs.shape[1] == 2 and 0 < np.count_nonzero(targets) < len(targets):
        found["roc_auc"] = boot.bootstrap_auc(targets == 1, probs[:, 1], n_resamples=draws, seed=seed)
    return found


def _resamples(rows: int) -> int:
    return int(min(1000, max(100, _DRAWS // max(rows, 1))))


def _macro_f1s(counts: np.ndarray) -> np.ndarray:
    """The mean F1 of the labels that occur among answers or predictions."""
    hit, occurring = np.diagonal(counts, axis1=1, axis2=2), counts.sum(axis=1) + counts.sum(axis=2)
    scores = np.divide(2 * hit, occurring, out=np.zeros(hit.shape), where=occurring > 0)
    return scores.sum(axis=1) / (occurring > 0).sum(axis=1)


def of_numbers(targets: np.ndarray, pred: np.ndarray, *, seed: int = 0, intervals: bool = True) -> Evaluation:
    """Measure a regressor.  targets, pred: (N,)."""
    targets, pred = np.asarray(targets, np.float64), np.asarray(pred, np.float64)
    error = pred - targets
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        metrics = {"rmse": regression.root_mean_squared_error(targets, pred),
                   "mae": regression.mean_absolute_error(targets, pred), "r2": regression.r2_score(targets, pred),
                   "median_absolute_error": regression.median_absolute_error(targets, pred),
                   "explained_variance": regression.explained_variance_score(targets, pred),
                   "max_error": regression.max_error(targets, pred), "mean_error": float(error.mean())}
    found = {}
    if intervals:
        draws = _resamples(len(targets))
        square = boot.bootstrap_mean(error ** 2, n_resamples=draws, seed=seed)
        found = {"rmse": Interval(*(value ** 0.5 for value in square)),
                 "mae": boot.bootstrap_mean(np.abs(error), n_resamples=draws, seed=seed)}
    return Evaluation("regressor", len(targets), metrics, found, -np.abs(error), targets, pred)


def find_threshold(hits: np.ndarray, score: np.ndarray, by: str = "f1") -> tuple[float, float]:
    """The threshold with the best F1, or with the best of Youden's (1950) sensitivity + specificity - 1, and its value.

    hits: (N,) bool; score: (N,) probabilities of the positive label.  Of equal thresholds the highest is taken.
    """
    if by not in ("f1", "youden"):
        raise UsageError("unknown way to choose a threshold", expected="f1 or youden", got=by)
    if hits.all() or not hits.any():
        raise UsageError("a threshold cannot be chosen where only one label occurs")
    fps, tps, thresholds = ranking.cumulate(hits, score)
    gain = 2 * tps / (tps + fps + tps[-1]) if by == "f1" else tps / tps[-1] - fps / fps[-1]
    best = int(np.argmax(gain))
    return float(thresholds[best]), float(gain[best])
