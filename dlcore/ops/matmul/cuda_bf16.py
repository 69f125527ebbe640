"""A tile of a matrix product on tensor cores: bf16 products, float32 sums; 128 by 128 of the result by 256 threads.

Operands are float32 and are rounded to bf16, halves to even, on their way into shared memory, 32 of K at a time; `load_a` and
`load_b` are those of `cuda_tiles.product_tile`.  Each of the 8 warps has 64 by 32 of the tile: 4 by 4 products m16n8k16 (PTX's
`mma.sync`).  Rows in shared memory are 20 words apart, 16 of them used: the eight rows of a matrix that `ldmatrix` reads meet in
no bank.
"""

import numpy as np

from dlcore.compiler.cuda.intrinsics import cuda, load_matrices, mma_bf16, pack_bf16, shared_address, u32
from dlcore.compiler.language import helper
from dlcore.ops.matmul.cuda_tiles import activated

SIDE, DEPTH, PITCH = 128, 32, 20        # of a tile; of k at a time; words between two rows
ZERO = np.float32(0)


@helper
def clear(acc):
    for i in range(4):
        for j in range(4):
            for r in range(4):
                acc[i, j, r] = ZERO


@helper
def multiply(acc, left, right, thread):
    """acc += what lies in shared memory."""
    lane, warp = u32(thread & 31), u32(thread >> 5)
    row, column = (warp >> u32(2)) * u32(64), (warp & u32(3)) * u32(32)
    a_row, a_word = row + (lane & u32(15)), (lane >> u32(4)) * u32(4)
    b_row = column + (lane & u32(7)) + ((lane >> u32(4)) << u32(3))
    b_word = ((lane >> u32(3)) & u32(1)) * u32(4)
    a_at = shared_address(left) + (a_row * u32(PITCH) + a_word) * u32(4)
    b_at = shared_address(right) + (b_row * u32(PITCH) + b_word) * u32(4)
    for half in range(2):
        step = u32(half) * u32(32)                      # bytes of 16 bf16
        b0 = load_matrices(b_at + step)
        b1 = load_matrices(b_at + step + u32(16 * PITCH * 4))
        for i in range(4):
            a = load_matrices(a_at + step + u32(i) * u32(16 * PITCH * 4))
            c = acc[i, 0]
            d = mma_bf16(a[0], a[1], a[2], a[3], b0[0], b0[1], c[0], c[1], c[2], c[3])
            c[0], c[1], c[2], c[3] = d[0], d[1], d[2], d[3]
            c = acc[i, 1]
            d = mma_bf16(a[0], a[1], a[2], a[3], b0[2], b0[3], c[0], c[1], c[2], c[3])
            c[0], c[1], c[2], c[3] = d[0], d[1], d[2], d[3]
            c = acc[i, 2]
            d = mma_bf16(a[0], a[1], a[2], a[3], b1[0], b1[1], c[0], c[1], c[2], c[3])
            c[0], c[1], c[2], c[3] = d[0], d[1], d[2], d[3]
            c = acc[i, 3]
            d = mma_bf16(a[0], a[1], a[2], a[3], b1[2], b1[3], c[0], c[1], c[2], c[3])
            c[0], c[1], c[2], c[3] = d[0], d[1], d[2], d[3]


def bf16_tile(load_a, a_along_k, load_b, b_along_k):
    """sums(acc, thread, m0, n0, M, N, start, stop, a, b, extra): acc += the product over columns start to stop, in the places that
    `write_added` knows."""

    @helper
    def sums(acc, thread, m0, n0, M, N, start, stop, a, b, extra):
        left = cuda.shared.array((128, 20), u32, alignment=16)
        right = cuda.shared.array((128, 20), u32, alignment=16)
        for k0 in range(start, stop, DEPTH):
            for t in range(thread, 2048, 256):          # a pair of neighbours along k each
                m, p = (t >> 4, t & 15) if a_along_k else (t & 127, t >> 7)
                k = k0 + 2 * p
                low = load_a(a, m0 + m, k, extra) if m0 + m < M and k < stop else ZERO
                high = load_a(a, m0 + m, k + 1, extra) if m0 + m < M and k + 1 < stop else ZERO
                left[m, p] = pack_bf16(high, low)
                n, p = (t >> 4, t & 15) if b_along_k else (t & 127, t >> 7)
                k = k0 + 2 * p
                low = load_b(b, n0 + n, k, extra) if n0 + n < N and k < stop else ZERO
                high = load_b(b, n0 + n, k + 1, extra) if n0 + n < N and k + 1 < stop else ZERO
                right[n, p] = pack_bf16(high, low)
            cuda.syncthreads()
            multiply(acc, left, right, thread)
            cuda.syncthreads()

    return sums


@helper
def write_rows(acc, i, thread, m0, n0, out, add):
    """The i-th 16 rows of each warp: two rows of eight lanes each, neighbouring lanes at neighbouring pairs."""
    M, N = out.shape
    lane, warp = thread & 31, thread >> 5
    m, n = m0 + (warp >> 2) * 64 + 16 * i + (lane >> 2), n0 + (warp & 3) * 32 + (lane & 3) * 2
    for j in range(4):
        for r in range(4):
            row, column = m + (8 if r > 1 else 0), n + 8 * j + (r & 1)
            if row < M and column < N:
                out[row, column] = acc[i, j, r] + (out[row, column] if add else ZERO)


@helper
def write_added(acc, thread, m0, n0, out, add):
    """The tile into out [M, N], or onto what is there.  Spelt out, so that acc stays in registers."""
    write_rows(acc, 0, thread, m0, n0, out, add)
    write_rows(acc, 1, thread, m0, n0, out, add)
    write_rows(acc, 2, thread, m0, n0, out, add)
    write_rows(acc, 3, thread, m0, n0, out, add)


@helper
def write_flat_rows(acc, i, thread, m0, n0, M, N, out):
    """`write_rows` where out is flat."""
    lane, warp = thread & 31, thread >> 5
    m, n = m0 + (warp >> 2) * 64 + 16 * i + (lane >> 2), n0 + (warp & 3) * 32 + (lane & 3) * 2
    for j in range(4):
        for r in range(4):
            row, column = m + (8 if r > 1 else 0), n + 8 * j + (r & 1)
            if row < M and column < N:
                out[row * N + column] = acc[i, j, r]


@helper
def write_flat(acc, thread, m0, n0, M, N, out):
    """The tile into out [M * N]."""
    write_flat_rows(acc, 0, thread, m0, n0, M, N, out)
    write_flat_rows(acc, 1, thread, m0, n0, M, N, out)
    write_flat_rows(acc, 2, thread, m0, n0, M, N, out)
    write_flat_rows(acc, 3, thread, m0, n0, M, N, out)


@helper
def write_activated(acc, thread, m0, n0, out, bias, residual, activation, parameter):
    """f(tile + bias + residual); absent ones have length 0.  In a loop that is not spelt out: the functions are long."""
    M, N = out.shape
    write_added(acc, thread, m0, n0, out, False)
    cuda.syncthreads()
    for t in range(thread, SIDE * SIDE, 256):
        m, n = m0 + (t >> 7), n0 + (t & 127)
        if m < M and n < N:
            value = out[m, n] + (bias[n] if bias.shape[0] > 0 else ZERO)
            value += residual[m, n] if residual.shape[0] > 0 else ZERO
            out[m, n] = activated(value, activation, parameter)
