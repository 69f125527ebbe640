"""NAdam (Dozat, Incorporating Nesterov momentum into Adam, 2016), as in PyTorch:

    mu(t) = beta1 (1 - 0.96**(t * momentum_decay) / 2),         product(t) = mu(1) mu(2) ... mu(t)
    m = beta1 m + (1 - beta1) g,    v = beta2 v + (1 - beta2) g**2
    weight -= lr * ((1 - mu(t)) / (1 - product(t)) g + mu(t + 1) / (1 - product(t + 1)) m) / (sqrt(v / (1 - beta2**t)) + eps)

The memory holds 1 - product, which starts at 0 like every state and loses no digits while the product is small.
"""
from __future__ import annotations

from typing import Any

from dlcore.graph import call
from dlcore.ops.slots import STEP
from dlcore.optim.base import COMMON, Optimizer, Part, checked

nadam_momentum_call = call("nadam_momentum(status: i64[1], step: i64, beta1: f32, momentum_decay: f32 -> ~rest: f32[1],"
                           " factors: f32[2])", over="1")
nadam_call = call(f"nadam({COMMON}, factors: f32[2], step: i64, rest1: f32, rest2: f32, eps: f32"
                  " -> ~weight: f32[S], ~m: f32[S], ~v: f32[S])", over="S", flops="19 * S")


class Nadam(Optimizer):
    """Nadam(learning_rate=0.002, beta_1=0.9, beta_2=0.999, epsilon=1e-8, momentum_decay=0.004, weight_decay=0.0, ...)

    The decay is added to the gradient (L2).  Further arguments: `Optimizer`."""

    def __init__(self, learning_rate: Any = 0.002, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-8,
                 momentum_decay: float = 0.004, weight_decay: float = 0.0, global_clipnorm: float | None = None, name: str = "",
                 **common: Any) -> None:
        super().__init__(learning_rate, weight_decay, global_clipnorm, name, **common)
        self.beta_1 = checked("beta_1", beta_1, 0 <= beta_1 < 1, "0 <= beta_1 < 1")
        self.beta_2 = checked("beta_2", beta_2, 0 <= beta_2 < 1, "0 <= beta_2 < 1")
        self.epsilon = checked("epsilon", epsilon, epsilon > 0, "above 0")
        self.momentum_decay = checked("momentum_decay", momentum_decay, momentum_decay >= 0, "at least 0")

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"beta_1": self.beta_1, "beta_2": self.beta_2, "epsilon": self.epsilon,
                                       "momentum_decay": self.momentum_decay}

    def update_part(self, graph: Any, part: Part) -> None:
        _, factors = nadam_momentum_call(part.status, STEP, self.beta_1, self.momentum_decay,
                                         self.state(graph, "rest", part, 1))
        nadam_call(*part.common, factors, STEP, 1 - self.beta_1, 1 - self.beta_2, self.epsilon, part.weight,
                   self.state(graph, "m", part), self.state(graph, "v", part))
