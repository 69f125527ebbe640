"""Muon (Jordan et al., Muon: an optimizer for hidden layers in neural networks, 2024): momentum whose direction is made orthogonal.

    m = momentum * m + (1 - momentum) * g,      u = (1 - momentum) * g + momentum * m       (without Nesterov: u = m)
    X = u / (|u| + eps);    ns_steps times  X = a X + (b A + c A A) X,  A = X X^T           (Newton-Schulz, quintic)
    weight -= lr * rms_rate * sqrt(max(rows, columns)) * X

The iteration drives the singular values of X towards 1 with (a, b, c) = (3.4445, -4.7750, 2.0315).  It runs on the shorter side:
with more rows than columns A = X^T X stands behind X.  The factor makes the update's root mean square that of Adam's, so that one
learning rate and decay serve both (Liu et al., Muon is scalable for LLM training, 2025, equation 4).  Filters
[KH, KW, C_in, C_out] are read as matrices [KH KW C_in, C_out].  Weights that are no matrices, and those that `exclude` names, are
updated by AdamW.
"""
from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

from dlcore import ops
from dlcore.graph import call
from dlcore.ops import norm
from dlcore.ops.slots import LR, STEP
from dlcore.optim.adam import adam_call
from dlcore.optim.base import Optimizer, Part, checked

A, B, C = 3.4445, -4.7750, 2.0315

muon_direction_call = call("muon_direction(gradient: f32[S], status: i64[1], factor: f32[1]?, limit: f32, l2: f32, weight: f32[S],"
                           " momentum: f32, nesterov: i64 -> ~m: f32[S], direction: f32[S])", over="S", flops="8 * S")
muon_normalise_call = call("muon_normalise(x: f32[S], norm: f32[1], eps: f32 -> out: f32[S])", over="S", flops="S")
muon_polynomial_call = call("muon_polynomial(x: f32[S], square: f32[S], b: f32, c: f32 -> out: f32[S])", over="S", flops="3 * S")
muon_call = call("muon(direction: f32[S], status: i64[1], lr: f32, rate: f32, decay: f32, size: f32 -> ~weight: f32[S])", over="S",
                 flops="3 * S")


class Muon(Optimizer):
    """Muon(learning_rate=0.001, momentum=0.95, nesterov=True, ns_steps=5, rms_rate=0.2, weight_decay=0.1, ...)

    exclude       patterns of names of matrices that AdamW updates, such as embeddings and the last layer: ("*embedding*",)
    adam_beta_1, adam_beta_2, adam_epsilon, adam_lr_ratio    of AdamW, whose learning rate is learning_rate * adam_lr_ratio

    The decay is decoupled from the gradient.  Further arguments: `Optimizer`."""

    decoupled = True
    each = True

    def __init__(self, learning_rate: Any = 0.001, momentum: float = 0.95, nesterov: bool = True, ns_steps: int = 5,
                 rms_rate: float = 0.2, weight_decay: float = 0.1, exclude: Sequence[str] = ("*embedding*",),
                 adam_beta_1: float = 0.9, adam_beta_2: float = 0.999, adam_epsilon: float = 1e-8, adam_lr_ratio: float = 1.0,
                 epsilon: float = 1e-7, global_clipnorm: float | None = None, name: str = "", **common: Any) -> None:
        super().__init__(learning_rate, weight_decay, global_clipnorm, name, **common)
        self.momentum = checked("momentum", momentum, 0 <= momentum < 1, "0 <= momentum < 1")
        self.nesterov, self.exclude = bool(nesterov), [str(p) for p in exclude]
        self.ns_steps = int(checked("ns_steps", ns_steps, ns_steps >= 1 and int(ns_steps) == ns_steps, "a whole number from 1"))
        self.rms_rate = checked("rms_rate", rms_rate, rms_rate > 0, "above 0")
        self.adam_beta_1 = checked("adam_beta_1", adam_beta_1, 0 <= adam_beta_1 < 1, "0 <= adam_beta_1 < 1")
        self.adam_beta_2 = checked("adam_beta_2", adam_beta_2, 0 <= adam_beta_2 < 1, "0 <= adam_beta_2 < 1")
        self.adam_epsilon = checked("adam_epsilon", adam_epsilon, adam_epsilon > 0, "above 0")
        self.adam_lr_ratio = checked("adam_lr_ratio", adam_lr_ratio, adam_lr_ratio >= 0, "at least 0")
        self.epsilon = checked("epsilon", epsilon, epsilon > 0, "above 0")

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {n: getattr(self, n) for n in (
            "momentum", "nesterov", "ns_steps", "rms_rate", "exclude", "adam_beta_1", "adam_beta_2", "adam_epsilon",
            "adam_lr_ratio", "epsilon")}

    def update_part(self, graph: Any, part: Part) -> None:
        weight, = part.weights
        if weight.ndim < 2 or any(fnmatchcase(weight.name, p) for p in self.exclude):
            part.rate *= self.adam_lr_ratio
            adam_call(*part.common, STEP, 1 - self.adam_beta_1, 1 - self.adam_beta_2, self.adam_epsilon, part.weight,
                      self.state(graph, "m", part), self.state(graph, "v", part))
            return
        rows, columns = weight.size // weight.shape[-1], weight.shape[-1]
        gradient, flat = part.gradient[:weight.size], part.weight[:weight.size]
        _, direction = muon_direction_call(gradient, part.status, part.factor, part.limit, part.l2, flat, self.momentum,
                                           int(self.nesterov), self.state(graph, "m", part, weight.size))
        x = muon_normalise_call(direction, norm(direction), self.epsilon).reshape(rows, columns)
        x = orthogonal(x, self.ns_steps).reshape(weight.size)
        muon_call(x, part.status, LR, part.rate, part.decay, self.rms_rate * max(rows, columns) ** 0.5, flat)


def orthogonal(x: Any, steps: int) -> Any:
    """The nearly orthogonal matrix of x, f32[M, K] whose norm is at most 1."""
    wide = x.shape[0] <= x.shape[1]
    for _ in range(steps):
        gram = ops.matmul(x, x, "nt" if wide else "tn")
        side = gram.shape[0]
        polynomial = muon_polynomial_call(gram.reshape(side * side), ops.matmul(gram, gram).reshape(side * side), B,
                                          C).reshape(side, side)
        x = ops.add(ops.scale(x, A), ops.matmul(polynomial, x) if wide else ops.matmul(x, polynomial))
    return x
