"""Adagrad (Duchi et al., Adaptive subgradient methods for online learning and stochastic optimization, 2011), as in PyTorch:

    squares += g**2,        weight -= lr * g / (sqrt(initial + squares) + eps)

The memory holds the sum without the initial value, so that it starts at 0 like every state.
"""
from __future__ import annotations

from typing import Any

from dlcore.graph import call
from dlcore.optim.base import COMMON, ROWS, Optimizer, Part, checked

adagrad_call = call(f"adagrad({COMMON}, initial: f32, eps: f32 -> ~weight: f32[S], ~squares: f32[S])", over="S", flops="11 * S")
adagrad_rows_call = call(f"adagrad_rows({ROWS}, initial: f32, eps: f32 -> ~weight: f32[V, D], ~squares: f32[V, D])", over="N",
                         flops="11 * N * D")


class Adagrad(Optimizer):
    """Adagrad(learning_rate=0.01, initial_accumulator_value=0.0, epsilon=1e-10, weight_decay=0.0, ...)

    The decay is added to the gradient (L2).  Further arguments: `Optimizer`."""

    def __init__(self, learning_rate: Any = 0.01, initial_accumulator_value: float = 0.0, epsilon: float = 1e-10,
                 weight_decay: float = 0.0, global_clipnorm: float | None = None, name: str = "", **common: Any) -> None:
        super().__init__(learning_rate, weight_decay, global_clipnorm, name, **common)
        self.initial_accumulator_value = checked("initial_accumulator_value", initial_accumulator_value,
                                                 initial_accumulator_value >= 0, "at least 0")
        self.epsilon = checked("epsilon", epsilon, epsilon > 0, "above 0")

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"initial_accumulator_value": self.initial_accumulator_value, "epsilon": self.epsilon}

    def update_part(self, graph: Any, part: Part) -> None:
        adagrad_call(*part.common, self.initial_accumulator_value, self.epsilon, part.weight,
                     self.state(graph, "squares", part))

    def update_rows(self, graph: Any, part: Part) -> None:
        adagrad_rows_call(*part.common_rows, self.initial_accumulator_value, self.epsilon, part.table(part.weight),
                          part.table(self.state(graph, "squares", part)))

    def check_rows(self) -> None:
        return
