"""Losses of regression, one value per row, the mean over the last axis.  With e = x - target:

    mean_squared_error    e^2                                            d/dx = 2 e / C
    mean_absolute_error   |e|                                            d/dx = sign(e) / C, 0 at 0
    huber                 e^2 / 2 where |e| <= delta,                    d/dx = clip(e, -delta, delta) / C
                          delta |e| - delta^2 / 2 elsewhere              (Huber, 1964)

They differ in a formula and share this room.  The gradient for the target is the negative of the gradient for x.
"""
from __future__ import annotations

from dlcore.graph import call, op

squared_error_forward = call("squared_error_forward(x: F[N, C], target: F[N, C] -> loss: f32[N])",
                             over="N", flops="3 * N * C")
squared_error_backward = call("squared_error_backward(dloss: f32[N], x: F[N, C], target: F[N, C] -> +dx: F[N, C])",
                              over="N", flops="3 * N * C")
absolute_error_forward = call("absolute_error_forward(x: F[N, C], target: F[N, C] -> loss: f32[N])",
                              over="N", flops="2 * N * C")
absolute_error_backward = call("absolute_error_backward(dloss: f32[N], x: F[N, C], target: F[N, C] -> +dx: F[N, C])",
                               over="N", flops="2 * N * C")
huber_forward = call("huber_forward(x: F[N, C], target: F[N, C], delta: f32 -> loss: f32[N])", over="N",
                     flops="5 * N * C")
huber_backward = call("huber_backward(dloss: f32[N], x: F[N, C], target: F[N, C], delta: f32 -> +dx: F[N, C])",
                      over="N", flops="4 * N * C")


def _per_row(forward, step, x, target, *scalars):
    """(loss, backward) of one of the losses above.  backward: the same call with its operands exchanged is the
    target's."""
    rows, C = x.shape[:-1], x.shape[-1]
    a, b = (t.reshape(x.size // C, C) for t in (x, target))

    def backward(dloss):
        d = dloss.reshape(a.shape[0])
        return step(d, a, b, *scalars).reshape(*x.shape), step(d, b, a, *scalars).reshape(*x.shape)
    return forward(a, b, *scalars).reshape(*rows), backward


@op
def mean_squared_error(x, target):
    """mean((x - target)^2) over the last axis.   x, target: f32[..., C]   returns f32[...]"""
    return _per_row(squared_error_forward, squared_error_backward, x, target)


@op
def mean_absolute_error(x, target):
    """mean(|x - target|) over the last axis.   x, target: f32[..., C]   returns f32[...]"""
    return _per_row(absolute_error_forward, absolute_error_backward, x, target)


@op
def huber(x, target, delta=1.0):
    """Squared near 0, absolute beyond `delta`, the mean over the last axis.   x, target: f32[..., C]   returns
    f32[...]"""
    return _per_row(huber_forward, huber_backward, x, target, delta)
