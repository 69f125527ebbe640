"""Layer normalisation on a GPU: a warp for each row, two passes for the variance; the gradients of weight and bias by columns.

Rows of at most 1,024 columns are read once, 16 bytes at a time, and stay in registers."""
import math

import numpy as np

from dlcore.compiler.cuda.intrinsics import cuda, f32, u64, warp_sum
from dlcore.compiler.cuda.language import kernel, lowered
from dlcore.compiler.cuda.vectors import address_of, put_row, take_row
from dlcore.compiler.language import call, helper
from dlcore.ops import layernorm  # noqa: F401  (declares)

ZERO, ONE = np.float32(0), np.float32(1)

call("layernorm_dx(dout: F[N, C], x: F[N, C], weight: f32[C], mean: f32[N], rstd: f32[N] -> +dx: F[N, C])", over="N",
     flops="9 * N * C")
call("layernorm_weight_parts(dout: F[N, C], x: F[N, C], mean: f32[N], rstd: f32[N]"
     " -> dweight: f32[CHUNKS, C], dbias: f32[CHUNKS, C])", over="N in CHUNKS", flops="5 * N * C")
lowered("layernorm_backward", "layernorm_dx(dout, x, weight, mean, rstd -> dx)",
        "layernorm_weight_parts(dout, x, mean, rstd -> dweight_parts, dbias_parts)",
        "add_parts(dweight_parts -> dweight)", "add_parts(dbias_parts -> dbias)")


@helper
def held_in_registers(x, y, weight, bias):
    """Can rows be read 16 bytes at a time, and be held?"""
    at = address_of(x) | address_of(y) | address_of(weight) | address_of(bias)
    return x.shape[1] <= 1024 and x.shape[1] & 3 == 0 and at & u64(15) == u64(0)


@helper
def normalise_row(x, weight, bias, eps, out, lane):
    """(mean, 1 / deviation) of a row of `take_row`, normalised into out."""
    held, w, b = cuda.local.array((8, 4), f32), cuda.local.array((8, 4), f32), cuda.local.array((8, 4), f32)
    C = x.shape[0]
    share, total, squares = ONE / f32(C), ZERO, ZERO
    take_row(held, x, lane)
    take_row(w, weight, lane)
    take_row(b, bias, lane)
    for n in range(8):
        for c in range(4):
            total += held[n, c]
    m = warp_sum(total) * share
    for n in range(8):
        for c in range(4):
            d = held[n, c] - m if 128 * n + 4 * lane < C else ZERO
            squares += d * d
    s = ONE / math.sqrt(warp_sum(squares) * share + eps)
    for n in range(8):
        for c in range(4):
            held[n, c] = (held[n, c] - m) * s * w[n, c] + b[n, c]
    put_row(held, out, lane, False)
    return m, s


@kernel(warps="N")
def layernorm_forward(item, lane, x, weight, bias, eps, out, mean, rstd):
    C = x.shape[1]
    if held_in_registers(x, out, weight, bias):
        m, s = normalise_row(x[item], weight, bias, eps, out[item], lane)
    else:
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


@helper
def differentiate_row(dout, x, weight, m, s, dx, add_dx, lane):
    """dx of a row of `take_row`."""
    g, xhat = cuda.local.array((8, 4), f32), cuda.local.array((8, 4), f32)
    C = x.shape[0]
    share, g_total, gx_total = ONE / f32(C), ZERO, ZERO
    take_row(xhat, weight, lane)
    take_row(g, dout, lane)
    for n in range(8):
        for c in range(4):
            g[n, c] *= xhat[n, c]
    take_row(xhat, x, lane)
    for n in range(8):
        for c in range(4):
            xhat[n, c] = (xhat[n, c] - m) * s
            g_total += g[n, c]
            gx_total += g[n, c] * xhat[n, c]
    g_mean, gx_mean = warp_sum(g_total) * share, warp_sum(gx_total) * share
    for n in range(8):
        for c in range(4):
            g[n, c] = (g[n, c] - g_mean - xhat[n, c] * gx_mean) * s
    put_row(g, dx, lane, add_dx)


@kernel(warps="N")
def layernorm_dx(item, lane, dout, x, weight, mean, rstd, dx, add_dx):
    C, m, s = x.shape[1], mean[item], rstd[item]
    if held_in_registers(x, dout, weight, dx):
        differentiate_row(dout[item], x[item], weight, m, s, dx[item], add_dx, lane)
    else:
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
