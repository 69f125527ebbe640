"""Large matrix products on tensor cores: bf16 operands in memory, copied into shared memory beside the products, in three stages.

Both operands are rounded to bf16 once (`to_bf16`; their rows padded to whole 16 bytes), and then serve every product that reads
them: weights those of forward and backward, activations those of forward and of the weights' gradient.  A block of 256 threads
makes 128 by 128 of the result, 32 of K at a time; while it multiplies one such slice, the next two are on their way by `cp.async`,
16 bytes a thread, zeros beyond the edges.  Operands lie in shared memory as in memory, along K or across it, and `ldmatrix` turns
what lies across; the place of 16 bytes in their row is an exclusive or with the row's number, so that the eight rows of a matrix
meet in no bank.  Sums, their places in registers and the epilogue are those of `cuda_bf16`.
"""

import numpy as np

from dlcore.compiler.cuda.intrinsics import (
    cuda,
    i64,
    load_matrices,
    load_matrices_turned,
    mma_bf16,
    pack_bf16,
    shared_address,
    u32,
    u64,
)
from dlcore.compiler.cuda.vectors import address_of, await_copies_but_1, close_copies, copy_16, load_4, store_words
from dlcore.compiler.language import helper

SIDE, DEPTH = 128, 32
HALF = SIDE * DEPTH * 2                 # bytes of an operand's slice
GROUP = 8                               # rows of tiles that follow one another: what they read stays in the cache
ZERO = np.float32(0)


@helper
def to_bf16(item, x, out):
    """Eight neighbours of x [R, C] into out [R, 8 ceil(C / 8)]."""
    C, wide = x.shape[1], out.shape[1] // 8
    r, c = item // wide, item % wide * 8
    a, b = (ZERO, ZERO, ZERO, ZERO), (ZERO, ZERO, ZERO, ZERO)
    at = address_of(x) + u64(4) * u64(r * C + c)
    if C & 3 == 0 and address_of(x) & u64(15) == u64(0):
        a = load_4(at)
        if c + 4 < C:
            b = load_4(at + u64(16))
    else:
        a = (x[r, c], x[r, c + 1] if c + 1 < C else ZERO, x[r, c + 2] if c + 2 < C else ZERO, x[r, c + 3] if c + 3 < C else ZERO)
        b = (x[r, c + 4] if c + 4 < C else ZERO, x[r, c + 5] if c + 5 < C else ZERO, x[r, c + 6] if c + 6 < C else ZERO,
             x[r, c + 7] if c + 7 < C else ZERO)  # fmt: skip
    store_words(address_of(out) + u64(16) * u64(item), pack_bf16(a[1], a[0]), pack_bf16(a[3], a[2]), pack_bf16(b[1], b[0]),
                pack_bf16(b[3], b[2]))  # fmt: skip


@helper
def corner(item, M, N):
    """The first row and column of a tile, tiles in groups of GROUP rows."""
    rows, columns = (M + SIDE - 1) // SIDE, (N + SIDE - 1) // SIDE
    first = item // (GROUP * columns) * GROUP
    height, place = min(rows - first, i64(GROUP)), item % (GROUP * columns)
    return (first + place % height) * SIDE, place // height * SIDE


# ---- memory to shared memory -------------------------------------------------------------------------------------
@helper
def bring_along(tile, x, row, k, stop, thread):
    """128 rows, 32 columns of x, whose rows run along K: 64 bytes each in shared memory."""
    rows, pitch, chunk = x.shape[0], x.shape[1], thread & 3
    for n in range(2):
        r = (thread >> 2) + 64 * n
        there = row + r < rows and k + 8 * chunk < stop
        source = address_of(x) + (u64(2) * u64((row + r) * pitch + k + 8 * chunk) if there else u64(0))
        place = (u32(chunk) ^ (u32(r >> 1) & u32(3))) << u32(4)
        copy_16(tile + u32(r) * u32(64) + place, source, u32(16) if there else u32(0))


