"""Adam (Kingma and Ba, Adam: a method for stochastic optimization, 2015), AdamW (Loshchilov and Hutter, Decoupled weight decay
regularization, 2019) and AMSGrad (Reddi et al., On the convergence of Adam and beyond, 2018), as in PyTorch:

    weight *= 1 - lr * weight_decay         (AdamW)                         g += weight_decay * weight          (Adam)
    m = beta1 m + (1 - beta1) g,    v = beta2 v + (1 - beta2) g**2          top = max(top, v)                   (AMSGrad)
    weight -= lr / (1 - beta1**step) * m / (sqrt(v / (1 - beta2**step)) + eps)                                  (top for v)

Of a table whose gradient is held as rows only these rows are updated, m and v with them (lazily, as PyTorch's SparseAdam): a row
that is not looked up stays where it is, and its moments do not decay.

The kernel is given 1 - beta instead of beta: 1 - float32(0.999) is off by 1e-5.  The two corrections are computed once per call.
"""
from __future__ import annotations

from typing import Any

from dlcore.graph import call
from dlcore.ops.slots import STEP
from dlcore.optim.base import COMMON, ROWS, Optimizer, Part, checked

adam_call = call(f"adam({COMMON}, step: i64, rest1: f32, rest2: f32, eps: f32 -> ~weight: f32[S], ~m: f32[S], ~v: f32[S])",
                 over="S", flops="16 * S")
amsgrad_call = call(f"amsgrad({COMMON}, step: i64, rest1: f32, rest2: f32, eps: f32"
                    " -> ~weight: f32[S], ~m: f32[S], ~v: f32[S], ~top: f32[S])", over="S", flops="17 * S")
adam_rows_call = call(f"adam_rows({ROWS}, step: i64, rest1: f32, rest2: f32, eps: f32"
                      " -> ~weight: f32[V, D], ~m: f32[V, D], ~v: f32[V, D])", over="N", flops="16 * N * D")


class Adam(Optimizer):
    """Adam(learning_rate=0.001, beta_1=0.9, beta_2=0.999, epsilon=1e-8, global_clipnorm=None, weight_decay=0.0,
    amsgrad=False, ...)

    The decay is added to the gradient (L2).  Further arguments: `Optimizer`."""

    def __init__(self, learning_rate: Any = 0.001, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-8,
                 global_clipnorm: float | None = None, name: str = "", weight_decay: float = 0.0, amsgrad: bool = False,
                 **common: Any) -> None:
        super().__init__(learning_rate, weight_decay, global_clipnorm, name, **common)
        self.beta_1 = checked("beta_1", beta_1, 0 <= beta_1 < 1, "0 <= beta_1 < 1")
        self.beta_2 = checked("beta_2", beta_2, 0 <= beta_2 < 1, "0 <= beta_2 < 1")
        self.epsilon = checked("epsilon", epsilon, epsilon > 0, "above 0")
        self.amsgrad = bool(amsgrad)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"beta_1": self.beta_1, "beta_2": self.beta_2, "epsilon": self.epsilon,
                                       "amsgrad": self.amsgrad}

    def update_part(self, graph: Any, part: Part) -> None:
        m, v = self.state(graph, "m", part), self.state(graph, "v", part)
        given = *part.common, STEP, 1 - self.beta_1, 1 - self.beta_2, self.epsilon, part.weight, m, v
        if self.amsgrad:
            amsgrad_call(*given, self.state(graph, "top", part))
        else:
            adam_call(*given)

    def update_rows(self, graph: Any, part: Part) -> None:
        self.check_rows()
        m, v = self.state(graph, "m", part), self.state(graph, "v", part)
        adam_rows_call(*part.common_rows, STEP, 1 - self.beta_1, 1 - self.beta_2, self.epsilon,
                       *[part.table(t) for t in (part.weight, m, v)])

    def check_rows(self) -> None:
        if self.amsgrad:
            super().check_rows()


class AdamW(Adam):
    """AdamW(learning_rate=0.001, beta_1=0.9, beta_2=0.999, epsilon=1e-8, weight_decay=0.01, global_clipnorm=None,
    amsgrad=False, ...)

    Adam whose decay is decoupled from the gradient.  Further arguments: `Optimizer`."""

    decoupled = True

    def __init__(self, learning_rate: Any = 0.001, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-8,
                 weight_decay: float = 0.01, global_clipnorm: float | None = None, name: str = "", **common: Any) -> None:
        super().__init__(learning_rate, beta_1, beta_2, epsilon, global_clipnorm, name, weight_decay, **common)
