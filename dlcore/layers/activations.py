"""Activations by name.  `softmax` and `sigmoid` remember their input, so that a loss that follows is computed on
logits."""
from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from dlcore.errors import UsageError, meant
from dlcore.layers.trace import note

if TYPE_CHECKING:
    from dlcore.graph import Tensor

ACTIVATIONS = ("linear", "relu", "leaky_relu", "elu", "sigmoid", "tanh", "gelu", "gelu_tanh", "silu", "softplus",
               "softmax",
               "log_softmax")


def get(activation: str | Callable | None) -> str | Callable:
    """The name of a known activation ("linear" for None), or the user's own function of a tensor."""
    if activation is None:
        return "linear"
    if callable(activation):
        name = getattr(activation, "__name__", "")
        from dlcore.graph import OPS
        return name if name in ACTIVATIONS and OPS.get(name) is activation else activation
    if activation in ACTIVATIONS:
        return activation
    raise UsageError("unknown activation", expected=", ".join(ACTIVATIONS) + " or a function of a tensor",
                     got=repr(activation),
                     hint=meant(activation, ACTIVATIONS))


def apply(activation: str | Callable, x: Tensor) -> Tensor:
    """activation(x), elementwise, or over the last axis for softmax."""
    if activation == "linear":
        return note(x, "linear", x)
    if callable(activation):
        return activation(x)
    from dlcore import ops
    from dlcore.layers import fusion
    if (fused := fusion.activated(x, activation)) is not None:
        return note(fused, activation, x)
    return note(getattr(ops, activation)(x), activation, x)


def serialise(activation: str | Callable) -> str:
    if callable(activation):
        raise UsageError("a layer with an activation of the user's own cannot be saved",
                         got=getattr(activation, "__name__", repr(activation)), hint="make it a Layer of its own")
    return activation
