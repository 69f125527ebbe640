"""Root mean square normalisation over the last axis (Zhang and Sennrich, Root mean square layer normalization, 2019).

    rstd = 1 / sqrt(sum_j x_j^2 / C + eps)        out = x rstd weight

With xhat = x rstd and g = dout weight:

    dx = (g - xhat mean(g xhat)) rstd             dweight = sum_rows dout xhat
"""
from __future__ import annotations

from dlcore.graph import call, op

rmsnorm_forward = call("rmsnorm_forward(x: F[N, C], weight: f32[C], eps: f32 -> out: F[N, C], rstd: f32[N])", over="N",
                       flops="5 * N * C")
rmsnorm_backward = call("rmsnorm_backward(dout: F[N, C], x: F[N, C], weight: f32[C], rstd: f32[N]"
                        " -> +dx: F[N, C], +dweight: f32[C])", over="", flops="10 * N * C")


@op
def rmsnorm(x, weight, eps=1e-6):
    """Rows of root mean square 1, scaled.   x: f32[..., C]   weight: f32[C]   returns f32[..., C]"""
    C = x.shape[-1]
    rows = x.reshape(x.size // C, C)
    out, rstd = rmsnorm_forward(rows, weight, eps)

    def backward(dout):
        dx, dweight = rmsnorm_backward(dout.reshape(*rows.shape), rows, weight, rstd)
        return dx.reshape(*x.shape), dweight
    return out.reshape(*x.shape), backward
