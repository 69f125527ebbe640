"""Adadelta (Zeiler, Adadelta: an adaptive learning rate method, 2012, algorithm 1), with a learning rate as in PyTorch:

    squares = rho squares + (1 - rho) g**2
    delta = sqrt(deltas + eps) / sqrt(squares + eps) * g
    deltas = rho deltas + (1 - rho) delta**2
    weight -= lr * delta
"""
from __future__ import annotations

from typing import Any

from dlcore.graph import call
from dlcore.optim.base import COMMON, Optimizer, Part, checked

adadelta_call = call(f"adadelta({COMMON}, rest: f32, eps: f32 -> ~weight: f32[S], ~squares: f32[S], ~deltas: f32[S])", over="S",
                     flops="18 * S")


class Adadelta(Optimizer):
    """Adadelta(learning_rate=1.0, rho=0.9, epsilon=1e-6, weight_decay=0.0, ...)

    The decay is added to the gradient (L2).  Further arguments: `Optimizer`."""

    def __init__(self, learning_rate: Any = 1.0, rho: float = 0.9, epsilon: float = 1e-6, weight_decay: float = 0.0,
                 global_clipnorm: float | None = None, name: str = "", **common: Any) -> None:
        super().__init__(learning_rate, weight_decay, global_clipnorm, name, **common)
        self.rho = checked("rho", rho, 0 <= rho < 1, "0 <= rho < 1")
        self.epsilon = checked("epsilon", epsilon, epsilon > 0, "above 0")

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"rho": self.rho, "epsilon": self.epsilon}

    def update_part(self, graph: Any, part: Part) -> None:
        adadelta_call(*part.common, 1 - self.rho, self.epsilon, part.weight, self.state(graph, "squares", part),
                      self.state(graph, "deltas", part))
