"""Confidence intervals by resampling rows."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from dlcore.errors import UsageError
from dlcore.metrics.targets import same_length

_CELLS = 1 << 22                        # of drawn confusion matrices that are held at once


class Interval(NamedTuple):
    """value: on the rows themselves; low, high: where the resampled values lie with the given confidence."""

    value: float
    low: float
    high: float


def bootstrap_interval(metric: Callable[..., float], *arrays: Any, n_resamples: int = 1000, confidence: float = 0.95,
                       seed: int = 0) -> Interval:
    """The percentile interval (Efron, 1979) of `metric(*arrays)` over rows drawn with replacement.

    Any metric of this package fits: `bootstrap_interval(f1_score, y_true, y_pred)`.  Resamples on which the metric is
    NaN are left out.
    """
    _check(n_resamples, confidence)
    given = [np.asarray(a) for a in arrays]
    same_length(*given)
    rows, rng = len(given[0]), np.random.default_rng(seed)
    values = np.empty(n_resamples)
    for i in range(n_resamples):
        chosen = rng.integers(0, rows, rows)
        values[i] = metric(*(a[chosen] for a in given))
    return interval(float(metric(*given)), values, confidence)


def bootstrap_mean(values: Any, *, n_resamples: int = 1000, confidence: float = 0.95, seed: int = 0) -> Interval:
    """The interval of a mean of (N,) values, such as an accuracy: counts of the distinct values are drawn, or, where most
    values differ, rows."""
    _check(n_resamples, confidence)
    values = np.asarray(values, np.float64)
    distinct, counts = np.unique(values, return_counts=True)
    rng = np.random.default_rng(seed)
    if len(distinct) <= 64 or len(distinct) * 4 <= len(values):
        means = rng.multinomial(len(values), counts / len(values), n_resamples) @ distinct / len(values)
    else:
        means = np.array([values[rng.integers(0, len(values), len(values))].mean() for _ in range(n_resamples)])
    return interval(float(values.mean()), means, confidence)


def bootstrap_counts(metric: Callable[[np.ndarray], np.ndarray], counts: np.ndarray, *, n_resamples: int = 1000,
                     confidence: float = 0.95, seed: int = 0) -> Interval:
    """The interval of a metric that is a function of a confusion matrix.

    Rows drawn with replacement have multinomial counts, so matrices are drawn instead of rows: the time does not depend
    on the number of rows.  `metric` maps (R, C, C) matrices to (R,) values; counts: (C, C) whole numbers.
    """
    _check(n_resamples, confidence)
    total, filled = int(counts.sum()), np.flatnonzero(counts)
    drawn = np.random.default_rng(seed).multinomial(total, counts.ravel()[filled] / total, n_resamples)
    piece, values = max(1, _CELLS // counts.size), []
    for begin in range(0, n_resamples, piece):
        rows = drawn[begin:begin + piece]
        matrices = np.zeros((len(rows), counts.size), np.int64)
        matrices[:, filled] = rows
        values.append(metric(matrices.reshape(len(rows), *counts.shape)))
    return interval(float(metric(counts[np.newaxis])[0]), np.concatenate(values), confidence)


def bootstrap_auc(hits: np.ndarray, score: np.ndarray, *, n_resamples: int = 1000, confidence: float = 0.95,
                  seed: int = 0) -> Interval:
    """The interval of the area below the ROC curve; hits: (N,) bool.  Scores are ranked once, not for every resample."""
    _check(n_resamples, confidence)
    distinct, rank = np.unique(score, return_inverse=True)
    rng, rows = np.random.default_rng(seed), len(score)
    # a positive row counts in the second half of the bins
    place = rank + len(distinct) * hits

    def area(drawn: np.ndarray) -> float:
        negative, found = np.bincount(drawn, minlength=2 * len(distinct)).reshape(2, -1)
        pairs = int(negative.sum()) * int(found.sum())
        above = found.sum() - np.cumsum(found)
        return float(negative @ (above + found / 2)) / pairs if pairs else float("nan")

    values = np.array([area(place[rng.integers(0, rows, rows)]) for _ in range(n_resamples)])
    return interval(area(place), values, confidence)


def interval(value: float, resampled: np.ndarray, confidence: float) -> Interval:
    """The percentiles of resampled values; NaNs are left out."""
    known = resampled[~np.isnan(resampled)]
    if len(known) == 0:
        return Interval(value, float("nan"), float("nan"))
    low, high = np.quantile(known, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(value, float(low), float(high))


def _check(n_resamples: int, confidence: float) -> None:
    if n_resamples < 1 or not 0 < confidence < 1:
        raise UsageError("a bootstrap needs at least one resample and a confidence between 0 and 1",
                         got=f"{n_resamples} resamples, confidence {confidence:g}")
