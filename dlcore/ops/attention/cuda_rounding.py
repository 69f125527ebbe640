"""Rows of heads in bf16, padded with zeros to W columns: 16 bytes a thread; and delta, the sums that read dout as well."""

import numpy as np

from dlcore.compiler.cuda.intrinsics import FULL, cuda, i32, pack_bf16, u64
from dlcore.compiler.cuda.vectors import address_of, load_4, store_words
from dlcore.compiler.language import helper
from dlcore.ops.attention.cuda_pieces import load_1

ZERO = np.float32(0)


@helper
def four(at):
    if at & u64(15) == u64(0):
        return load_4(at)
    return load_1(at), load_1(at + u64(4)), load_1(at + u64(8)), load_1(at + u64(12))


@helper
def eight(x, row, column):
    """Eight neighbours of a row of x [B, T, A, D], D a multiple of 4: 0 beyond it.  x may be part of an array, anywhere."""
    D = x.shape[3]
    a, b = (ZERO, ZERO, ZERO, ZERO), (ZERO, ZERO, ZERO, ZERO)
    at = address_of(x) + u64(4) * u64(row * D + column)
    if column < D:
        a = four(at)
    if column + 4 < D:
        b = four(at + u64(16))
    return a, b


@helper
def put(out, item, a, b):
    store_words(address_of(out) + u64(16) * u64(item), pack_bf16(a[1], a[0]), pack_bf16(a[3], a[2]),
                pack_bf16(b[1], b[0]), pack_bf16(b[3], b[2]))  # fmt: skip


def kernels(W):
    """(round_heads, attention_delta)."""
    SHIFT, LANES = (3, 8) if W == 64 else (4, 16)       # of a row

    def round_heads(item, x, out):
        a, b = eight(x, item >> SHIFT, (item & (LANES - 1)) * 8)
        put(out, item, a, b)

    def attention_delta(item, lane, dout, out, delta, rounded):
        """W / 8 lanes for each row."""
        B, T, H = dout.shape[0], dout.shape[1], dout.shape[2]
        row, column = item * (32 // LANES) + (lane >> SHIFT), (lane & (LANES - 1)) * 8
        total = ZERO
        if row < B * T * H:
            a, b = eight(dout, row, column)
            c, d = eight(out, row, column)
            for n in range(4):
                total += a[n] * c[n] + b[n] * d[n]
            put(rounded, row * LANES + (lane & (LANES - 1)), a, b)
        if LANES > 8:
            total += cuda.shfl_xor_sync(FULL, total, i32(8))
        for n in (4, 2, 1):
            total += cuda.shfl_xor_sync(FULL, total, i32(n))
        if column == 0 and row < B * T * H:
            rest = row // H
            delta[rest // T, row - rest * H, rest % T] = total

    return round_heads, attention_delta
