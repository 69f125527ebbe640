"""Large float32 products on tensor cores, each number in two parts of 11 bits: 3xTF32.

x = big + small, big being x rounded to tf32, small the rest, of which tensor cores read the first 11 bits; together they hold 22 to
24 bits of x.  A product is small big + big small, then big big; small small is below what float32 holds.  Tensor cores cut their
sums off where float32 rounds them, which over a long K adds up: so each slice of 16 of K is summed by them from 0, and added to the
tile's sums in float32.  Copies, stages and places in registers are those of `cuda_stages` and `cuda_bf16`.  An infinite operand
makes NaN of its row or column, as infinity less infinity is; below 2**-113 numbers lose the digits of their small part.

Source: Ootomo, Yokota, Recovering single precision accuracy from Tensor Cores while surpassing the FP32 theoretical peak
performance, 2022.
"""

import numpy as np

from dlcore.compiler.cuda.intrinsics import load_shared_1, mma_tf32, split_tf32, u32, u64
from dlcore.compiler.cuda.vectors import address_of, copy_4, copy_16
from dlcore.compiler.language import helper
from dlcore.ops.matmul.cuda_large import whole_vectors
from dlcore.ops.matmul.cuda_stages import HALF, left_along, place_along, right_along, staged

DEPTH = 16
ZERO = np.float32(0)


# ---- memory to shared memory -------------------------------------------------------------------------------------
@helper
def copy_four(to, x, at, count, vectors):
    """Four floats from element `at` of x on, of which `count` are there; the others become 0.  vectors: at once."""
    source = address_of(x) + (u64(4) * u64(at) if count > 0 else u64(0))
    if vectors:
        copy_16(to, source, u32(16) if count > 0 else u32(0))
    else:
        for c in range(4):
            copy_4(to + u32(4 * c), source + (u64(4 * c) if c < count else u64(0)), u32(4) if c < count else u32(0))


@helper
def place_across(r, chunk):
    """The byte of four floats of row r in a slice whose rows run across K."""
    return u32(r) * u32(512) + ((u32(chunk) ^ ((u32(r) & u32(3)) << u32(1))) << u32(4))


@helper
def bring_along(tile, x, row, k, thread):
    """128 rows, 16 columns of x, whose rows run along K."""
    rows, pitch, chunk, vectors = x.shape[0], x.shape[1], thread & 3, whole_vectors(x)
    for n in range(2):
        r, c = (thread >> 2) + 64 * n, k + 4 * chunk
        copy_four(tile + place_along(r, chunk), x, (row + r) * pitch + c, pitch - c if row + r < rows else 0, vectors)


@helper
def bring_across(tile, x, column, k, stop, thread):
    """16 rows, 128 columns of x, whose rows run across K."""
    pitch, chunk, vectors = x.shape[1], thread & 31, whole_vectors(x)
    for n in range(2):
        r, c = (thread >> 5) + 8 * n, column + 4 * chunk
        copy_four(tile + place_across(r, chunk), x, (k + r) * pitch + c, pitch - c if k + r < stop else 0, vectors)


# ---- shared memory to fragments ----------------------------------------------------------------------------------
@helper
def element(tile, k, m):
    """A word of a slice whose rows run across K."""
    chunk = u32(u32(m >> u32(2)) ^ u32(u32(k & u32(3)) << u32(1)))
    return load_shared_1(u32(u32(tile) + u32(u32(k << u32(9)) + u32(u32(chunk << u32(4)) + u32(u32(m & u32(3)) << u32(2))))))


@helper
def left_across(tile, row, half, lane):
    k, m = u32(u32(8) * half + (lane & u32(3))), u32(row + (lane >> u32(2)))
    next_k, next_m = u32(k + u32(4)), u32(m + u32(8))
    return element(tile, k, m), element(tile, k, next_m), element(tile, next_k, m), element(tile, next_k, next_m)


@helper
def right_across(tile, column, half, lane):
    k, n = u32(u32(8) * half + (lane & u32(3))), u32(column + (lane >> u32(2)))
    next_k, next_n = u32(k + u32(4)), u32(n + u32(8))
    return element(tile, k, n), element(tile, next_k, n), element(tile, k, next_n), element(tile, next_k, next_n)


@helper
def split_four(words):
    """(big parts, small parts)"""
    a, b, c, d = split_tf32(words[0]), split_tf32(words[1]), split_tf32(words[2]), split_tf32(words[3])
    return (a[0], b[0], c[0], d[0]), (a[1], b[1], c[1], d[1])


@helper
def product(a, b0, b1, c):
    return mma_tf32(a[0], a[1], a[2], a[3], b0, b1, c[0], c[1], c[2], c[3])


@helper
def add_product(acc, i, j, big, small, more_big, more_small, b, next_b):
    """acc[i, j] += 16 rows by 8 columns over a slice's two halves; of the right operand (two big parts, two small ones)."""
    d = product(small, b[0][0], b[0][1], (ZERO, ZERO, ZERO, ZERO))
    d = product(more_small, next_b[0][0], next_b[0][1], d)
    d = product(big, b[1][0], b[1][1], d)
    d = product(more_big, next_b[1][0], next_b[1][1], d)
    d = product(big, b[0][0], b[0][1], d)
    d = product(more_big, next_b[0][0], next_b[0][1], d)
    c = acc[i, j]
    c[0], c[1], c[2], c[3] = c[0] + d[0], c[1] + d[1], c[2] + d[2], c[3] + d[3]


def slice_product(a_along, b_along):
    """multiply(acc, tile, row, column, lane) of `staged`.  a_along, b_along: do the operand's rows run along K?"""
    left, right = left_along if a_along else left_across, right_along if b_along else right_across

    @helper
    def columns(acc, tile, row, column, lane, j):
        """16 of the warp's columns, the j-th and the next 8."""
        big, small = split_four(right(tile + u32(HALF), column, u32(0), lane))
        more_big, more_small = split_four(right(tile + u32(HALF), column, u32(1), lane))
        first, next_first = ((big[0], big[1]), (small[0], small[1])), ((more_big[0], more_big[1]), (more_small[0], more_small[1]))
        second, next_second = ((big[2], big[3]), (small[2], small[3])), ((more_big[2], more_big[3]), (more_small[2], more_small[3]))
        for i in range(4):
            x, y = split_four(left(tile, row + u32(16 * i), u32(0), lane))
            z, w = split_four(left(tile, row + u32(16 * i), u32(1), lane))
            add_product(acc, i, j, x, y, z, w, first, next_first)
            add_product(acc, i, j + 1, x, y, z, w, second, next_second)

    @helper
    def multiply_slice(acc, tile, row, column, lane):
        columns(acc, tile, row, column, lane, 0)
        columns(acc, tile, row, column + u32(16), lane, 2)

    return multiply_slice


def split_tile(a_along, b_along):
    """`staged` for two matrices; start and stop are multiples of DEPTH, or the end."""

    @helper
    def bring(tile, m0, n0, k, stop, a, b, thread, extra):
        if a_along:
            bring_along(tile, a, m0, k, thread)
        else:
            bring_across(tile, a, m0, k, stop, thread)
        if b_along:
            bring_along(tile + u32(HALF), b, n0, k, thread)
        else:
            bring_across(tile + u32(HALF), b, n0, k, stop, thread)

    return staged(bring, slice_product(a_along, b_along), DEPTH)
