"""Layer normalisation over the last axis (Ba, Kiros, Hinton, 2016).

    mean = sum_j x_j / C     var = sum_j (x_j - mean)^2 / C     rstd = 1 / sqrt(var + eps)
    out  = (x - mean) rstd weight + bias

With xhat = (x - mean) rstd and g = dout weight:

    dx      = (g - mean(g) - xhat mean(g xhat)) rstd
    dweight = sum_rows dout xhat      dbias = sum_rows dout

The sums over rows are made as partial sums of CHUNKS parts, added in order, so that no bit depends on the threads.
"""
from __future__ import annotations

from dlcore.graph import call, op

layernorm_forward = call(
    "layernorm_forward(x: F[N, C], weight: f32[C], bias: f32[C], eps: f32 -> out: F[N, C], mean: f32[N], rstd: f32[N])",
    over="N", flops="8 * N * C")
layernorm_backward = call(
    "layernorm_backward(dout: F[N, C], x: F[N, C], weight: f32[C], mean: f32[N], rstd: f32[N]"
    " -> +dx: F[N, C], +dweight: f32[C], +dbias: f32[C])", over="", flops="14 * N * C")


@op
def layernorm(x, weight, bias, eps=1e-5):
    """Rows of mean 0 and variance 1, scaled and shifted.

    x: f32[..., C]   weight, bias: f32[C]   returns f32[..., C]
    """
    C = x.shape[-1]
    rows = x.reshape(x.size // C, C)
    out, mean, rstd = layernorm_forward(rows, weight, bias, eps)

    def backward(dout):
        dx, dweight, dbias = layernorm_backward(dout.reshape(*rows.shape), rows, weight, mean, rstd)
        return dx.reshape(*x.shape), dweight, dbias
    return out.reshape(*x.shape), backward
