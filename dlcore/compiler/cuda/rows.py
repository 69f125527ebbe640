"""What kernels on rows share: a warp for each row; or 128 neighbouring columns, 4 a lane, that a warp adds up over rows."""

from __future__ import annotations

import numpy as np

from dlcore.compiler.cuda.intrinsics import cuda, f32, i64, u64, warp_max
from dlcore.compiler.cuda.vectors import address_of, load_4, store_4
from dlcore.compiler.language import helper
from dlcore.ops.formulas import ordered, unordered

LEAST = np.int32(-0x80000000)
ZERO = np.float32(0)
AHEAD = 8  # rows that a warp asks for before it uses one


@helper
def warp_row_maximum(x, i, lane):
    """The greatest element of x[i], for every lane; NaN if there is a NaN without sign in it."""
    top = LEAST
    for j in range(lane, x.shape[1], 32):
        key = ordered(x[i, j])
        top = key if key > top else top
    return unordered(np.int32(warp_max(top)))


@helper
def warp_first_maximum(x, i, lane):
    """(greatest key, first column that holds it) of x[i], for every lane."""
    top, at = LEAST, np.int32(0)
    for j in range(lane, x.shape[1], 32):
        key = ordered(x[i, j])
        at = np.int32(j) if key > top else at
        top = key if key > top else top
    for d in (16, 8, 4, 2, 1):
        other, place = cuda.shfl_xor_sync(0xFFFFFFFF, top, d), cuda.shfl_xor_sync(0xFFFFFFFF, at, d)
        better = other > top or (other == top and place < at)
        top, at = (other, place) if better else (top, at)
    return top, at


# ---- 128 columns, 4 a lane ---------------------------------------------------------------------------------------
@helper
def in_fours(columns, addresses):
    """Can rows of so many columns be read 16 bytes at a time?  addresses: of the arrays, joined by |."""
    return columns & 3 == 0 and addresses & u64(15) == u64(0)


@helper
def first_column(tile, lane, fours):
    """The first of a lane's four columns: they are neighbours where they are read together, else 32 apart."""
    return 128 * tile + (4 * lane if fours else lane)


@helper
def take_four(x, i, j, fours):
    """Four columns of row i, from j on; 0 beyond the last.  Where they are read together, j < C."""
    C = x.shape[1]
    if fours:
        return load_4(address_of(x) + u64(4) * u64(i * C + j))
    return (
        x[i, j] if j < C else ZERO,
        x[i, j + 32] if j + 32 < C else ZERO,
        x[i, j + 64] if j + 64 < C else ZERO,
        x[i, j + 96] if j + 96 < C else ZERO,
    )


@helper
def put_four(x, i, j, fours, values):
    """The four into row i, none beyond its last column."""
    C = x.shape[1]
    if fours:
        if j < C:
            store_4(address_of(x) + u64(4) * u64(i * C + j), values[0], values[1], values[2], values[3])
    else:
        if j < C:
            x[i, j] = values[0]
        if j + 32 < C:
            x[i, j + 32] = values[1]
        if j + 64 < C:
            x[i, j + 64] = values[2]
        if j + 96 < C:
            x[i, j + 96] = values[3]


@helper
def hold_rows(held, x, rows, j, fours):
    """Four columns of each of 8 rows, asked for one behind the other before one is used."""
    for u in range(AHEAD):
        four = take_four(x, rows[u], j, fours)
        held[u, 0], held[u, 1], held[u, 2], held[u, 3] = four[0], four[1], four[2], four[3]


@helper
def sum_of_held(sums, held, count):
    """sums + the first `count` of the rows held, in order."""
    a, b, c, d = sums
    for u in range(AHEAD):
        there = u < count
        a += held[u, 0] if there else ZERO
        b += held[u, 1] if there else ZERO
        c += held[u, 2] if there else ZERO
        d += held[u, 3] if there else ZERO
    return a, b, c, d


@helper
def sum_of_rows(x, begin, end, step, j, fours):
    """The sums of four columns of every `step`th row from begin to end - 1, in order; 0 for columns that there are not."""
    rows, held = cuda.local.array(AHEAD, i64), cuda.local.array((AHEAD, 4), f32)
    sums = (ZERO, ZERO, ZERO, ZERO)
    if fours and j >= x.shape[1]:
        return sums
    for i in range(begin, end, AHEAD * step):
        for u in range(AHEAD):
            rows[u] = min(i + u * step, end - 1)
        hold_rows(held, x, rows, j, fours)
        sums = sum_of_held(sums, held, (end - i + step - 1) // step)
    return sums


@helper
def sum_in_order(sums, x, order, begin, end, j, fours):
    """sums + four columns of the rows order[begin] ... order[end - 1] of x."""
    rows, held = cuda.local.array(AHEAD, i64), cuda.local.array((AHEAD, 4), f32)
    if fours and j >= x.shape[1]:
        return sums
    for p in range(begin, end, AHEAD):
        for u in range(AHEAD):
            rows[u] = order[min(p + u, end - 1)]
        hold_rows(held, x, rows, j, fours)
        sums = sum_of_held(sums, held, end - p)
    return sums


@helper
def sum_of_warps(held, thread, lane, warp, fours, sums):
    """The sums of a block's 8 warps, in order: those of column `thread` of the 128, for the threads below 128.
    held: (8, 128) of shared memory."""
    near, apart = (4 * lane, 1) if fours else (lane, 32)
    cuda.syncthreads()
    for c in range(4):
        held[warp, near + c * apart] = sums[c]
    cuda.syncthreads()
    total = ZERO
    if thread < 128:
        for w in range(8):
            total += held[w, thread]
    return total
