"""Losses: functions (y_true, y_pred) -> one value per sample, made of ops.  The user's own are plain functions of
tensors.

Cross-entropies are computed on logits wherever these can be had: behind `Dense(activation="softmax")`, `Softmax()` or
`Activation("sigmoid")` the loss takes what stood before the activation; with `from_logits=True` the output itself.
Only where neither holds are they computed on probabilities, as log(max(p, 1e-7)).
"""
from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dlcore import ops
from dlcore.errors import UsageError, meant
from dlcore.layers.trace import current, origin

if TYPE_CHECKING:
    from dlcore.graph import Tensor

EPSILON = 1e-7


class Loss:
    """Base class.  `targets`: "ids" for classes (i32), "float" for numbers of the output's shape, "any" as they
    come."""

    targets = "any"
    name = ""

    def __call__(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__} must implement __call__(y_true, y_pred)")

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, which are attributes of the same name."""
        names = list(inspect.signature(type(self).__init__).parameters)[1:] if "__init__" in vars(type(self)) else []
        return {n: getattr(self, n) for n in names}


class OwnLoss(Loss):
    """A function of the user's: loss(y_true, y_pred) -> tensor with the batch first."""

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor]):
        self.function = function
        self.name = getattr(function, "__name__", "loss")

    def __call__(self, y_true, y_pred):
        return self.function(y_true, y_pred)


def class_logits(y_pred: Tensor, from_logits: bool, loss: str) -> Tensor:
    """Logits whose softmax is `y_pred`."""
    activation, logits = origin(y_pred)
    if activation == "softmax":
        return logits
    if from_logits:
        return y_pred
    if activation == "linear":
        raise UsageError(f"{loss} got an output without softmax",
                         hint='end the model with activation="softmax", or pass '
                         f"{type_name(loss)}(from_logits=True)")
    return ops.log(ops.clip(y_pred, EPSILON, 1.0))


def binary_logits(y_pred: Tensor, from_logits: bool, loss: str) -> Tensor:
    """Logits whose sigmoid is `y_pred`."""
    activation, logits = origin(y_pred)
    if activation == "sigmoid":
        return logits
    if from_logits:
        return y_pred
    if activation == "linear":
        raise UsageError(f"{loss} got an output without sigmoid",
                         hint='end the model with activation="sigmoid", or pass '
                         f"{type_name(loss)}(from_logits=True)")
    p = ops.clip(y_pred, EPSILON, 1.0 - EPSILON)
    return ops.sub(ops.log(p), ops.log(ops.shift(ops.neg(p), 1.0)))


class SparseCategoricalCrossentropy(Loss):
    """Cross-entropy of classes given as integers; -1 is ignored (loss 0)."""

    targets, name = "ids", "sparse_categorical_crossentropy"

    def __init__(self, from_logits: bool = False, label_smoothing: float = 0.0):
        self.from_logits, self.label_smoothing = from_logits, _smoothing(label_smoothing)

    def __call__(self, y_true, y_pred):
        activation, parts = origin(y_pred)
        if activation == "tied" and self.from_logits:
            from dlcore.training.projected import projected_cross_entropy
            rows, table = parts
            loss = projected_cross_entropy(rows, table, y_true.reshape(y_true.size), self.label_smoothing)
            return loss.reshape(*y_true.shape)
        return ops.softmax_cross_entropy(class_logits(y_pred, self.from_logits, self.name), y_true,
                                         self.label_smoothing)


class TokenCrossentropy(SparseCategoricalCrossentropy):
    """Cross-entropy of ids by logits, smoothed in training alone: what is measured is the likelihood of the ids."""

    name = "token_crossentropy"

    def __init__(self, from_logits: bool = True, label_smoothing: float = 0.0):
        super().__init__(from_logits, label_smoothing)

    def __call__(self, y_true, y_pred):
        trace = current()
        smoothing = self.label_smoothing if trace is not None and trace.training else 0.0
        return SparseCategoricalCrossentropy(self.from_logits, smoothing)(y_true, y_pred)


class CategoricalCrossentropy(Loss):
    """Cross-entropy of classes given as distributions (one-hot rows)."""

    targets, name = "float", "categorical_crossentropy"

    def __init__(self, from_logits: bool = False, label_smoothing: float = 0.0):
        self.from_logits, self.label_smoothing = from_logits, _smoothing(label_smoothing)

    def __call__(self, y_true, y_pred):
        return ops.softmax_cross_entropy(class_logits(y_pred, self.from_logits, self.name), y_true,
                                         self.label_smoothing)


class BinaryCrossentropy(Loss):
    """Cross-entropy of yes/no decisions, the mean over the last axis."""

    targets, name = "float", "binary_crossentropy"

    def __init__(self, from_logits: bool = False, label_smoothing: float = 0.0):
        self.from_logits, self.label_smoothing = from_logits, _smoothing(label_smoothing)

    def __call__(self, y_true, y_pred):
        return ops.binary_cross_entropy(binary_logits(y_pred, self.from_logits, self.name), y_true,
                                        self.label_smoothing)


class MeanSquaredError(Loss):
    """mean((y_pred - y_true)^2) over the last axis."""

    targets, name = "float", "mean_squared_error"

    def __call__(self, y_true, y_pred):
        return ops.mean_squared_error(y_pred, y_true)


class MeanAbsoluteError(Loss):
    """mean(|y_pred - y_true|) over the last axis."""

    targets, name = "float", "mean_absolute_error"

    def __call__(self, y_true, y_pred):
        return ops.mean_absolute_error(y_pred, y_true)


class Huber(Loss):
    """Squared within `delta`, absolute beyond, the mean over the last axis."""

    targets, name = "float", "huber"

    def __init__(self, delta: float = 1.0):
        if not delta > 0:
            raise UsageError("Huber's delta must be positive", got=repr(delta))
        self.delta = delta

    def __call__(self, y_true, y_pred):
        return ops.huber(y_pred, y_true, self.delta)


# Keras's names; "mse" and "mae" are the short ones of two
LOSSES: dict[str, type[Loss]] = {
    "sparse_categorical_crossentropy": SparseCategoricalCrossentropy,
    "token_crossentropy": TokenCrossentropy,
    "categorical_crossentropy": CategoricalCrossentropy,
    "binary_crossentropy": BinaryCrossentropy,
    "mean_squared_error": MeanSquaredError, "mse": MeanSquaredError,
    "mean_absolute_error": MeanAbsoluteError, "mae": MeanAbsoluteError,
    "huber": Huber,
}


def get(loss: str | Loss | Callable) -> Loss:
    """A loss from its name, or as it is; a function of tensors is wrapped."""
    if isinstance(loss, Loss):
        return loss
    if isinstance(loss, str) and loss in LOSSES:
        return LOSSES[loss]()
    if isinstance(loss, type):
        if issubclass(loss, Loss):
            return loss()
    elif callable(loss):
        return OwnLoss(loss)
    raise UsageError("unknown loss", expected=", ".join(LOSSES) + ", or a function (y_true, y_pred)", got=repr(loss),
                     hint=meant(loss, LOSSES))


def serialise(loss: Loss) -> dict[str, Any]:
    """{"name": "huber", "delta": 1.0}; of the user's own only the name."""
    return {"name": loss.name} if isinstance(loss, OwnLoss) else {"name": loss.name, **loss.get_config()}


def type_name(loss: str) -> str:
    return LOSSES[loss].__name__


def _smoothing(value: float) -> float:
    if not 0 <= value < 1:
        raise UsageError("label_smoothing is at least 0 and below 1", got=repr(value))
    return float(value)
