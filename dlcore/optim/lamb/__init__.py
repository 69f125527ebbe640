"""LAMB (You et al., Large batch optimization for deep learning: training BERT in 76 minutes, 2020, algorithm 2, phi(z) = z):

    m = beta1 m + (1 - beta1) g,    v = beta2 v + (1 - beta2) g**2
    r = (m / (1 - beta1**step)) / (sqrt(v / (1 - beta2**step)) + eps) + weight_decay * weight
    weight -= lr * |weight| / |r| * r                   norms of each weight; where one is 0 the ratio is 1

Three calls per weight: the direction r, its norm beside that of the weight, the step.
"""
from __future__ import annotations

from typing import Any

from dlcore.graph import call
from dlcore.ops import norm
from dlcore.ops.slots import LR, STEP
from dlcore.optim.base import Optimizer, Part, checked

lamb_direction_call = call("lamb_direction(gradient: f32[S], status: i64[1], factor: f32[1]?, limit: f32, l2: f32, decay: f32,"
                           " weight: f32[S], step: i64, rest1: f32, rest2: f32, eps: f32"
                           " -> ~m: f32[S], ~v: f32[S], direction: f32[S])", over="S", flops="16 * S")
lamb_call = call("lamb(direction: f32[S], direction_norm: f32[1], weight_norm: f32[1], status: i64[1], lr: f32, rate: f32"
                 " -> ~weight: f32[S])", over="S", flops="2 * S")


class Lamb(Optimizer):
    """Lamb(learning_rate=0.001, beta_1=0.9, beta_2=0.999, epsilon=1e-6, weight_decay=0.0, ...)

    The decay is part of the direction, as in the paper; `decoupled_weight_decay=False` adds it to the gradient.  Further
    arguments: `Optimizer`."""

    decoupled = True
    each = True

    def __init__(self, learning_rate: Any = 0.001, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-6,
                 weight_decay: float = 0.0, global_clipnorm: float | None = None, name: str = "", **common: Any) -> None:
        super().__init__(learning_rate, weight_decay, global_clipnorm, name, **common)
        self.beta_1 = checked("beta_1", beta_1, 0 <= beta_1 < 1, "0 <= beta_1 < 1")
        self.beta_2 = checked("beta_2", beta_2, 0 <= beta_2 < 1, "0 <= beta_2 < 1")
        self.epsilon = checked("epsilon", epsilon, epsilon > 0, "above 0")

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"beta_1": self.beta_1, "beta_2": self.beta_2, "epsilon": self.epsilon}

    def update_part(self, graph: Any, part: Part) -> None:
        _, _, direction = lamb_direction_call(
            part.gradient, part.status, part.factor, part.limit, part.l2, part.decay, part.weight, STEP, 1 - self.beta_1,
            1 - self.beta_2, self.epsilon, self.state(graph, "m", part), self.state(graph, "v", part))
        lamb_call(direction, norm(direction), norm(part.weight), part.status, LR, part.rate, part.weight)