@helper
def bring_across(tile, x, column, k, stop, thread):
    """32 rows, 128 columns of x, whose rows run across K: 256 bytes each."""
    pitch, chunk = x.shape[1], thread & 15
    for n in range(2):
        r = (thread >> 4) + 16 * n
        there = k + r < stop and column + 8 * chunk < pitch
        source = address_of(x) + (u64(2) * u64((k + r) * pitch + column + 8 * chunk) if there else u64(0))
        place = (u32(chunk) ^ (u32(r) & u32(7))) << u32(4)
        copy_16(tile + u32(r) * u32(256) + place, source, u32(16) if there else u32(0))


# ---- shared memory to fragments ----------------------------------------------------------------------------------
@helper
def left_along(tile, row, half, lane):
    r, chunk = row + (lane & u32(15)), u32(2) * half + (lane >> u32(4))
    return load_matrices(tile + r * u32(64) + ((chunk ^ ((r >> u32(1)) & u32(3))) << u32(4)))


@helper
def left_across(tile, row, half, lane):
    r = u32(16) * half + (lane & u32(7)) + ((lane >> u32(4)) << u32(3))
    chunk = (row >> u32(3)) + ((lane >> u32(3)) & u32(1))
    return load_matrices_turned(tile + r * u32(256) + ((chunk ^ (r & u32(7))) << u32(4)))


@helper
def right_along(tile, column, half, lane):
    r, chunk = column + (lane & u32(7)) + ((lane >> u32(4)) << u32(3)), u32(2) * half + ((lane >> u32(3)) & u32(1))
    return load_matrices(tile + r * u32(64) + ((chunk ^ ((r >> u32(1)) & u32(3))) << u32(4)))


@helper
def right_across(tile, column, half, lane):
    r, chunk = u32(16) * half + (lane & u32(15)), (column >> u32(3)) + (lane >> u32(4))
    return load_matrices_turned(tile + r * u32(256) + ((chunk ^ (r & u32(7))) << u32(4)))


@helper
def multiply(acc, i, j, a, b0, b1):
    c = acc[i, j]
    d = mma_bf16(a[0], a[1], a[2], a[3], b0, b1, c[0], c[1], c[2], c[3])
    c[0], c[1], c[2], c[3] = d[0], d[1], d[2], d[3]


def panel_tile(a_along, b_along):
    """sums(acc, thread, m0, n0, start, stop, a, b): acc += the product over K from start to stop.  a_along, b_along: do the
    operand's rows run along K?  What is read there beyond stop must be 0: start and stop are multiples of DEPTH, or the end."""
    bring_a, bring_b = bring_along if a_along else bring_across, bring_along if b_along else bring_across
    left, right = left_along if a_along else left_across, right_along if b_along else right_across

    @helper
    def bring(tile, m0, n0, k, stop, a, b, thread):
        """The slice of K from k on, if there is one; every thread closes a group of copies."""
        if k < stop:
            bring_a(tile, a, m0, k, stop if not a_along else a.shape[1], thread)
            bring_b(tile + u32(HALF), b, n0, k, stop if not b_along else b.shape[1], thread)
        close_copies()

    @helper
    def sums(acc, thread, m0, n0, start, stop, a, b):
        shared = cuda.shared.array(12288, u32, alignment=256)       # three stages
        base, lane, warp = shared_address(shared), u32(thread & 31), u32(thread >> 5)
        row, column = (warp >> u32(2)) * u32(64), (warp & u32(3)) * u32(32)
        bring(base, m0, n0, start, stop, a, b, thread)
        bring(base + u32(2 * HALF), m0, n0, start + DEPTH, stop, a, b, thread)
        tile, free = base, base + u32(4 * HALF)         # the stage that is multiplied, and that which was before it
        for k in range(start, stop, DEPTH):
            await_copies_but_1()
            cuda.syncthreads()
            bring(free, m0, n0, k + 2 * DEPTH, stop, a, b, thread)
            for half in range(2):
                x = right(tile + u32(HALF), column, u32(half), lane)
                y = right(tile + u32(HALF), column + u32(16), u32(half), lane)
                for i in range(4):
                    w = left(tile, row + u32(16 * i), u32(half), lane)
                    multiply(acc, i, 0, w, x[0], x[1])
                    multiply(acc, i, 1, w, x[2], x[3])
                    multiply(acc, i, 2, w, y[0], y[1])
                    multiply(acc, i, 3, w, y[2], y[3])
            free = tile
            tile = tile + u32(2 * HALF) if tile - base < u32(4 * HALF) else base

    return sums
