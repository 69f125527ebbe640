"""Metrics of scores: curves over every threshold, and the areas below them.

Names, arguments and values are scikit-learn's; equal scores share one threshold.  Without weights the scores of either
class are sorted by themselves and merged, which is several times faster than sorting row numbers.
"""
from __future__ import annotations

import warnings
from collections.abc import Callable
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

from dlcore.errors import UsageError
from dlcore.metrics.targets import (
    UndefinedMetricWarning,
    column,
    encode,
    is_multilabel,
    label_column,
    numbers,
    ordered_labels,
    positive,
    present,
    same_length,
    weights,
)


class Cumulated(NamedTuple):
    """fps, tps: weights of the negative and positive rows at or above each threshold, f64.  thresholds: the distinct
    scores, falling."""

    fps: np.ndarray
    tps: np.ndarray
    thresholds: np.ndarray


def cumulate(hits: np.ndarray, score: np.ndarray, weight: np.ndarray | None = None) -> Cumulated:
    """Counts over thresholds.  hits: (N,) bool, which rows are positive.  Rows of weight 0 give no threshold."""
    same_length(hits, score, weight)
    if len(hits) == 0:
        raise UsageError("there are no rows to measure")
    if weight is not None:
        return _cumulate_weighted(hits, score, weight)
    ordered = np.concatenate([np.sort(score[hits]), np.sort(score[~hits])])
    order = np.argsort(ordered, kind="stable")                   # merges two sorted runs in linear time
    positives = np.count_nonzero(hits)
    ordered, found = ordered[order], np.cumsum(order < positives)
    # of each run of equal scores the first row: how many rows, and how many positives, lie at or above it
    first = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))[::-1]
    tps = (positives - np.where(first > 0, found[first - 1], 0)).astype(np.float64)
    return Cumulated(len(hits) - first - tps, tps, ordered[first])


def _cumulate_weighted(hits: np.ndarray, score: np.ndarray, weight: np.ndarray) -> Cumulated:
    counted = weight != 0
    if not counted.all():
        hits, score, weight = hits[counted], score[counted], weight[counted]
    if len(hits) == 0:
        raise UsageError("all sample weights are zero")
    order = np.argsort(score)[::-1]
    score, hits, weight = score[order], hits[order], weight[order]
    last = np.append(np.flatnonzero(score[1:] != score[:-1]), len(score) - 1)
    return Cumulated(np.cumsum(~hits * weight)[last], np.cumsum(hits * weight)[last], score[last])


def _prepared(y_true: Any, y_score: Any, pos_label: Any, sample_weight: Any) -> Cumulated:
    hits, score = positive(y_true, pos_label), column(numbers(y_score, "y_score"), "y_score")
    return cumulate(hits, score, weights(sample_weight, len(hits)))


def roc_curve(y_true: Any, y_score: Any, *, pos_label: Any = None, sample_weight: Any = None,
              drop_intermediate: bool = True) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """False and true positive rates at falling thresholds, the first of which is infinite.

    y_true: (N,) two labels; y_score: (N,), greater for the positive one.  `drop_intermediate` leaves out points on a
    straight line between others.  A rate without rows to count is NaN.
    """
    fps, tps, thresholds = _prepared(y_true, y_score, pos_label, sample_weight)
    if drop_intermediate and len(fps) > 2:
        corner = (np.diff(fps, 2) != 0) | (np.diff(tps, 2) != 0)
        kept = np.flatnonzero(np.concatenate([[True], corner, [True]]))
        fps, tps, thresholds = fps[kept], tps[kept], thresholds[kept]
    fps, tps = np.append(0.0, fps), np.append(0.0, tps)
    return (_rate(fps, "negative"), _rate(tps, "positive"), np.append(np.inf, thresholds.astype(np.float64)))


def _rate(counts: np.ndarray, which: str) -> np.ndarray:
    if counts[-1] > 0:
        return counts / counts[-1]
    warnings.warn(f"no answer is {which}: the {which} rate is undefined", UndefinedMetricWarning, stacklevel=3)
    return np.full(len(counts), np.nan)


