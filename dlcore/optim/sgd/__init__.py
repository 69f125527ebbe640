"""Stochastic gradient descent, with momentum and Nesterov's form of it, as in PyTorch:

    g = gradient + weight_decay * weight
    velocity = momentum * velocity + g
    weight -= lr * velocity                         Nesterov: weight -= lr * (g + momentum * velocity)

(Sutskever et al., On the importance of initialization and momentum in deep learning, 2013.)
"""
from __future__ import annotations

from typing import Any

from dlcore.errors import UsageError
from dlcore.graph import call
from dlcore.ops.slots import LR
from dlcore.optim.base import Optimizer, checked

sgd_call = call("sgd(gradient: f32[S], status: i64[1], factor: f32[1]?, lr: f32, weight_decay: f32 -> ~weight: f32[S])",
                over="S", flops="4 * S")
sgd_momentum_call = call("sgd_momentum(gradient: f32[S], status: i64[1], factor: f32[1]?, lr: f32, weight_decay: f32,"
                         " momentum: f32, nesterov: i64 -> ~weight: f32[S], ~velocity: f32[S])", over="S", flops="7 * S")


class SGD(Optimizer):
    """SGD(learning_rate=0.01, momentum=0.0, nesterov=False, weight_decay=0.0, global_clipnorm=None)"""

    def __init__(self, learning_rate: float = 0.01, momentum: float = 0.0, nesterov: bool = False, weight_decay: float = 0.0,
                 global_clipnorm: float | None = None, name: str = "") -> None:
        super().__init__(learning_rate, weight_decay, global_clipnorm, name)
        self.momentum, self.nesterov = checked("momentum", momentum, 0 <= momentum < 1, "0 <= momentum < 1"), bool(nesterov)
        if self.nesterov and not self.momentum:
            raise UsageError("Nesterov's form needs a momentum", expected="momentum above 0", got=str(momentum))

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"momentum": self.momentum, "nesterov": self.nesterov}

    def update_run(self, graph: Any, run: list[Any], gradient: Any, status: Any, factor: Any, decay: float) -> None:
        weight = graph.flat("weights", run)
        if not self.momentum:
            sgd_call(gradient, status, factor, LR, decay, weight)
            return
        velocity = self.state(graph, "velocity", run, weight.size)
        sgd_momentum_call(gradient, status, factor, LR, decay, self.momentum, int(self.nesterov), weight, velocity)
