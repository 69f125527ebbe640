"""Lion (Chen et al., Symbolic discovery of optimization algorithms, 2023, algorithm 2):

    weight -= lr * (sign(beta1 m + (1 - beta1) g) + weight_decay * weight)
    m = beta2 m + (1 - beta2) g
"""
from __future__ import annotations

from typing import Any

from dlcore.graph import call
from dlcore.optim.base import COMMON, Optimizer, Part, checked

lion_call = call(f"lion({COMMON}, rest1: f32, rest2: f32 -> ~weight: f32[S], ~m: f32[S])", over="S", flops="13 * S")


class Lion(Optimizer):
    """Lion(learning_rate=0.0001, beta_1=0.9, beta_2=0.99, weight_decay=0.0, ...)

    The decay is decoupled from the gradient.  Further arguments: `Optimizer`."""

    decoupled = True

    def __init__(self, learning_rate: Any = 0.0001, beta_1: float = 0.9, beta_2: float = 0.99, weight_decay: float = 0.0,
                 global_clipnorm: float | None = None, name: str = "", **common: Any) -> None:
        super().__init__(learning_rate, weight_decay, global_clipnorm, name, **common)
        self.beta_1 = checked("beta_1", beta_1, 0 <= beta_1 < 1, "0 <= beta_1 < 1")
        self.beta_2 = checked("beta_2", beta_2, 0 <= beta_2 < 1, "0 <= beta_2 < 1")

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"beta_1": self.beta_1, "beta_2": self.beta_2}

    def update_part(self, graph: Any, part: Part) -> None:
        lion_call(*part.common, 1 - self.beta_1, 1 - self.beta_2, part.weight, self.state(graph, "m", part))
