"""Slices of large bf16 products on tensor cores (`cuda_stages`): how they are multiplied, for products (`cuda_blocks`) and
convolutions; rounding of the operands of convolutions, and copies of them.

An operand is rounded to bf16 once (`to_bf16`; its rows padded to whole 16 bytes), and then serves forward and backward.  A slice is
32 of K; operands lie in shared memory along K or across it, and `ldmatrix` turns what lies across.  Sums, their places in
registers and the epilogue are those of `cuda_bf16`.
"""

import numpy as np

from dlcore.compiler.cuda.intrinsics import load_matrices_turned, mma_bf16, pack_bf16, u32, u64
from dlcore.compiler.cuda.places import part_of
from dlcore.compiler.cuda.vectors import address_of, copy_16, load_4, store_words
from dlcore.compiler.language import helper
from dlcore.ops.matmul.cuda_stages import HALF, left_along, right_along

DEPTH = 32
ZERO = np.float32(0)


def rounding(load):
    """to_bf16(item, x, C, size, out): eight neighbours of x, C of which make a row, into out, whose rows have 8 ceil(C / 8).
    load(x, r, c, size): the element in column c of row r."""

    @helper
    def to_bf16(item, x, C, size, out):
        wide = (C + 7) // 8
        r = part_of(item, wide)
        c = (item - r * wide) * 8
        a, b = (ZERO, ZERO, ZERO, ZERO), (ZERO, ZERO, ZERO, ZERO)
        at = address_of(x) + u64(4) * u64(r * C + c)
        if C & 3 == 0 and address_of(x) & u64(15) == u64(0):
            a = load_4(at)
            if c + 4 < C:
                b = load_4(at + u64(16))
        else:
            a = (load(x, r, c, size), load(x, r, c + 1, size) if c + 1 < C else ZERO,
                 load(x, r, c + 2, size) if c + 2 < C else ZERO, load(x, r, c + 3, size) if c + 3 < C else ZERO)  # fmt: skip
            b = (load(x, r, c + 4, size) if c + 4 < C else ZERO, load(x, r, c + 5, size) if c + 5 < C else ZERO,
                 load(x, r, c + 6, size) if c + 6 < C else ZERO, load(x, r, c + 7, size) if c + 7 < C else ZERO)  # fmt: skip
        store_words(address_of(out) + u64(16) * u64(item), pack_bf16(a[1], a[0]), pack_bf16(a[3], a[2]),
                    pack_bf16(b[1], b[0]), pack_bf16(b[3], b[2]))  # fmt: skip

    return to_bf16


@helper
def of_matrix(x, r, c, size):
    return x[r, c]


to_bf16 = rounding(of_matrix)


# ---- memory to shared memory -------------------------------------------------------------------------------------
@helper
def place_across(r, chunk):
    """The byte of 16 bytes of row r in a slice whose rows run across K."""
    return u32(r) * u32(256) + ((u32(chunk) ^ (u32(r) & u32(7))) << u32(4))


@helper
def bring_across(tile, x, column, k, stop, thread):
    """32 rows, 128 columns of x, whose rows run across K: 256 bytes each."""
    pitch, chunk = x.shape[1], thread & 15
    for n in range(2):
        r = (thread >> 4) + 16 * n
        there = k + r < stop and column + 8 * chunk < pitch
        source = address_of(x) + (u64(2) * u64((k + r) * pitch + column + 8 * chunk) if there else u64(0))
        copy_16(tile + place_across(r, chunk), source, u32(16) if there else u32(0))


# ---- shared memory to fragments ----------------------------------------------------------------------------------
@helper
def left_across(tile, row, half, lane):
    r = u32(16) * half + (lane & u32(7)) + ((lane >> u32(4)) << u32(3))
    chunk = (row >> u32(3)) + ((lane >> u32(3)) & u32(1))
    return load_matrices_turned(tile + r * u32(256) + ((chunk ^ (r & u32(7))) << u32(4)))


@helper
def right_across(tile, column, half, lane):
    r, chunk = u32(16) * half + (lane & u32(15)), (column >> u32(3)) + (lane >> u32(4))
    return load_matrices_turned(tile + r * u32(256) + ((chunk ^ (r & u32(7))) << u32(4)))


@helper
def multiply(acc, i, j, a, b0, b1):
    c = acc[i, j]
    d = mma_bf16(a[0], a[1], a[2], a[3], b0, b1, c[0], c[1], c[2], c[3])
    c[0], c[1], c[2], c[3] = d[0], d[1], d[2], d[3]


def slice_product(a_along, b_along):
    """multiply(acc, tile, row, column, lane) of `staged`.  a_along, b_along: do the operand's rows run along K?"""
    left, right = left_along if a_along else left_across, right_along if b_along else right_across

    @helper
    def multiply_slice(acc, tile, row, column, lane):
        for half in range(2):
            x = right(tile + u32(HALF), column, u32(half), lane)
            y = right(tile + u32(HALF), column + u32(16), u32(half), lane)
            for i in range(4):
                w = left(tile, row + u32(16 * i), u32(half), lane)
                multiply(acc, i, 0, w, x[0], x[1])
                multiply(acc, i, 1, w, x[2], x[3])
                multiply(acc, i, 2, w, y[0], y[1])
                multiply(acc, i, 3, w, y[2], y[3])

    return multiply_slice
