"""Regularisation: what is added to the loss for large weights or activations.  Keras' names and formulas.

    Dense(64, kernel_regularizer=L2(1e-4), bias_regularizer="l1", activity_regularizer=L1(1e-5))

A weight's penalty is added once per step; an activation's is summed over each sample and averaged over the batch.
Weights that are not trained have none.
"""
from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from typing import Any

from dlcore import ops
from dlcore.errors import UsageError


class Regularizer:
    """Base class.  Subclasses implement `__call__(x)`, of a weight, and `per_sample(x)`, of an activation, if they are
    for these; constructor arguments are attributes of the same name."""

    def __call__(self, x: Any) -> Any:
        """The penalty of a tensor of any shape, f32[1]."""
        raise NotImplementedError(f"{type(self).__name__} must implement __call__(x)")

    def per_sample(self, x: Any) -> Any:
        """The penalty of each sample of an activation [N, ...], f32[N]."""
        raise NotImplementedError(f"{type(self).__name__} must implement per_sample(x)")

    def get_config(self) -> dict[str, Any]:
        return {n: getattr(self, n) for n in list(inspect.signature(type(self).__init__).parameters)[1:]}


class L1L2(Regularizer):
    """l1 * sum |x| + l2 * sum x**2"""

    def __init__(self, l1: float = 0.0, l2: float = 0.0):
        self.l1, self.l2 = _factor("l1", l1), _factor("l2", l2)

    def __call__(self, x):
        return ops.penalty(x, l1=self.l1, l2=self.l2)

    def per_sample(self, x):
        rows = x.reshape(x.shape[0], x.size // x.shape[0])
        parts = [ops.scale(ops.row_sum(ops.abs(rows)), self.l1)] if self.l1 else []
        parts += [ops.scale(ops.row_sum(ops.square(rows)), self.l2)] if self.l2 else []
        if not parts:
            return ops.scale(ops.row_sum(rows), 0.0)
        return parts[0] if len(parts) == 1 else ops.add(*parts)


class L1(L1L2):
    """l1 * sum |x|"""

    def __init__(self, l1: float = 0.01):
        super().__init__(l1, 0.0)


class L2(L1L2):
    """l2 * sum x**2"""

    def __init__(self, l2: float = 0.01):
        super().__init__(0.0, l2)


REGULARIZERS: dict[str, type[Regularizer]] = {"l1": L1, "l2": L2, "l1_l2": L1L2}
_NAMES = {cls: name for name, cls in REGULARIZERS.items()}


def get(regularizer: Any) -> Regularizer | None:
    """A regulariser from its name ("l1", "l2", "l1_l2" with Keras' default of 0.01), from what `serialise` returned, or as
    it is."""
    if regularizer is None or isinstance(regularizer, Regularizer):
        return regularizer
    if regularizer == "l1_l2":
        return L1L2(0.01, 0.01)
    if isinstance(regularizer, str):
        regularizer = {"name": regularizer}
    if isinstance(regularizer, Mapping) and regularizer.get("name") in REGULARIZERS:
        try:
            return REGULARIZERS[regularizer["name"]](**{k: v for k, v in regularizer.items() if k != "name"})
        except TypeError as error:
            raise UsageError(f"regulariser {regularizer['name']!r}: {error}") from None
    raise UsageError("unknown regulariser", expected=", ".join(REGULARIZERS), got=repr(regularizer))


def serialise(regularizer: Regularizer) -> dict[str, Any]:
    """{"name": "l2", "l2": 0.01}; a regulariser of the user's own cannot be written to a file."""
    if type(regularizer) not in _NAMES:
        raise UsageError(f"{type(regularizer).__name__} cannot be saved", hint="use one of " + ", ".join(REGULARIZERS))
    return {"name": _NAMES[type(regularizer)], **regularizer.get_config()}


def _factor(name: str, value: Any) -> float:
    if isinstance(value, bool) or not 0 <= float(value) < math.inf:
        raise UsageError(f"{name} is out of its range", expected="a number, at least 0", got=repr(value))
    return float(value)
