"""Metrics of labels against labels: all of them are read off counts of (answer, prediction).

Names, arguments and values are scikit-learn's.  `sample_weight` (N,) weighs the rows.
"""
from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from dlcore.errors import UsageError
from dlcore.metrics.targets import (
    Answers,
    UndefinedMetricWarning,
    average,
    column,
    encode,
    label_column,
    numbers,
    ordered_labels,
    pair,
    weights,
)


def accuracy_score(y_true: Any, y_pred: Any, *, normalize: bool = True, sample_weight: Any = None) -> float:
    """The share of rows whose prediction is the answer (all labels of the row, where there are several).

    With `normalize=False` their number, or the sum of their weights.
    """
    answers = pair(y_true, y_pred)
    weight = weights(sample_weight, len(answers))
    hits = answers.true == answers.pred
    if answers.kind == "multilabel":
        hits = hits.all(axis=1)
    if normalize:
        return average(hits, weight)
    return float(np.count_nonzero(hits) if weight is None else np.dot(hits, weight))


def top_k_accuracy_score(y_true: Any, y_score: Any, *, k: int = 2, normalize: bool = True, sample_weight: Any = None,
                         labels: Any = None) -> float:
    """The share of rows whose answer is among the k best scores.

    y_score: (N,) for two labels, else (N, C) in the order of the sorted labels.  Of equal scores the last column is the
    better one.
    """
    true, score = label_column(y_true, "y_true"), numbers(y_score, "y_score")
    weight = weights(sample_weight, len(true))
    if score.ndim == 1 or score.shape[1] == 1:
        score = column(score, "y_score")
        classes = ordered_labels(labels, 2, true)
        threshold = 0.5 if score.min() >= 0 and score.max() <= 1 else 0.0
        hits = (score > threshold) == encode(true, classes) if k == 1 else np.ones(len(true), bool)
    else:
        classes = ordered_labels(labels, score.shape[1], true)
        own = encode(true, classes)
        chosen = score[np.arange(len(score)), own][:, np.newaxis]
        better = (score > chosen).sum(axis=1)
        later = np.arange(score.shape[1]) > own[:, np.newaxis]
        hits = better + ((score == chosen) & later).sum(axis=1) < k
    if k >= len(classes):
        warnings.warn(f"the best {k} of {len(classes)} labels hold every answer", UndefinedMetricWarning, stacklevel=2)
    if normalize:
        return average(hits, weight)
    return float(np.count_nonzero(hits) if weight is None else np.dot(hits, weight))


def confusion_matrix(y_true: Any, y_pred: Any, *, labels: Any = None, sample_weight: Any = None,
                     normalize: str | None = None) -> np.ndarray:
    """(C, C): how often the row's label was predicted as the column's; int64 without weights, else float64.

    `labels` chooses and orders rows and columns.  `normalize`: "true" divides by the rows' sums, "pred" by the
    columns', "all" by that of all.
    """
    answers = pair(y_true, y_pred)
    if answers.kind == "multilabel":
        raise UsageError("rows with several labels have no confusion matrix")
    if normalize not in (None, "true", "pred", "all"):
        raise UsageError("unknown normalize", expected='None, "true", "pred", "all"', got=repr(normalize))
    counts = joint_counts(answers, weights(sample_weight, len(answers)))
    if labels is not None:
        counts = _chosen(counts, answers, column(labels, "labels"))
    if normalize is None:
        return counts
    axis = {"true": 1, "pred": 0, "all": None}[normalize]
    sums = counts.sum(axis=axis, keepdims=True)
    return np.divide(counts, sums, out=np.zeros(counts.shape), where=sums != 0)


def joint_counts(answers: Answers, weight: np.ndarray | None) -> np.ndarray:
    """(C, C): weights of the rows with each answer and prediction."""
    count = len(answers.labels)
    sums = np.bincount(answers.true * count + answers.pred, weight, count * count)
    return sums.reshape(count, count)


