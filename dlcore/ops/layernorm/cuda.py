"""Layer normalisation on a GPU: a warp for each row, two passes for the variance; the gradients of weight and bias by columns."""
import math

import numpy as np

from dlcore.compiler.cuda.intrinsics import f32, warp_sum
from dlcore.compiler.cuda.language import kernel, lowered
from dlcore.compiler.language import call
from dlcore.ops import layernorm  # noqa: F401  (declares)

ZERO, ONE = np.float32(0), np.float32(1)

call("layernorm_dx(dout: F[N, C], x: F[N, C], weight: f32[C], mean: f32[N], rstd: f32[N] -> +dx: F[N, C])", over="N",
     flops="9 * N * C")
call("layernorm_weight_parts(dout: F[N, C], x: F[N, C], mean: f32[N], rstd: f32[N]"
     " -> dweight: f32[CHUNKS, C], dbias: f32[CHUNKS, C])", over="N in CHUNKS", flops="5 * N * C")
lowered("layernorm_backward", "layernorm_dx(dout, x, weight, mean, rstd -> dx)",
        "layernorm_weight_parts(dout, x, mean, rstd -> dweight_parts, dbias_parts)",
        "add_parts(dweight_parts -> dweight)", "add_parts(dbias_parts -> dbias)")


@kernel(warps="N")
def layernorm_forward(item, lane, x, weight, bias, eps, out, mean, rstd):
    C = x.shape[1]
    share, total, squares = ONE / f32(C), ZERO, ZERO
    for j in range(lane, C, 32):
        total += x[item, j]
    m = warp_sum(total) * share
    for j in range(lane, C, 32):
        squares += (x[item, j] - m) * (x[item, j] - m)
    s = ONE / math.sqrt(warp_sum(squares) * share + eps)
    for j in range(lane, C, 32):
        out[item, j] = (x[item, j] - m) * s * weight[j] + bias[j]
    if lane == 0:
        mean[item], rstd[item] = m, s


@kernel(warps="N")
def layernorm_dx(item, lane, dout, x, weight, mean, rstd, dx, add_dx):
    C, m, s = x.shape[1], mean[item], rstd[item]
    share, g_total, gx_total = ONE / f32(C), ZERO, ZERO
    for j in range(lane, C, 32):
        g = dout[item, j] * weight[j]
        g_total += g
        gx_total += g * (x[item, j] - m)
    g_mean, gx_mean = warp_sum(g_total) * share, warp_sum(gx_total) * share * s
    for j in range(lane, C, 32):
        xhat = (x[item, j] - m) * s
        dx[item, j] = (dout[item, j] * weight[j] - g_mean - xhat * gx_mean) * s + (dx[item, j] if add_dx else ZERO)


@kernel(threads="CHUNKS * C")
def layernorm_weight_parts(item, dout, x, mean, rstd, dweight, dbias):
    N, C = x.shape
    CHUNKS = dweight.shape[0]
    part, j = item // C, item % C
    w, b = ZERO, ZERO
    for i in range(part * N // CHUNKS, (part + 1) * N // CHUNKS):
        w += dout[i, j] * ((x[i, j] - mean[i]) * rstd[i])
        b += dout[i, j]
    dweight[part, j], dbias[part, j] = w, b