def precision_recall_curve(y_true: Any, y_score: Any, *, pos_label: Any = None, sample_weight: Any = None,
                           drop_intermediate: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Precision and recall at rising thresholds, (T + 1,) each, the last point being (1, 0), and thresholds (T,)."""
    fps, tps, thresholds = _prepared(y_true, y_score, pos_label, sample_weight)
    if drop_intermediate and len(fps) > 2:
        corner = (np.diff(tps[:-1]) != 0) | (np.diff(tps[1:]) != 0)
        kept = np.flatnonzero(np.concatenate([[True], corner, [True]]))
        fps, tps, thresholds = fps[kept], tps[kept], thresholds[kept]
    precision, recall = _precision_recall(fps, tps)
    return np.append(precision[::-1], 1.0), np.append(recall[::-1], 0.0), thresholds[::-1]


def _precision_recall(fps: np.ndarray, tps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    found = tps + fps
    precision = np.divide(tps, found, out=np.zeros(len(tps)), where=found != 0)
    if tps[-1] > 0:
        return precision, tps / tps[-1]
    warnings.warn("no answer is positive: recall is set to 1", UndefinedMetricWarning, stacklevel=4)
    return precision, np.ones(len(tps))


def auc(x: Any, y: Any) -> float:
    """The area below a curve through (x, y) by trapezoids; x rises or falls throughout."""
    x, y = column(numbers(x, "x"), "x"), column(numbers(y, "y"), "y")
    same_length(x, y)
    step = np.diff(x)
    if len(x) < 2 or not ((step >= 0).all() or (step <= 0).all()):
        raise UsageError("an area needs at least two points in order")
    return abs(_trapezoids(x, y)) if (step <= 0).all() else _trapezoids(x, y)


def _trapezoids(x: np.ndarray, y: np.ndarray) -> float:
    return float(np.sum(np.diff(x) * (y[1:] + y[:-1])) / 2)


def binary_auc(hits: np.ndarray, score: np.ndarray, weight: np.ndarray | None = None,
               max_fpr: float | None = None) -> float:
    """The area below the ROC curve of two classes; NaN where only one occurs."""
    if hits.all() or not hits.any():
        warnings.warn("only one label occurs: the area below the ROC curve is undefined", UndefinedMetricWarning,
                      stacklevel=3)
        return float("nan")
    fps, tps, _ = cumulate(hits, score, weight)
    fpr, tpr = np.append(0.0, fps / fps[-1]), np.append(0.0, tps / tps[-1])
    if max_fpr is None or max_fpr == 1:
        return _trapezoids(fpr, tpr)
    if not 0 < max_fpr < 1:
        raise UsageError("max_fpr must lie between 0 and 1", got=repr(max_fpr))
    stop = int(np.searchsorted(fpr, max_fpr, "right"))
    edge = np.interp(max_fpr, fpr[stop - 1:stop + 1], tpr[stop - 1:stop + 1])
    partial = _trapezoids(np.append(fpr[:stop], max_fpr), np.append(tpr[:stop], edge))
    least = max_fpr ** 2 / 2                                     # McClish (1989): chance at 0.5, the best at 1
    return 0.5 * (1 + (partial - least) / (max_fpr - least))


def binary_average_precision(hits: np.ndarray, score: np.ndarray, weight: np.ndarray | None = None) -> float:
    """The sum of precision times the step in recall, over falling thresholds."""
    fps, tps, _ = cumulate(hits, score, weight)
    precision, recall = _precision_recall(fps, tps)
    # where no answer is positive, recall is 1 throughout, and the curve falls to 0 at its last point only
    steps = np.diff(recall, prepend=0.0)
    return max(0.0, float(np.dot(steps, precision)))


def roc_auc_score(y_true: Any, y_score: Any, *, average: str | None = "macro", sample_weight: Any = None,
                  max_fpr: float | None = None, multi_class: str = "raise", labels: Any = None) -> Any:
    """The area below the ROC curve: the chance that a positive row has a greater score than a negative one.

    y_score: (N,) for two labels, of which the greater is the positive one; (N, C) probabilities for more, with
    `multi_class` "ovr" (each label against the rest) or "ovo" (each pair; Hand and Till, 2001); (N, L) where rows have
    several labels.  `average`: "macro", "weighted", "micro", "samples", or None for one value per label.
    """
    true, score = np.asarray(y_true), numbers(y_score, "y_score")
    if is_multilabel(true):
        return _averaged(lambda h, s, w: binary_auc(h, s, w, max_fpr), true != 0, score, average, sample_weight)
    true = label_column(true, "y_true")
    found = present(true)
    if len(found) <= 2 and (score.ndim == 1 or score.shape[1] == 1):
        weight = weights(sample_weight, len(true))
        hits = true == found[-1] if len(found) == 2 else np.zeros(len(true), bool)
        return binary_auc(hits, column(score, "y_score"), weight, max_fpr)
    return _multiclass_auc(true, score, average, sample_weight, max_fpr, multi_class, labels)


def _multiclass_auc(true: np.ndarray, score: np.ndarray, average: str | None, sample_weight: Any, max_fpr: Any,
                    multi_class: str, labels: Any) -> Any:
    if max_fpr not in (None, 1):
        raise UsageError("max_fpr is for two labels")
    if multi_class not in ("ovr", "ovo"):
        raise UsageError("more than two labels", hint='multi_class="ovr" (each against the rest) or "ovo" (pairs)')
    if score.ndim != 2:
        raise UsageError("more than two labels need a score for each", expected="y_score (N, C)", got=str(score.shape))
    if not np.allclose(1, score.sum(axis=1)):
        raise UsageError("the scores of a row must be probabilities, which sum to 1")
    own = encode(true, ordered_labels(labels, score.shape[1], true))
    if multi_class == "ovr":
        if average == "samples":
            raise UsageError("unknown average", expected='"macro", "weighted", "micro" or None', got=repr(average))
        return _averaged(binary_auc, own[:, np.newaxis] == np.arange(score.shape[1]), score, average, sample_weight)
    if average not in ("macro", "weighted") or sample_weight is not None:
        raise UsageError("pairs of labels are averaged over all rows alike", expected='average "macro" or "weighted"')
    return _pairs_auc(own, score, average)


def _pairs_auc(own: np.ndarray, score: np.ndarray, average: str) -> float:
    values, shares = [], []
    for a, b in combinations(np.unique(own).tolist(), 2):
        rows = (own == a) | (own == b)
        is_a, chosen = own[rows] == a, score[rows]
        values.append((binary_auc(is_a, chosen[:, a]) + binary_auc(~is_a, chosen[:, b])) / 2)
        shares.append(float(rows.mean()))
    return float(np.average(values, weights=shares if average == "weighted" else None))


def average_precision_score(y_true: Any, y_score: Any, *, average: str | None = "macro", pos_label: Any = 1,
                            sample_weight: Any = None) -> Any:
    """The mean of the precisions at the thresholds, weighted by the step in recall; not interpolated.

    y_score: (N,) for two labels, (N, C) or (N, L) for more; averages as in `roc_auc_score`.
    """
    true, score = np.asarray(y_true), numbers(y_score, "y_score")
    if is_multilabel(true):
        return _averaged(binary_average_precision, true != 0, score, average, sample_weight)
    true = label_column(true, "y_true")
    labels = present(true)
    if len(labels) > 2:
        if score.shape != (len(true), len(labels)):
            raise UsageError("more than two labels need a score for each", expected=f"y_score (N, {len(labels)})",
                             got=str(score.shape))
        hits = encode(true, labels)[:, np.newaxis] == np.arange(len(labels))
        return _averaged(binary_average_precision, hits, score, average, sample_weight)
    if len(labels) == 2 and not (labels == pos_label).any():
        raise UsageError(f"pos_label={pos_label!r} does not occur", expected=f"one of {labels.tolist()}")
    return binary_average_precision(positive(true, pos_label), column(score, "y_score"),
                                    weights(sample_weight, len(true)))


def _averaged(metric: Callable[..., float], hits: np.ndarray, score: np.ndarray, average: str | None,
              sample_weight: Any) -> Any:
    """A metric of two classes over the columns of (N, L), or with "samples" over the rows."""
    if score.shape != hits.shape:
        raise UsageError("scores and labels do not fit together", expected=f"shape {hits.shape}", got=str(score.shape))
    weight = weights(sample_weight, len(hits))
    if average == "micro":
        return metric(hits.ravel(), score.ravel(), None if weight is None else np.repeat(weight, hits.shape[1]))
    if average not in ("macro", "weighted", "samples", None):
        raise UsageError("unknown average", expected='"micro", "macro", "weighted", "samples" or None', got=repr(average))
    by_row = average == "samples"
    pairs = zip(hits, score, strict=True) if by_row else zip(hits.T, score.T, strict=True)
    values = np.array([metric(h, s, None if by_row else weight) for h, s in pairs])
    if average is None:
        return values
    share = weight if by_row else None
    if average == "weighted":
        share = hits.sum(axis=0) if weight is None else weight @ hits
        if share.sum() == 0:
            return 0.0
    if share is not None:
        values[share == 0] = 0.0
    return float(np.average(values, weights=share))
