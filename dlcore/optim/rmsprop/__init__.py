"""RMSProp (Tieleman and Hinton, Lecture 6.5, Neural networks for machine learning, 2012; centred: Graves, Generating sequences with
recurrent neural networks, 2013, equations 38 to 45), as in PyTorch:

    v = rho v + (1 - rho) g**2
    root = sqrt(v) + eps            centred: mean = rho mean + (1 - rho) g,  root = sqrt(v - mean**2) + eps
    weight -= lr * g / root         momentum: velocity = momentum * velocity + g / root,  weight -= lr * velocity
"""
from __future__ import annotations

from typing import Any

from dlcore.graph import call
from dlcore.optim.base import COMMON, Optimizer, Part, checked

rmsprop_call = call(f"rmsprop({COMMON}, rest: f32, eps: f32, momentum: f32"
                    " -> ~weight: f32[S], ~v: f32[S], ~mean: f32[S]?, ~velocity: f32[S]?)", over="S", flops="16 * S")


class RMSprop(Optimizer):
    """RMSprop(learning_rate=0.001, rho=0.9, momentum=0.0, epsilon=1e-7, centered=False, weight_decay=0.0, ...)

    The decay is added to the gradient (L2).  Further arguments: `Optimizer`."""

    def __init__(self, learning_rate: Any = 0.001, rho: float = 0.9, momentum: float = 0.0, epsilon: float = 1e-7,
                 centered: bool = False, weight_decay: float = 0.0, global_clipnorm: float | None = None, name: str = "",
                 **common: Any) -> None:
        super().__init__(learning_rate, weight_decay, global_clipnorm, name, **common)
        self.rho = checked("rho", rho, 0 <= rho < 1, "0 <= rho < 1")
        self.momentum = checked("momentum", momentum, 0 <= momentum < 1, "0 <= momentum < 1")
        self.epsilon, self.centered = checked("epsilon", epsilon, epsilon > 0, "above 0"), bool(centered)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"rho": self.rho, "momentum": self.momentum, "epsilon": self.epsilon,
                                       "centered": self.centered}

    def update_part(self, graph: Any, part: Part) -> None:
        mean = self.state(graph, "mean", part) if self.centered else None
        velocity = self.state(graph, "velocity", part) if self.momentum else None
        rmsprop_call(*part.common, 1 - self.rho, self.epsilon, self.momentum, part.weight, self.state(graph, "v", part), mean,
                     velocity)
