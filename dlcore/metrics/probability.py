"""Metrics of probabilities: how good they are as such, and whether they mean what they say."""
from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from dlcore.errors import UsageError
from dlcore.metrics.targets import (
    average,
    column,
    encode,
    label_column,
    numbers,
    ordered_labels,
    positive,
    present,
    same_length,
    weights,
)


def log_loss(y_true: Any, y_proba: Any, *, normalize: bool = True, sample_weight: Any = None,
             labels: Any = None) -> float:
    """The mean (with `normalize=False` the sum) of -log of the probability given to the answer.

    y_proba: (N,) probabilities of the greater of two labels, or (N, C) in the order of the sorted labels.  Probabilities
    are kept an epsilon of their dtype away from 0 and 1; sums are in float64.
    """
    chosen, weight = _of_answers(y_true, y_proba, labels, sample_weight)
    smallest = np.finfo(chosen.dtype).eps
    losses = -np.log(np.clip(chosen, smallest, 1 - smallest).astype(np.float64, copy=False))
    if normalize:
        return average(losses, weight)
    return float(losses.sum() if weight is None else losses @ weight)


def _of_answers(y_true: Any, y_proba: Any, labels: Any, sample_weight: Any) -> tuple[np.ndarray, np.ndarray | None]:
    """(N,) the probability that each row gives to its answer, and the weights."""
    true, proba = label_column(y_true, "y_true"), _probabilities(y_proba)
    same_length(true, proba)
    own = encode(true, _classes(true, proba, labels))
    if proba.ndim == 1 or proba.shape[1] == 1:
        proba = column(proba, "y_proba")
        chosen = np.where(own == 1, proba, 1 - proba)
    else:
        _check_sums(proba)
        chosen = proba[np.arange(len(own)), own]
    return chosen, weights(sample_weight, len(true))


def _classes(true: np.ndarray, proba: np.ndarray, labels: Any) -> np.ndarray:
    count = 2 if proba.ndim == 1 else max(2, proba.shape[1])
    classes = present(true) if labels is None else np.unique(np.asarray(labels))
    if len(classes) == 1:
        raise UsageError("only one label occurs", got=str(classes[0]), hint="name all of them: labels=")
    return ordered_labels(classes, count, true)


def _probabilities(y_proba: Any) -> np.ndarray:
    proba = numbers(y_proba, "y_proba")
    if proba.size and (proba.min() < 0 or proba.max() > 1):
        raise UsageError("probabilities must lie between 0 and 1", got=f"{proba.min():g} to {proba.max():g}")
    return proba


def _check_sums(proba: np.ndarray) -> None:
    if not np.allclose(proba.sum(axis=1), 1, rtol=float(np.sqrt(np.finfo(proba.dtype).eps))):
        warnings.warn("the probabilities of a row do not sum to 1", UserWarning, stacklevel=4)


def brier_score_loss(y_true: Any, y_proba: Any, *, sample_weight: Any = None, pos_label: Any = None, labels: Any = None,
                     scale_by_half: bool | str = "auto") -> float:
    """The mean squared difference between probabilities and answers (Brier, 1950).

    y_proba: (N,) probabilities of `pos_label`, or (N, C).  Over C columns the squares are summed; `scale_by_half`
    halves the sum, by default for two labels, so that it is the square of one difference.
    """
    proba = _probabilities(y_proba)
    if proba.ndim == 1 or proba.shape[1] == 1:
        proba = column(proba, "y_proba")
        hits = _positive_or_greater(y_true, pos_label)
        same_length(hits, proba)
        squares = 2 * (hits - proba.astype(np.float64, copy=False)) ** 2
        half = True if scale_by_half == "auto" else scale_by_half
    else:
        _check_sums(proba)
        true = label_column(y_true, "y_true")
        same_length(true, proba)
        own, exact = encode(true, _classes(true, proba, labels)), proba.astype(np.float64, copy=False)
        # sum (p - 1_y)^2 = sum p^2 - 2 p_y + 1, without a matrix of zeros and ones
        squares = np.einsum("nc,nc->n", exact, exact) - 2 * exact[np.arange(len(own)), own] + 1
        half = proba.shape[1] < 3 if scale_by_half == "auto" else scale_by_half
    return average(squares, weights(sample_weight, len(squares))) * (0.5 if half else 1.0)


def _positive_or_greater(y_true: Any, pos_label: Any) -> np.ndarray:
    """Which answers are positive: of two numbers that are not {0, 1} or {-1, 1}, the greater."""
    y = label_column(y_true, "y_true")
    labels = present(y)
    if len(labels) > 2:
        raise UsageError("two labels are needed for one column of probabilities", got=f"{len(labels)} labels")
    if pos_label is None and labels.dtype.kind in "iuf" and not set(labels.tolist()) <= {0, 1} \
            and not set(labels.tolist()) <= {-1, 1}:
        pos_label = labels[-1]
    return positive(y, pos_label)


def calibration_curve(y_true: Any, y_prob: Any, *, pos_label: Any = None, n_bins: int = 5,
                      strategy: str = "uniform") -> tuple[np.ndarray, np.ndarray]:
    """The share of positive answers and the mean probability in each bin of probabilities that is not empty.

    `strategy`: bins of equal width ("uniform") or of as many rows each ("quantile").
    """
    hits, prob = positive(y_true, pos_label), column(_probabilities(y_prob), "y_prob")
    if len(present(label_column(y_true, "y_true"))) > 2:
        raise UsageError("a calibration curve needs two labels")
    same_length(hits, prob)
    counts, sums, right = calibration_bins(hits, prob, n_bins, strategy)
    filled = counts > 0
    return right[filled] / counts[filled], sums[filled] / counts[filled]


def calibration_bins(hits: np.ndarray, prob: np.ndarray, n_bins: int = 10,
                     strategy: str = "uniform") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Per bin of probabilities: rows, sum of the probabilities, number of hits.  Bins are open on the left."""
    if strategy == "quantile":
        edges = np.percentile(prob, np.linspace(0, 1, n_bins + 1) * 100)
    elif strategy == "uniform":
        edges = np.linspace(0.0, 1.0, n_bins + 1)
    else:
        raise UsageError("unknown strategy", expected='"uniform" or "quantile"', got=repr(strategy))
    bins = np.searchsorted(edges[1:-1], prob)
    return (np.bincount(bins, minlength=n_bins), np.bincount(bins, prob, n_bins), np.bincount(bins, hits, n_bins))


def expected_calibration_error(y_true: Any, y_proba: Any, *, n_bins: int = 15, strategy: str = "uniform",
                               labels: Any = None) -> float:
    """The mean difference between confidence and accuracy over bins of confidence, weighted by their rows.

    Guo et al., 2017, equation 3.  y_proba (N, C): the confidence is the greatest probability, and a hit the answer that
    has it; (N,): that of the positive label, and a hit a positive answer.
    """
    proba = _probabilities(y_proba)
    if proba.ndim == 2 and proba.shape[1] > 1:
        true = label_column(y_true, "y_true")
        own = encode(true, _classes(true, proba, labels))
        hits, prob = proba.argmax(axis=1) == own, proba.max(axis=1)
    else:
        hits, prob = _positive_or_greater(y_true, None), column(proba, "y_proba")
    same_length(hits, prob)
    counts, sums, right = calibration_bins(hits, prob, n_bins, strategy)
    return float(np.abs(sums - right).sum() / counts.sum())
