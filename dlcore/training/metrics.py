"""Metrics: functions (y_true, y_pred) -> one value per sample, of which an epoch reports the mean over its samples.

The user's own are plain functions of tensors.  `finish` is applied to the mean (a root for the root mean squared
error).
"""
from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from dlcore import ops
from dlcore.errors import UsageError, meant
from dlcore.layers.trace import origin
from dlcore.training import losses

if TYPE_CHECKING:
    from dlcore.graph import Tensor


class Metric:
    """name: as reported.  targets: as for losses.  saved: what stands in a model file, "" for the user's own."""

    def __init__(self, name: str, function: Callable[[Tensor, Tensor], Tensor], targets: str = "any", saved: str = "",
                 finish: Callable[[float], float] | None = None):
        self.name, self.function, self.targets, self.saved, self.finish = name, function, targets, saved, finish

    def __call__(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return self.function(y_true, y_pred)


def scores(y_pred: Tensor) -> Tensor:
    """What has its greatest value where y_pred has: the logits, where they are known, so that no softmax is
    computed."""
    activation, logits = origin(y_pred)
    return logits if activation in ("softmax", "log_softmax") else y_pred


def sparse_categorical_accuracy(y_true: Tensor, y_pred: Tensor) -> Tensor:
    return ops.sparse_accuracy(scores(y_pred), y_true)


def categorical_accuracy(y_true: Tensor, y_pred: Tensor) -> Tensor:
    return ops.categorical_accuracy(scores(y_pred), y_true)


def binary_accuracy(y_true: Tensor, y_pred: Tensor) -> Tensor:
    activation, logits = origin(y_pred)
    return ops.binary_accuracy(logits, y_true, 0.0) if activation == "sigmoid" else ops.binary_accuracy(y_pred, y_true)


def logit_accuracy(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Binary accuracy of an output that the loss takes as logits."""
    return ops.binary_accuracy(y_pred, y_true, 0.0)


ACCURACIES = {
    "sparse_categorical_accuracy": ("ids", sparse_categorical_accuracy),
    "categorical_accuracy": ("float", categorical_accuracy),
    "binary_accuracy": ("float", binary_accuracy),
}
NAMES = ("accuracy", *ACCURACIES, "root_mean_squared_error", *losses.LOSSES)


def get(metric: str | Metric | Callable, loss: losses.Loss) -> Metric:
    """A metric from its name, or as it is; "accuracy" is the one that fits the loss.  A loss's name is a metric too."""
    if isinstance(metric, Metric):
        return metric
    if isinstance(metric, losses.Loss):
        return Metric(metric.name, metric, metric.targets)
    if isinstance(metric, str):
        if metric == "accuracy":
            return _accuracy(loss)
        if metric in ACCURACIES:
            targets, function = ACCURACIES[metric]
            return Metric(metric, function, targets, metric)
        if metric == "root_mean_squared_error":
            return Metric(metric, losses.MeanSquaredError(), "float", metric, math.sqrt)
        if metric in losses.LOSSES:
            # a loss of the same kind keeps its options: what is measured is what is trained
            own = loss if type(loss) is losses.LOSSES[metric] else losses.get(metric)
            return Metric(metric, own, own.targets, metric)
    elif callable(metric):
        return Metric(getattr(metric, "__name__", "metric"), metric)
    raise UsageError("unknown metric", expected=", ".join(NAMES) + ", or a function (y_true, y_pred)", got=repr(metric),
                     hint=meant(metric, NAMES))


def _accuracy(loss: losses.Loss) -> Metric:
    """The accuracy of a loss's kind of targets."""
    if isinstance(loss, losses.BinaryCrossentropy):
        return Metric("accuracy", logit_accuracy if loss.from_logits else binary_accuracy, "float", "accuracy")
    if loss.targets == "ids":
        return Metric("accuracy", sparse_categorical_accuracy, "ids", "accuracy")
    if isinstance(loss, losses.CategoricalCrossentropy):
        return Metric("accuracy", categorical_accuracy, "float", "accuracy")
    if loss.targets == "any":
        return Metric("accuracy", _accuracy_by_target, "any", "accuracy")
    raise UsageError(f"accuracy does not fit the loss {loss.name}", hint="use mae, mse or root_mean_squared_error")


def _accuracy_by_target(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Behind a loss of the user's own: classes, a single column, or one-hot rows, as the targets are."""
    if y_true.dtype == "i32":
        return sparse_categorical_accuracy(y_true, y_pred)
    return binary_accuracy(y_true, y_pred) if y_pred.shape[-1] == 1 else categorical_accuracy(y_true, y_pred)
