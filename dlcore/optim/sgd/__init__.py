"""Stochastic gradient descent, with momentum and Nesterov's form of it, as in PyTorch:

    g = gradient + weight_decay * weight                                    (decoupled: weight *= 1 - lr * weight_decay)
    velocity = momentum * velocity + g
    weight -= lr * velocity                         Nesterov: weight -= lr * (g + momentum * velocity)

(Sutskever et al., On the importance of initialization and momentum in deep learning, 2013.)
"""
from __future__ import annotations

from typing import Any

from dlcore.errors import UsageError
from dlcore.graph import call
from dlcore.optim.base import COMMON, ROWS, Optimizer, Part, checked

sgd_call = call(f"sgd({COMMON} -> ~weight: f32[S])", over="S", flops="5 * S")
sgd_momentum_call = call(f"sgd_momentum({COMMON}, momentum: f32, nesterov: i64 -> ~weight: f32[S], ~velocity: f32[S])",
                         over="S", flops="9 * S")
sgd_rows_call = call(f"sgd_rows({ROWS} -> ~weight: f32[V, D])", over="N", flops="5 * N * D")


class SGD(Optimizer):
    """SGD(learning_rate=0.01, momentum=0.0, nesterov=False, weight_decay=0.0, global_clipnorm=None, ...)

    The decay is added to the gradient (L2).  Further arguments: `Optimizer`."""

    def __init__(self, learning_rate: Any = 0.01, momentum: float = 0.0, nesterov: bool = False, weight_decay: float = 0.0,
                 global_clipnorm: float | None = None, name: str = "", **common: Any) -> None:
        super().__init__(learning_rate, weight_decay, global_clipnorm, name, **common)
        self.momentum, self.nesterov = checked("momentum", momentum, 0 <= momentum < 1, "0 <= momentum < 1"), bool(nesterov)
        if self.nesterov and not self.momentum:
            raise UsageError("Nesterov's form needs a momentum", expected="momentum above 0", got=str(momentum))

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"momentum": self.momentum, "nesterov": self.nesterov}

    def update_part(self, graph: Any, part: Part) -> None:
        if not self.momentum:
            sgd_call(*part.common, part.weight)
            return
        velocity = self.state(graph, "velocity", part)
        sgd_momentum_call(*part.common, self.momentum, int(self.nesterov), part.weight, velocity)

    def update_rows(self, graph: Any, part: Part) -> None:
        self.check_rows()
        sgd_rows_call(*part.common_rows, part.table(part.weight))

    def check_rows(self) -> None:
        if self.momentum:
            super().check_rows()
