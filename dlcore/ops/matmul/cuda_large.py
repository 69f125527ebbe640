"""A tile of a large float32 product: 128 by 128 of the result by 256 threads, 8 by 8 each, 8 of K at a time.

While a thread multiplies one slice, the numbers of the next are on their way into its registers; there are two slices of shared
memory, so that one barrier a slice is enough.  A thread's rows are 4 ty to 4 ty + 3 and those 64 further on, its columns likewise
by tx: what it reads of shared memory are 16 bytes at a time.  The sums run over K in order, as in the small tile.
"""

import numpy as np

from dlcore.compiler.cuda.intrinsics import cuda, f32, shared_address, u32, u64
from dlcore.compiler.cuda.vectors import (
    address_of,
    load_4,
    load_shared_4,
    store_4,
    store_shared_f32,
    store_shared_f32_4,
)
from dlcore.compiler.language import helper
from dlcore.ops.matmul.cuda_tiles import activated

SIDE, DEPTH, PITCH = 128, 8, 132        # of a tile; of k at a time; floats between two rows of shared memory
SLICE = 2 * DEPTH * PITCH * 4           # bytes of both operands' slices
ZERO = np.float32(0)


@helper
def whole_vectors(x):
    """Do rows begin at multiples of 16 bytes?"""
    return x.shape[1] & 3 == 0 and address_of(x) & u64(15) == u64(0)


@helper
def fetch_along(x, vectors, row, k, thread):
    """Four neighbours along k of a row."""
    r, c = row + (thread >> 1), k + (thread & 1) * 4
    rows, columns = x.shape
    found = (ZERO, ZERO, ZERO, ZERO)
    if r < rows:
        if vectors:
            if c < columns:
                found = load_4(address_of(x) + u64(4) * u64(r * columns + c))
        else:
            found = (x[r, c] if c < columns else ZERO, x[r, c + 1] if c + 1 < columns else ZERO,
                     x[r, c + 2] if c + 2 < columns else ZERO, x[r, c + 3] if c + 3 < columns else ZERO)  # fmt: skip
    return found


@helper
def fetch_across(x, vectors, column, k, thread):
    """Four neighbours across k."""
    r, c = k + (thread >> 5), column + (thread & 31) * 4
    rows, columns = x.shape
    found = (ZERO, ZERO, ZERO, ZERO)
    if r < rows:
        if vectors:
            if c < columns:
                found = load_4(address_of(x) + u64(4) * u64(r * columns + c))
        else:
            found = (x[r, c] if c < columns else ZERO, x[r, c + 1] if c + 1 < columns else ZERO,
                     x[r, c + 2] if c + 2 < columns else ZERO, x[r, c + 3] if c + 3 < columns else ZERO)  # fmt: skip
    return found


@helper
def put_along(tile, v, thread):
    at = tile + (u32(thread & 1) * u32(4 * PITCH) + u32(thread >> 1)) * u32(4)
    store_shared_f32(at, v[0])
    store_shared_f32(at + u32(4 * PITCH), v[1])
    store_shared_f32(at + u32(8 * PITCH), v[2])
    store_shared_f32(at + u32(12 * PITCH), v[3])


@helper
def put_across(tile, v, thread):
    store_shared_f32_4(tile + (u32(thread >> 5) * u32(PITCH) + u32(thread & 31) * u32(4)) * u32(4), v[0], v[1], v[2], v[3])


@helper
def clear(acc):
    for i in range(8):
        for j in range(8):
            acc[i, j] = ZERO


@helper
def multiply(acc, tile, thread):
    """acc += what lies in a slice of shared memory."""
    left = tile + u32(thread >> 4) * u32(16)
    right = tile + u32(DEPTH * PITCH * 4) + u32(thread & 15) * u32(16)
    for k in range(DEPTH):
        row = u32(k) * u32(4 * PITCH)
        x, y = load_shared_4(left + row), load_shared_4(left + row + u32(256))
        z, w = load_shared_4(right + row), load_shared_4(right + row + u32(256))
        for j in range(4):
            for i in range(4):
                acc[i, j] += x[i] * z[j]
                acc[i + 4, j] += y[i] * z[j]
                acc[i, j + 4] += x[i] * w[j]
                acc[i + 4, j + 4] += y[i] * w[j]


def large_tile(a_along, b_along):
    """sums(acc, thread, m0, n0, K, a, b): acc += the product's tile.  a_along, b_along: do the operand's rows run along K?"""
    fetch_a, fetch_b = fetch_along if a_along else fetch_across, fetch_along if b_along else fetch_across
    put_a, put_b = put_along if a_along else put_across, put_along if b_along else put_across

    @helper
    def sums(acc, thread, m0, n0, K, a, b):
        shared = cuda.shared.array(4224, f32, alignment=16)     # two slices
        base, wide_a, wide_b = shared_address(shared), whole_vectors(a), whole_vectors(b)
        x, y = fetch_a(a, wide_a, m0, 0, thread), fetch_b(b, wide_b, n0, 0, thread)
        tile = base
        for k in range(0, K, DEPTH):
            put_a(tile, x, thread)
            put_b(tile + u32(DEPTH * PITCH * 4), y, thread)
            cuda.syncthreads()
            x, y = fetch_a(a, wide_a, m0, k + DEPTH, thread), fetch_b(b, wide_b, n0, k + DEPTH, thread)
            multiply(acc, tile, thread)
            tile = base + u32(SLICE) - (tile - base)

    return sums


@helper
def write_four(out, m, n, a, b, c, d, add):
    """Four neighbours of a row, as far as they are in it."""
    M, N = out.shape
    if m < M and n < N:
        if whole_vectors(out):
            at = address_of(out) + u64(4) * u64(m * N + n)
            if add:
                old = load_4(at)
                a, b, c, d = a + old[0], b + old[1], c + old[2], d + old[3]
            store_4(at, a, b, c, d)
        else:
            out[m, n] = a + (out[m, n] if add else ZERO)
            if n + 1 < N:
                out[m, n + 1] = b + (out[m, n + 1] if add else ZERO)
            if n + 2 < N:
                out[m, n + 2] = c + (out[m, n + 2] if add else ZERO)
            if n + 3 < N:
                out[m, n + 3] = d + (out[m, n + 3] if add else ZERO)


@helper
def write_added(acc, thread, m0, n0, out, add):
    """The tile into out [M, N], or onto what is there."""
    m, n = m0 + (thread >> 4) * 4, n0 + (thread & 15) * 4
    for i in range(8):
        row = m + (i & 3) + 64 * (i >> 2)
        write_four(out, row, n, acc[i, 0], acc[i, 1], acc[i, 2], acc[i, 3], add)
        write_four(out, row, n + 64, acc[i, 4], acc[i, 5], acc[i, 6], acc[i, 7], add)


@helper
def write_activated(acc, thread, m0, n0, out, bias, activation, parameter):
    """f(tile + bias); an absent bias has length 0.  In a loop that is not spelt out: the functions are long."""
    M, N = out.shape
    write_added(acc, thread, m0, n0, out, False)
    cuda.syncthreads()
    for t in range(thread, SIDE * SIDE, 256):
        m, n = m0 + (t >> 7), n0 + (t & 127)
        if m < M and n < N:
            out[m, n] = activated(out[m, n] + (bias[n] if bias.shape[0] > 0 else ZERO), activation, parameter)
