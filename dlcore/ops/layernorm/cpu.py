"""Layer normalisation on the CPU: a row at a time, two passes for the variance."""
import math

import numpy as np

from dlcore.compiler.language import call, kernel, lowered

ZERO, ONE = np.float32(0), np.float32(1)

call(
    "layernorm_backward_rows(dout: F[N, C], x: F[N, C], weight: f32[C], mean: f32[N], rstd: f32[N]"
    " -> +dx: F[N, C], dweight: f32[CHUNKS, C], dbias: f32[CHUNKS, C])", over="N in CHUNKS", flops="14 * N * C")

lowered("layernorm_backward",
        "layernorm_backward_rows(dout, x, weight, mean, rstd -> dx, dweight_parts, dbias_parts)",
        "add_parts(dweight_parts -> dweight)", "add_parts(dbias_parts -> dbias)")


@kernel
def layernorm_forward(x, weight, bias, eps, out, mean, rstd):
    N, C = x.shape
    for i in range(N):
        m = v = ZERO * x[i, 0]
        for j in range(C):
            m += x[i, j]
        m /= C
        for j in range(C):
            v += (x[i, j] - m) * (x[i, j] - m)
        s = ONE / math.sqrt(v / C + eps)
        for j in range(C):
            out[i, j] = (x[i, j] - m) * s * weight[j] + bias[j]
        mean[i], rstd[i] = m, s


@kernel
def layernorm_backward_rows(dout, x, weight, mean, rstd, dx, dweight, dbias, add_dx):
    """x: the rows of one chunk; dweight, dbias: its part of the sums."""
    N, C = x.shape
    for j in range(C):
        dweight[j] = dbias[j] = ZERO
    for i in range(N):
        m, s = mean[i], rstd[i]
        g_mean = gx_mean = ZERO * m
        for j in range(C):
            g, xhat = dout[i, j] * weight[j], (x[i, j] - m) * s
            g_mean += g
            gx_mean += g * xhat
            dweight[j] += dout[i, j] * xhat
            dbias[j] += dout[i, j]
        g_mean /= C
        gx_mean /= C
        for j in range(C):
            g, xhat = dout[i, j] * weight[j], (x[i, j] - m) * s
            dx[i, j] = (g - g_mean - xhat * gx_mean) * s + (dx[i, j] if add_dx else ZERO)
