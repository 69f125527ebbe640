"""Metrics of numbers against numbers.  Names, arguments and values are scikit-learn's; sums are in float64.

y_true, y_pred: (N,) or (N, K).  `multioutput`: "uniform_average", "raw_values" (K values), or K weights.
"""
from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from dlcore.errors import UsageError
from dlcore.metrics.targets import UndefinedMetricWarning, numbers, weights

_PIECE = 1 << 15                        # rows that are worked on at once


def _sides(y_true: Any, y_pred: Any, sample_weight: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """(N, K) float64 both, and the weights."""
    true, pred = (numbers(y, name).astype(np.float64, copy=False)
                  for y, name in ((y_true, "y_true"), (y_pred, "y_pred")))
    true, pred = (y[:, np.newaxis] if y.ndim == 1 else y for y in (true, pred))
    if true.ndim != 2 or true.shape != pred.shape:
        raise UsageError("answers and predictions do not fit together", expected=f"shape {true.shape}",
                         got=f"shape {pred.shape}")
    if len(true) == 0:
        raise UsageError("there are no rows to measure")
    return true, pred, weights(sample_weight, len(true))


def _mean(function: Callable[[np.ndarray, np.ndarray], np.ndarray], true: np.ndarray, pred: np.ndarray,
          weight: np.ndarray | None) -> np.ndarray:
    """(K,) means of function(true, pred), piece by piece, so that what lies between stays in the cache."""
    sums = []
    for begin in range(0, len(true), _PIECE):
        rows = slice(begin, begin + _PIECE)
        values = function(true[rows], pred[rows])
        sums.append(values.sum(axis=0) if weight is None else weight[rows] @ values)
    total = len(true) if weight is None else weight.sum()
    if total == 0:
        raise UsageError("the sample weights sum to zero")
    return np.sum(sums, axis=0) / total


def _squares(true: np.ndarray, pred: np.ndarray) -> np.ndarray:
    error = true - pred
    return np.square(error, out=error)


def _absolute(true: np.ndarray, pred: np.ndarray) -> np.ndarray:
    error = true - pred
    return np.abs(error, out=error)


def _variance(values: Callable[[np.ndarray, np.ndarray], np.ndarray], true: np.ndarray, pred: np.ndarray,
              weight: np.ndarray | None) -> np.ndarray:
    """(K,) variances of values(true, pred), whose mean is taken from the first row on: exact zeros where all are equal."""
    first = values(true[:1], pred[:1])
    shift = _mean(lambda t, p: values(t, p) - first, true, pred, weight)
    return _mean(lambda t, p: np.square(values(t, p) - first - shift), true, pred, weight)


def _combine(values: np.ndarray, multioutput: Any) -> Any:
    if isinstance(multioutput, str):
        if multioutput == "raw_values":
            return values
        if multioutput != "uniform_average":
            raise UsageError("unknown multioutput", expected='"uniform_average", "raw_values" or weights', got=multioutput)
        return float(values.mean())
    share = np.asarray(multioutput, np.float64)
    if share.shape != values.shape:
        raise UsageError("multioutput does not fit the columns", expected=str(values.shape), got=str(share.shape))
    return float(np.average(values, weights=share))


def mean_squared_error(y_true: Any, y_pred: Any, *, sample_weight: Any = None,
                       multioutput: Any = "uniform_average") -> Any:
    """The mean of (y_true - y_pred)^2."""
    true, pred, weight = _sides(y_true, y_pred, sample_weight)
    return _combine(_mean(_squares, true, pred, weight), multioutput)


def root_mean_squared_error(y_true: Any, y_pred: Any, *, sample_weight: Any = None,
                            multioutput: Any = "uniform_average") -> Any:
    """The root of the mean squared error of each column."""
    true, pred, weight = _sides(y_true, y_pred, sample_weight)
    return _combine(np.sqrt(_mean(_squares, true, pred, weight)), multioutput)


def mean_absolute_error(y_true: Any, y_pred: Any, *, sample_weight: Any = None,
                        multioutput: Any = "uniform_average") -> Any:
    """The mean of |y_true - y_pred|."""
    true, pred, weight = _sides(y_true, y_pred, sample_weight)
    return _combine(_mean(_absolute, true, pred, weight), multioutput)


def mean_absolute_percentage_error(y_true: Any, y_pred: Any, *, sample_weight: Any = None,
                                   multioutput: Any = "uniform_average") -> Any:
    """The mean of |y_true - y_pred| / |y_true|, as a share, not in percent; an answer of 0 counts as epsilon."""
    true, pred, weight = _sides(y_true, y_pred, sample_weight)
    smallest = np.finfo(np.float64).eps
    shares = _mean(lambda t, p: _absolute(t, p) / np.maximum(np.abs(t), smallest), true, pred, weight)
    return _combine(shares, multioutput)


def mean_squared_log_error(y_true: Any, y_pred: Any, *, sample_weight: Any = None,
                           multioutput: Any = "uniform_average") -> Any:
    """The mean of (log(1 + y_true) - log(1 + y_pred))^2; both must be above -1."""
    true, pred, weight = _sides(y_true, y_pred, sample_weight)
    if (true <= -1).any() or (pred <= -1).any():
        raise UsageError("logarithms of 1 + y need values above -1", got=f"{min(true.min(), pred.min()):g}")
    return _combine(_mean(lambda t, p: _squares(np.log1p(t), np.log1p(p)), true, pred, weight), multioutput)


def median_absolute_error(y_true: Any, y_pred: Any, *, sample_weight: Any = None,
                          multioutput: Any = "uniform_average") -> Any:
    """The median of |y_true - y_pred|; with weights the mean of the two middle values where the weight splits evenly."""
    true, pred, weight = _sides(y_true, y_pred, sample_weight)
    errors = np.abs(pred - true)
    if weight is None:
        return _combine(np.median(errors, axis=0), multioutput)
    return _combine(np.array([_weighted_median(row, weight) for row in errors.T]), multioutput)


def _weighted_median(values: np.ndarray, weight: np.ndarray) -> float:
    """The mean of the lower and the upper weighted median."""
    order = np.argsort(values, kind="stable")
    values, share = values[order][weight[order] > 0], np.cumsum(weight[order][weight[order] > 0])
    half = share[-1] / 2
    lower = values[np.searchsorted(share, half * (1 - 1e-15))]
    upper = values[min(np.searchsorted(share, half * (1 + 1e-15), "right"), len(values) - 1)]
    return float((lower + upper) / 2)


def max_error(y_true: Any, y_pred: Any) -> float:
    """The greatest |y_true - y_pred|, of (N,) answers."""
    true, pred, _ = _sides(y_true, y_pred, None)
    if true.shape[1] > 1:
        raise UsageError("max_error takes one column", got=f"{true.shape[1]} columns")
    return float(np.abs(true - pred).max())


def mean_pinball_loss(y_true: Any, y_pred: Any, *, sample_weight: Any = None, alpha: float = 0.5,
                      multioutput: Any = "uniform_average") -> Any:
    """alpha times what the prediction is too low by, 1 - alpha times what it is too high by, on average."""
    true, pred, weight = _sides(y_true, y_pred, sample_weight)
    loss = _mean(lambda t, p: np.maximum(alpha * (t - p), (alpha - 1) * (t - p)), true, pred, weight)
    return _combine(loss, multioutput)


def r2_score(y_true: Any, y_pred: Any, *, sample_weight: Any = None, multioutput: Any = "uniform_average",
             force_finite: bool = True) -> Any:
    """1 - sum (y_true - y_pred)^2 / sum (y_true - mean)^2.

    Constant answers give 1 where the prediction is exact, else 0; NaN and -inf with `force_finite=False`.  NaN for a
    single row.  `multioutput` may also be "variance_weighted".
    """
    true, pred, weight = _sides(y_true, y_pred, sample_weight)
    if len(true) < 2:
        warnings.warn("R squared needs at least two rows", UndefinedMetricWarning, stacklevel=2)
        return float("nan")
    residual = _mean(_squares, true, pred, weight)
    spread = _variance(lambda t, p: t, true, pred, weight)
    return _explained(residual, spread, multioutput, force_finite)


def explained_variance_score(y_true: Any, y_pred: Any, *, sample_weight: Any = None, multioutput: Any = "uniform_average",
                             force_finite: bool = True) -> Any:
    """1 - variance of (y_true - y_pred) / variance of y_true; options as in `r2_score`."""
    true, pred, weight = _sides(y_true, y_pred, sample_weight)
    residual = _variance(lambda t, p: t - p, true, pred, weight)
    spread = _variance(lambda t, p: t, true, pred, weight)
    return _explained(residual, spread, multioutput, force_finite)


def _explained(residual: np.ndarray, spread: np.ndarray, multioutput: Any, force_finite: bool) -> Any:
    with np.errstate(divide="ignore", invalid="ignore"):
        scores = 1 - residual / spread
    if force_finite:
        scores = np.where(spread == 0, np.where(residual == 0, 1.0, 0.0), scores)
    if isinstance(multioutput, str) and multioutput == "variance_weighted":
        return float(np.average(scores, weights=spread)) if spread.any() else float(scores.mean())
    return _combine(scores, multioutput)
