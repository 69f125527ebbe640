"""Root mean square normalisation on a GPU: a warp for each row, 512 columns at a time, 16 bytes a lane; the gradient of the weight
by blocks of 128 columns, whose warps share out the rows of a part."""
import math

import numpy as np

from dlcore.compiler.cuda.intrinsics import cuda, f32, quotient, u64, warp_sum
from dlcore.compiler.cuda.language import kernel, lowered
from dlcore.compiler.cuda.rows import first_column, in_fours, sum_of_warps, take_four
from dlcore.compiler.cuda.vectors import address_of, load_4, store_4
from dlcore.compiler.language import call, helper
from dlcore.ops import rmsnorm  # noqa: F401  (declares)

ZERO, ONE, PARTS = np.float32(0), np.float32(1), 64

call("rmsnorm_dx(dout: F[N, C], x: F[N, C], weight: f32[C], rstd: f32[N] -> +dx: F[N, C])", over="N", flops="7 * N * C")
call(f"rmsnorm_weight_parts(dout: F[N, C], x: F[N, C], rstd: f32[N] -> dweight: f32[{PARTS}, C])", over="N",
     flops="3 * N * C")
lowered("rmsnorm_backward", "rmsnorm_dx(dout, x, weight, rstd -> dx)", "rmsnorm_weight_parts(dout, x, rstd -> parts)",
        "add_parts(parts -> dweight)")


@helper
def take(held, row, base, lane):
    """held[n, c] = column base + 128 n + 4 lane + c of a row, for n < 4; 0 beyond it."""
    for n in range(4):
        j, four = base + 128 * n + 4 * lane, (ZERO, ZERO, ZERO, ZERO)
        if j < row.shape[0]:
            four = load_4(address_of(row) + u64(4) * u64(j))
        held[n, 0], held[n, 1], held[n, 2], held[n, 3] = four[0], four[1], four[2], four[3]


@helper
def put(held, row, base, lane):
    for n in range(4):
        j = base + 128 * n + 4 * lane
        if j < row.shape[0]:
            store_4(address_of(row) + u64(4) * u64(j), held[n, 0], held[n, 1], held[n, 2], held[n, 3])


@helper
def normalise_in_fours(x, weight, eps, out, lane):
    """1 / deviation of a row, which is normalised into out."""
    h, w, C, squares = cuda.local.array((4, 4), f32), cuda.local.array((4, 4), f32), x.shape[0], ZERO
    for base in range(0, C, 512):
        take(h, x, base, lane)
        for n in range(4):
            for c in range(4):
                squares += h[n, c] * h[n, c]
    s = ONE / math.sqrt(warp_sum(squares) * (ONE / f32(C)) + eps)
    for base in range(0, C, 512):
        take(h, x, base, lane)
        take(w, weight, base, lane)
        for n in range(4):
            for c in range(4):
                h[n, c] = h[n, c] * s * w[n, c]
        put(h, out, base, lane)
    return s


@kernel(warps="N")
def rmsnorm_forward(item, lane, x, weight, eps, out, rstd):
    C, squares = x.shape[1], ZERO
    if in_fours(C, address_of(x) | address_of(weight) | address_of(out)):
        s = normalise_in_fours(x[item], weight, eps, out[item], lane)
    else:
        for j in range(lane, C, 32):
            squares += x[item, j] * x[item, j]
        s = ONE / math.sqrt(warp_sum(squares) * (ONE / f32(C)) + eps)
        for j in range(lane, C, 32):
            out[item, j] = x[item, j] * s * weight[j]
    if lane == 0:
        rstd[item] = s


@helper
def differentiate_in_fours(dout, x, weight, s, dx, add_dx, lane):
    g, h, w = cuda.local.array((4, 4), f32), cuda.local.array((4, 4), f32), cuda.local.array((4, 4), f32)
    C, total, old = x.shape[0], ZERO, cuda.local.array((4, 4), f32)
    for base in range(0, C, 512):
        take(g, dout, base, lane)
        take(h, x, base, lane)
        take(w, weight, base, lane)
        for n in range(4):
            for c in range(4):
                total += g[n, c] * w[n, c] * h[n, c]
    mean = warp_sum(total) * (ONE / f32(C)) * s
    for base in range(0, C, 512):
        take(g, dout, base, lane)
        take(h, x, base, lane)
        take(w, weight, base, lane)
        for n in range(4):
            for c in range(4):
                old[n, c] = ZERO
        if add_dx:
            take(old, dx, base, lane)
        for n in range(4):
            for c in range(4):
                g[n, c] = (g[n, c] * w[n, c] - h[n, c] * s * mean) * s + old[n, c]
        put(g, dx, base, lane)


@kernel(warps="N")
def rmsnorm_dx(item, lane, dout, x, weight, rstd, dx, add_dx):
    C, s, total = x.shape[1], rstd[item], ZERO
    if in_fours(C, address_of(x) | address_of(dout) | address_of(weight) | address_of(dx)):
        differentiate_in_fours(dout[item], x[item], weight, s, dx[item], add_dx, lane)
    else:
        for j in range(lane, C, 32):
            total += dout[item, j] * weight[j] * x[item, j]
        mean = warp_sum(total) * (ONE / f32(C)) * s
        for j in range(lane, C, 32):
            xhat = x[item, j] * s
            dx[item, j] = (dout[item, j] * weight[j] - xhat * mean) * s + (dx[item, j] if add_dx else ZERO)


@helper
def weight_part(item, thread, dout, x, rstd, dweight, held, fours):
    """Every 8th row of a part is a warp's; rows are asked for 4 at a time."""
    N, C = x.shape
    g, h = cuda.local.array((4, 4), f32), cuda.local.array((4, 4), f32)
    scale, w = cuda.local.array(4, f32), cuda.local.array(4, f32)
    tiles, lane, warp = (C + 127) // 128, thread & 31, thread >> 5
    part = quotient(item, tiles)
    tile, end = item - part * tiles, (part + 1) * N // PARTS
    j, column = first_column(tile, lane, fours), 128 * tile + thread
    for c in range(4):
        w[c] = ZERO
    if not fours or j < C:
        for i in range(part * N // PARTS + warp, end, 32):
            for u in range(4):
                row = min(i + 8 * u, end - 1)
                g[u, 0], g[u, 1], g[u, 2], g[u, 3] = take_four(dout, row, j, fours)
                h[u, 0], h[u, 1], h[u, 2], h[u, 3] = take_four(x, row, j, fours)
                scale[u] = rstd[row]
            for u in range(4):
                for c in range(4):
                    w[c] += g[u, c] * (h[u, c] * scale[u]) if i + 8 * u < end else ZERO
    total = sum_of_warps(held, thread, lane, warp, fours, w)
    if thread < 128 and column < C:
        dweight[part, column] = total


@kernel(blocks=f"{PARTS} * ceil(C / 128)", block=256)
def rmsnorm_weight_parts(item, thread, dout, x, rstd, dweight):
    held = cuda.shared.array((8, 128), f32)
    if in_fours(x.shape[1], address_of(x) | address_of(dout)):
        weight_part(item, thread, dout, x, rstd, dweight, held, True)
    else:
        weight_part(item, thread, dout, x, rstd, dweight, held, False)
