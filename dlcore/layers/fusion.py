"""Neighbouring layers as one call: a convolution takes the normalisation, residual and activation behind it into its epilogue.

A layer that could have done more notes how (`offer`); the layer behind it asks (`scaled`, `joined`, `activated`) and gets the
tensor that one call makes, or None.  What the first layer had made is then needed by nobody, and is not planned.

    inference    Conv2D, BatchNormalization, Add, Activation -> one convolution with folded weights
    training     BatchNormalization, Add, relu               -> one pass
"""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from dlcore.layers.trace import current

if TYPE_CHECKING:
    from dlcore.graph import Tensor


@dataclass(frozen=True)
class Offer:
    """emit(weight, bias, residual, activation) makes the call; `foldable`: a scale and shift of its channels can be put into weight
    and bias; `activations`: the names that it applies."""

    emit: Callable[[Any, Any, Any, str | None], Any]
    weight: Any
    bias: Any
    activations: tuple[str, ...]
    foldable: bool = False
    residual: Any = None


def offer(out: Tensor, made: Offer) -> Tensor:
    """Notes how `out` was made.  Returns it."""
    trace = current()
    if trace is not None:
        trace.offers[id(out)] = out, made
    return out


def _of(x: Tensor) -> Offer | None:
    trace = current()
    found = trace.offers.get(id(x)) if trace is not None else None
    return found[1] if found else None


def _made(known: Offer) -> Tensor:
    return offer(known.emit(known.weight, known.bias, known.residual, None), known)


def scaled(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor | None:
    """x * scale + shift for each channel."""
    from dlcore import ops
    known = _of(x)
    if known is None or not known.foldable or known.residual is not None:
        return None
    bias = shift if known.bias is None else ops.add(ops.mul(known.bias, scale), shift)
    return _made(replace(known, weight=ops.mul(known.weight, scale), bias=bias))


def joined(a: Tensor, b: Tensor) -> Tensor | None:
    """a + b."""
    for x, other in ((a, b), (b, a)):
        known = _of(x)
        if known is not None and known.residual is None and a is not b:
            return _made(replace(known, residual=other))
    return None


def activated(x: Tensor, activation: str) -> Tensor | None:
    known = _of(x)
    if known is None or activation not in known.activations:
        return None
    return known.emit(known.weight, known.bias, known.residual, activation)
