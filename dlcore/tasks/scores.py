"""What `evaluate` and `score` give: the few numbers of `dlcore.metrics` that every model of a kind has."""
from __future__ import annotations

import numpy as np

from dlcore.metrics import (
    accuracy_score,
    f1_score,
    log_loss,
    mean_absolute_error,
    r2_score,
    root_mean_squared_error,
)


def classification_scores(probs: np.ndarray, targets: np.ndarray, weight: np.ndarray | None = None) -> dict[str, float]:
    """accuracy, macro_f1 and log_loss.  probs: (N, C); targets: (N,) numbers of classes; weight: (N,) or None."""
    predicted, classes = probs.argmax(axis=1), np.arange(probs.shape[1])
    return {"accuracy": accuracy_score(targets, predicted, sample_weight=weight),
            "macro_f1": f1_score(targets, predicted, average="macro", sample_weight=weight, zero_division=0),
            "log_loss": log_loss(targets, probs, labels=classes, sample_weight=weight)}


def regression_scores(predicted: np.ndarray, targets: np.ndarray, weight: np.ndarray | None = None) -> dict[str, float]:
    """rmse, mae and r2 of (N,) arrays."""
    return {"rmse": root_mean_squared_error(targets, predicted, sample_weight=weight),
            "mae": mean_absolute_error(targets, predicted, sample_weight=weight),
            "r2": r2_score(targets, predicted, sample_weight=weight)}
