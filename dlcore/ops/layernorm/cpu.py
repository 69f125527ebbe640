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
    share = ONE / np.float32(C)
    for i in range(N):
        total = squares = ZERO
        for j in range(C):
            total += x[i, j]
        m = total * share
        for j in range(C):
            squares += (x[i, j] - m) * (x[i, j] - m)
        s = ONE / math.sqrt(squares * share + eps)
        for j in range(C):
            out[i, j] = (x[i, j] - m) * s * weight[j] + bias[j]
        mean[i], rstd[i] = m, s


@kernel
def layernorm_backward_rows(dout, x, weight, mean, rstd, dx, dweight, dbias, add_dx):
    """x: the rows of one chunk; dweight, dbias: its part of the sums."""
    N, C = x.shape
    share = ONE / np.float32(C)
    for j in range(C):
        dweight[j] = dbias[j] = ZERO
    for i in range(N):
        m, s = mean[i], rstd[i]
        g_total = gx_total = ZERO
        for j in range(C):
            g = dout[i, j] * weight[j]
            g_total += g
            gx_total += g * (x[i, j] - m)
        g_mean, gx_mean = g_total * share, gx_total * share * s
        for j in range(C):
            xhat = (x[i, j] - m) * s
            dweight[j] += dout[i, j] * xhat
            dbias[j] += dout[i, j]
            dx[i, j] = (dout[i, j] * weight[j] - g_mean - xhat * gx_mean) * s + (dx[i, j] if add_dx else ZERO)
