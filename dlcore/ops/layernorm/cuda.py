"""Layer normalisation on a GPU: a warp for each row, two passes for the variance; the gradients of weight and bias by columns.

Rows of at most 1,024 columns are read once, 16 bytes at a time, and stay in registers."""
import math

import numpy as np

from dlcore.compiler.cuda.intrinsics import cuda, f32, quotient, u64, warp_sum
from dlcore.compiler.cuda.language import kernel, lowered
from dlcore.compiler.cuda.rows import first_column, in_fours, sum_of_warps, take_four
from dlcore.compiler.cuda.vectors import address_of, put_row, take_row
from dlcore.compiler.language import call, helper
from dlcore.ops import layernorm  # noqa: F401  (declares)

ZERO, ONE, PARTS = np.float32(0), np.float32(1), 64

call("layernorm_dx(dout: F[N, C], x: F[N, C], weight: f32[C], mean: f32[N], rstd: f32[N] -> +dx: F[N, C])", over="N",
     flops="9 * N * C")
call("layernorm_weight_parts(dout: F[N, C], x: F[N, C], mean: f32[N], rstd: f32[N]"
     f" -> dweight: f32[{PARTS}, C], dbias: f32[{PARTS}, C])", over="N", flops="5 * N * C")
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
    """dx of a row of `take_row`.  What it is added to is asked for before the sums over the warp, and all of it at once."""
    g, xhat, old = cuda.local.array((8, 4), f32), cuda.local.array((8, 4), f32), cuda.local.array((8, 4), f32)
    C = x.shape[0]
    share, g_total, gx_total = ONE / f32(C), ZERO, ZERO
    take_row(g, dout, lane)
    take_row(xhat, x, lane)
    take_row(old, weight, lane)
    for n in range(8):
        for c in range(4):
            g[n, c] *= old[n, c]
            xhat[n, c] = (xhat[n, c] - m) * s
            g_total += g[n, c]
            gx_total += g[n, c] * xhat[n, c]
            old[n, c] = ZERO
    if add_dx:
        take_row(old, dx, lane)
    g_mean, gx_mean = warp_sum(g_total) * share, warp_sum(gx_total) * share
    for n in range(8):
        for c in range(4):
            g[n, c] = (g[n, c] - g_mean - xhat[n, c] * gx_mean) * s + old[n, c]
    put_row(g, dx, lane, False)


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


@helper
def weight_sums(dout, x, mean, rstd, begin, end, j, fours):
    """The sums of dout xhat and of dout, four columns each, over every 8th row; rows are asked for 4 at a time."""
    g, h = cuda.local.array((4, 4), f32), cuda.local.array((4, 4), f32)
    scale, shift, w, b = (
        cuda.local.array(4, f32), cuda.local.array(4, f32), cuda.local.array(4, f32), cuda.local.array(4, f32))
    for c in range(4):
        w[c] = b[c] = ZERO
    if not fours or j < x.shape[1]:
        for i in range(begin, end, 32):
            for u in range(4):
                row = min(i + 8 * u, end - 1)
                dy, y = take_four(dout, row, j, fours), take_four(x, row, j, fours)
                for c in range(4):
                    g[u, c], h[u, c] = dy[c], y[c]
                scale[u], shift[u] = rstd[row], mean[row]
            for u in range(4):
                for c in range(4):
                    d = g[u, c] if i + 8 * u < end else ZERO
                    w[c] += d * ((h[u, c] - shift[u]) * scale[u])
                    b[c] += d
    return (w[0], w[1], w[2], w[3]), (b[0], b[1], b[2], b[3])


@helper
def weight_part(item, thread, dout, x, mean, rstd, dweight, dbias, held, fours):
    N, C = x.shape
    tiles, lane, warp = (C + 127) // 128, thread & 31, thread >> 5
    part = quotient(item, tiles)
    tile = item - part * tiles
    begin, end, column = part * N // PARTS + warp, (part + 1) * N // PARTS, 128 * tile + thread
    w, b = weight_sums(dout, x, mean, rstd, begin, end, first_column(tile, lane, fours), fours)
    w_total = sum_of_warps(held, thread, lane, warp, fours, w)
    b_total = sum_of_warps(held, thread, lane, warp, fours, b)
    if thread < 128 and column < C:
        dweight[part, column], dbias[part, column] = w_total, b_total


@kernel(blocks=f"{PARTS} * ceil(C / 128)", block=256)
def layernorm_weight_parts(item, thread, dout, x, mean, rstd, dweight, dbias):
    """A 64th of the rows, 128 columns: a warp for every 8th row."""
    held = cuda.shared.array((8, 128), f32)
    if in_fours(x.shape[1], address_of(x) | address_of(dout)):
        weight_part(item, thread, dout, x, mean, rstd, dweight, dbias, held, True)
    else:
        weight_part(item, thread, dout, x, mean, rstd, dweight, dbias, held, False)
