"""Adamax (Kingma and Ba, Adam: a method for stochastic optimization, 2015, algorithm 2), with eps as in PyTorch:

    m = beta1 m + (1 - beta1) g,        u = max(beta2 u, |g| + eps)
    weight -= lr / (1 - beta1**step) * m / u
"""
from __future__ import annotations

from typing import Any

from dlcore.graph import call
from dlcore.ops.slots import STEP
from dlcore.optim.base import COMMON, Optimizer, Part, checked

adamax_call = call(f"adamax({COMMON}, step: i64, rest1: f32, beta2: f32, eps: f32 -> ~weight: f32[S], ~m: f32[S], ~u: f32[S])",
                   over="S", flops="13 * S")


class Adamax(Optimizer):
    """Adamax(learning_rate=0.002, beta_1=0.9, beta_2=0.999, epsilon=1e-8, weight_decay=0.0, ...)

    The decay is added to the gradient (L2).  Further arguments: `Optimizer`."""

    def __init__(self, learning_rate: Any = 0.002, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-8,
                 weight_decay: float = 0.0, global_clipnorm: float | None = None, name: str = "", **common: Any) -> None:
        super().__init__(learning_rate, weight_decay, global_clipnorm, name, **common)
        self.beta_1 = checked("beta_1", beta_1, 0 <= beta_1 < 1, "0 <= beta_1 < 1")
        self.beta_2 = checked("beta_2", beta_2, 0 <= beta_2 < 1, "0 <= beta_2 < 1")
        self.epsilon = checked("epsilon", epsilon, epsilon > 0, "above 0")

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"beta_1": self.beta_1, "beta_2": self.beta_2, "epsilon": self.epsilon}

    def update_part(self, graph: Any, part: Part) -> None:
        adamax_call(*part.common, STEP, 1 - self.beta_1, self.beta_2, self.epsilon, part.weight, self.state(graph, "m", part),
                    self.state(graph, "u", part))
