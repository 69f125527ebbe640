"""Metrics of predictions against answers, in float64: what `evaluate` and `score` give.

Definitions as in scikit-learn's `accuracy_score`, `f1_score(average="macro")`, `log_loss`, `r2_score`.
"""
from __future__ import annotations

import numpy as np

_SMALLEST = float(np.finfo(np.float32).eps)             # a probability below this counts as this in the log loss


def classification_scores(probs: np.ndarray, targets: np.ndarray, weight: np.ndarray | None = None) -> dict[str, float]:
    """accuracy, macro_f1 and log_loss.  probs: (N, C); targets: (N,) classes; weight: (N,) or None."""
    predicted = probs.argmax(axis=1)
    chosen = probs[np.arange(len(targets)), targets].astype(np.float64) / probs.sum(axis=1, dtype=np.float64)
    log_loss = -np.log(np.clip(chosen, _SMALLEST, 1 - _SMALLEST))
    return {"accuracy": float(np.average(predicted == targets, weights=weight)),
            "macro_f1": _macro_f1(predicted, targets, weight, probs.shape[1]),
            "log_loss": float(np.average(log_loss, weights=weight))}


def _macro_f1(predicted: np.ndarray, targets: np.ndarray, weight: np.ndarray | None, classes: int) -> float:
    """The mean of 2 TP / (2 TP + FP + FN) over the classes that occur among answers or predictions."""
    right = np.bincount(targets[predicted == targets], None if weight is None else weight[predicted == targets], classes)
    occurring = np.bincount(targets, weight, classes) + np.bincount(predicted, weight, classes)
    present = occurring > 0
    return float((2 * right[present] / occurring[present]).mean())


def regression_scores(predicted: np.ndarray, targets: np.ndarray, weight: np.ndarray | None = None) -> dict[str, float]:
    """rmse, mae and r2, all (N,) arrays; r2 is 0 where all answers are equal and some prediction is wrong."""
    predicted, targets = predicted.astype(np.float64), targets.astype(np.float64)
    error = predicted - targets
    squared = float(np.average(error ** 2, weights=weight))
    variance = float(np.average((targets - np.average(targets, weights=weight)) ** 2, weights=weight))
    r2 = 1 - squared / variance if variance > 0 else float(squared == 0)
    return {"rmse": squared ** 0.5, "mae": float(np.average(np.abs(error), weights=weight)), "r2": r2}
