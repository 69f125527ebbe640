"""Adam (Kingma and Ba, Adam: a method for stochastic optimization, 2015) and AdamW (Loshchilov and Hutter, Decoupled weight decay
regularization, 2019), as in PyTorch:

    weight *= 1 - lr * weight_decay                                         (AdamW)
    m = beta1 m + (1 - beta1) g,    v = beta2 v + (1 - beta2) g**2
    weight -= lr / (1 - beta1**step) * m / (sqrt(v / (1 - beta2**step)) + eps)

The kernel is given 1 - beta instead of beta: 1 - float32(0.999) is off by 1e-5.  The two corrections are computed once per call.
"""
from __future__ import annotations

from typing import Any

from dlcore.graph import call
from dlcore.ops.slots import LR, STEP
from dlcore.optim.base import Optimizer, checked

adam_call = call("adam(gradient: f32[S], status: i64[1], factor: f32[1]?, lr: f32, step: i64, rest1: f32, rest2: f32, eps: f32,"
                 " weight_decay: f32 -> ~weight: f32[S], ~m: f32[S], ~v: f32[S])", over="S", flops="14 * S")


class AdamW(Optimizer):
    """AdamW(learning_rate=0.001, beta_1=0.9, beta_2=0.999, epsilon=1e-8, weight_decay=0.01, global_clipnorm=None)

    The decay is decoupled from the gradient; weights of the group "no_decay" are not decayed."""

    def __init__(self, learning_rate: float = 0.001, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-8,
                 weight_decay: float = 0.01, global_clipnorm: float | None = None, name: str = "") -> None:
        super().__init__(learning_rate, weight_decay, global_clipnorm, name)
        self.beta_1 = checked("beta_1", beta_1, 0 <= beta_1 < 1, "0 <= beta_1 < 1")
        self.beta_2 = checked("beta_2", beta_2, 0 <= beta_2 < 1, "0 <= beta_2 < 1")
        self.epsilon = checked("epsilon", epsilon, epsilon > 0, "above 0")

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"beta_1": self.beta_1, "beta_2": self.beta_2, "epsilon": self.epsilon}

    def update_run(self, graph: Any, run: list[Any], gradient: Any, status: Any, factor: Any, decay: float) -> None:
        weight = graph.flat("weights", run)
        m, v = (self.state(graph, kind, run, weight.size) for kind in ("m", "v"))
        adam_call(gradient, status, factor, LR, STEP, 1 - self.beta_1, 1 - self.beta_2, self.epsilon, decay, weight, m, v)


class Adam(AdamW):
    """Adam(learning_rate=0.001, beta_1=0.9, beta_2=0.999, epsilon=1e-8, global_clipnorm=None): AdamW without decay."""

    def __init__(self, learning_rate: float = 0.001, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-8,
                 global_clipnorm: float | None = None, name: str = "") -> None:
        super().__init__(learning_rate, beta_1, beta_2, epsilon, 0.0, global_clipnorm, name)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["weight_decay"]
        return config
