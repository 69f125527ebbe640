"""Batch normalisation on a GPU: elementwise where the sums are known.  Sums over few rows are a thread's for each column of a part;
over many rows a block has 128 columns of a part, and each of its 8 warps every 8th row."""
import numpy as np

from dlcore.compiler.cuda.intrinsics import cuda, f32, i64, quotient
from dlcore.compiler.cuda.language import each, kernel, lowered, lowered_as_cpu
from dlcore.compiler.cuda.rows import AHEAD, first_column, hold_rows, in_fours, sum_of_warps, take_four
from dlcore.compiler.cuda.vectors import address_of
from dlcore.compiler.language import call, helper
from dlcore.ops.batchnorm import cpu

ZERO, PARTS, MANY = np.float32(0), 128, "N >= 1024"

call(f"batchnorm_shares(x: F[N, C] -> parts: f32[{PARTS}, 3, C])", over="N", flops="4 * N * C")
call(f"batchnorm_gradient_shares({cpu.SEEN}, rstd: f32[C], relu: i64 -> dweight_parts: f32[{PARTS}, C],"
     f" dbias_parts: f32[{PARTS}, C])", over="N", flops="6 * N * C")
each(cpu.batchnorm_parts, cpu.batchnorm_gradient_parts, over="CHUNKS, C")
each(cpu.batchnorm_scale, cpu.moving_average, cpu.batchnorm_means, over="C")
each(cpu.batchnorm_apply, cpu.batchnorm_dx, over="N, C")
lowered("batchnorm_statistics", "batchnorm_shares(x -> parts)", "batchnorm_join(parts -> mean, var)", when=MANY)
lowered("batchnorm_backward", "batchnorm_scale(var, weight, eps -> scale, rstd)",
        "batchnorm_gradient_shares(dout, x, mean, scale, bias, rstd, relu -> dweight_parts, dbias_parts)",
        "add_parts(dweight_parts -> dweight)", "add_parts(dbias_parts -> dbias)",
        "batchnorm_means(dweight, dbias, rstd, N -> slope, level)",
        "batchnorm_dx(dout, x, mean, scale, bias, slope, level, relu -> dx)", when=MANY)
lowered_as_cpu("batchnorm_statistics", "batchnorm_forward", "batchnorm_backward")


@kernel(threads="C")
def batchnorm_join(item, parts, mean, var):
    """As on the CPU; parts are read 8 at a time."""
    P, count, centre, squares = parts.shape[0], ZERO, ZERO, ZERO
    held = cuda.local.array((8, 3), f32)
    for p in range(0, P, 8):
        for u in range(8):
            for k in range(3):
                held[u, k] = parts[min(p + u, P - 1), k, item]
        for u in range(8):
            if p + u < P:
                n, apart = held[u, 0], held[u, 1] - centre
                total = count + n
                centre += apart * (n / total)
                squares += held[u, 2] + apart * apart * (count * (n / total))
                count = total
    mean[item], var[item] = centre, max(squares, ZERO) / count


@helper
def place_of(item, C):
    """(part, tile of 128 columns)"""
    tiles = (C + 127) // 128
    part = quotient(item, tiles)
    return part, item - part * tiles


@helper
def share_of(item, thread, x, parts, held, fours):
    """Sums about the part's first row, and of their squares."""
    N, C = x.shape
    rows, eight = cuda.local.array(AHEAD, i64), cuda.local.array((AHEAD, 4), f32)
    first, total, squares = cuda.local.array(4, f32), cuda.local.array(4, f32), cuda.local.array(4, f32)
    part, tile = place_of(item, C)
    lane, warp, begin, end = thread & 31, thread >> 5, part * N // PARTS, (part + 1) * N // PARTS
    j = first_column(tile, lane, fours)
    for c in range(4):
        first[c] = total[c] = squares[c] = ZERO
    if not fours or j < C:
        first[0], first[1], first[2], first[3] = take_four(x, begin, j, fours)
        for i in range(begin + warp, end, 8 * AHEAD):
            for u in range(AHEAD):
                rows[u] = min(i + 8 * u, end - 1)
            hold_rows(eight, x, rows, j, fours)
            for u in range(AHEAD):
                for c in range(4):
                    a = eight[u, c] - first[c] if i + 8 * u < end else ZERO
                    total[c] += a
                    squares[c] += a * a
    s = sum_of_warps(held, thread, lane, warp, fours, total)
    s2, column, n = sum_of_warps(held, thread, lane, warp, fours, squares), 128 * tile + thread, f32(end - begin)
    if thread < 128 and column < C:
        shift = s / n
        parts[part, 0, column], parts[part, 1, column], parts[part, 2, column] = n, x[begin, column] + shift, s2 - shift * s


@kernel(blocks=f"{PARTS} * ceil(C / 128)", block=256)
def batchnorm_shares(item, thread, x, parts):
    held = cuda.shared.array((8, 128), f32)
    if in_fours(x.shape[1], address_of(x)):
        share_of(item, thread, x, parts, held, True)
    else:
        share_of(item, thread, x, parts, held, False)


@helper
def gradient_share(item, thread, dout, x, mean, scale, bias, rstd, relu, dweight, dbias, held, fours):
    N, C = x.shape
    g, h = cuda.local.array((4, 4), f32), cuda.local.array((4, 4), f32)
    m, k, least = cuda.local.array(4, f32), cuda.local.array(4, f32), cuda.local.array(4, f32)
    w, b = cuda.local.array(4, f32), cuda.local.array(4, f32)
    part, tile = place_of(item, C)
    lane, warp, end = thread & 31, thread >> 5, (part + 1) * N // PARTS
    j, apart = first_column(tile, lane, fours), 1 if fours else 32
    for c in range(4):
        at = min(j + c * apart, C - 1)
        m[c], k[c], least[c], w[c], b[c] = mean[at], scale[at], bias[at], ZERO, ZERO
    if not fours or j < C:
        for i in range(part * N // PARTS + warp, end, 32):
            for u in range(4):
                row = min(i + 8 * u, end - 1)
                g[u, 0], g[u, 1], g[u, 2], g[u, 3] = take_four(dout, row, j, fours)
                h[u, 0], h[u, 1], h[u, 2], h[u, 3] = take_four(x, row, j, fours)
            for u in range(4):
                for c in range(4):
                    above = h[u, c] - m[c]
                    there = i + 8 * u < end and (relu == 0 or above * k[c] + least[c] > ZERO)
                    d = g[u, c] if there else ZERO
                    b[c] += d
                    w[c] += d * above
    w_total = sum_of_warps(held, thread, lane, warp, fours, w)
    b_total, column = sum_of_warps(held, thread, lane, warp, fours, b), 128 * tile + thread
    if thread < 128 and column < C:
        dweight[part, column], dbias[part, column] = w_total * rstd[column], b_total


@kernel(blocks=f"{PARTS} * ceil(C / 128)", block=256)
def batchnorm_gradient_shares(item, thread, dout, x, mean, scale, bias, rstd, relu, dweight_parts, dbias_parts):
    held = cuda.shared.array((8, 128), f32)
    if in_fours(x.shape[1], address_of(x) | address_of(dout)):
        gradient_share(item, thread, dout, x, mean, scale, bias, rstd, relu, dweight_parts, dbias_parts, held, True)
    else:
        gradient_share(item, thread, dout, x, mean, scale, bias, rstd, relu, dweight_parts, dbias_parts, held, False)