def _chosen(counts: np.ndarray, answers: Answers, labels: np.ndarray) -> np.ndarray:
    """Rows and columns of these labels, in their order; zeros for a label that does not occur."""
    if len(labels) == 0:
        raise UsageError("labels is empty")
    place = np.array([_place(answers.labels, label) for label in labels.tolist()])
    occurs = np.bincount(answers.true, minlength=len(answers.labels)) > 0
    if not occurs[place[place >= 0]].any():
        raise UsageError("none of the labels occurs among the answers", got=str(labels[:10]))
    padded = np.pad(counts, (0, 1))                          # -1 is the row of zeros
    return padded[np.ix_(place, place)]


def _place(labels: np.ndarray, label: Any) -> int:
    found = np.flatnonzero(labels == label)
    return int(found[0]) if len(found) else -1


def balanced_accuracy_score(y_true: Any, y_pred: Any, *, sample_weight: Any = None, adjusted: bool = False) -> float:
    """The mean of the recalls of the labels that occur among the answers; `adjusted` puts chance at 0."""
    counts = confusion_matrix(y_true, y_pred, sample_weight=sample_weight)
    rows = counts.sum(axis=1)
    if (rows == 0).any():
        warnings.warn("labels are predicted that no answer has", UndefinedMetricWarning, stacklevel=2)
    recalls = np.diag(counts)[rows != 0] / rows[rows != 0]
    score = float(recalls.mean())
    chance = 1 / len(recalls)
    return (score - chance) / (1 - chance) if adjusted else score


def matthews_corrcoef(y_true: Any, y_pred: Any, *, sample_weight: Any = None) -> float:
    """Matthews' correlation of answers and predictions (Gorodkin, 2004, for more than two labels); 0 where one side is
    constant."""
    counts = confusion_matrix(y_true, y_pred, sample_weight=sample_weight).astype(np.float64)
    true, pred, total = counts.sum(axis=1), counts.sum(axis=0), counts.sum()
    covariance = np.trace(counts) * total - true @ pred
    variances = (total ** 2 - pred @ pred) * (total ** 2 - true @ true)
    return float(covariance / np.sqrt(variances)) if variances > 0 else 0.0


def cohen_kappa_score(y1: Any, y2: Any, *, labels: Any = None, weights: str | None = None,
                      sample_weight: Any = None) -> float:
    """Agreement beyond chance (Cohen, 1960); NaN where both sides have one and the same label only.

    `weights`: "linear" or "quadratic" weigh a disagreement by the distance of the labels.
    """
    counts = confusion_matrix(y1, y2, labels=labels, sample_weight=sample_weight).astype(np.float64)
    expected = np.outer(counts.sum(axis=0), counts.sum(axis=1)) / counts.sum()
    place = np.arange(len(counts))
    distance = np.abs(place[:, np.newaxis] - place).astype(np.float64)
    if weights is None:
        distance = (distance > 0).astype(np.float64)
    elif weights == "quadratic":
        distance **= 2
    elif weights != "linear":
        raise UsageError("unknown weights", expected='None, "linear", "quadratic"', got=repr(weights))
    chance = float((distance * expected).sum())
    if chance == 0:
        warnings.warn("both sides have one and the same label: kappa is undefined", UndefinedMetricWarning, stacklevel=2)
        return float("nan")
    return float(1 - (distance * counts).sum() / chance)


def hamming_loss(y_true: Any, y_pred: Any, *, sample_weight: Any = None) -> float:
    """The share of wrong labels: over rows, and over the labels of a row where there are several."""
    answers = pair(y_true, y_pred)
    weight = weights(sample_weight, len(answers))
    wrong = answers.true != answers.pred
    return average(wrong.mean(axis=1) if wrong.ndim == 2 else wrong, weight)


def zero_one_loss(y_true: Any, y_pred: Any, *, normalize: bool = True, sample_weight: Any = None) -> float:
    """The share of rows whose prediction is not the answer, or with `normalize=False` their number."""
    right = accuracy_score(y_true, y_pred, normalize=normalize, sample_weight=sample_weight)
    if normalize:
        return 1 - right
    return (len(np.asarray(y_true)) if sample_weight is None else float(np.sum(sample_weight))) - right
