"""Copies on a GPU: a thread for each element of the result; a transpose by way of shared memory, so that reads and writes are
both side by side."""
import numpy as np

from dlcore.compiler.cuda.intrinsics import cuda, f32, i64, quotient
from dlcore.compiler.cuda.language import each, kernel
from dlcore.compiler.language import helper
from dlcore.ops.shape import cpu

ZERO, TILE = np.float32(0), 32

each(cpu.fill, cpu.accumulate)


@helper
def part(x, i, j, at, value):
    """x[i, j - at] where column j lies in x, which stands from column `at` on; else the value."""
    C = x.shape[1] if x.shape[0] > 0 else i64(0)
    return (x[i, j - at] if at <= j < at + C else value), at + C


@kernel(threads="N * T")
def concat(item, a, b, c, d, e, f, g, h, out, add_out):
    i = quotient(item, out.shape[1])
    j = item - i * out.shape[1]
    value, at = part(a, i, j, i64(0), ZERO)
    value, at = part(b, i, j, at, value)
    value, at = part(c, i, j, at, value)
    value, at = part(d, i, j, at, value)
    value, at = part(e, i, j, at, value)
    value, at = part(f, i, j, at, value)
    value, at = part(g, i, j, at, value)
    value, at = part(h, i, j, at, value)
    out[i, j] = value + (out[i, j] if add_out else ZERO)


@kernel(threads="N * D")
def slice_columns(item, x, start, out, add_out):
    i = quotient(item, out.shape[1])
    j = item - i * out.shape[1]
    out[i, j] = x[i, start + j] + (out[i, j] if add_out else ZERO)


@kernel(threads="N * D")
def pad_columns(item, x, start, out, add_out):
    i = quotient(item, out.shape[1])
    j = item - i * out.shape[1]
    value = x[i, j - start] if start <= j < start + x.shape[1] else ZERO
    out[i, j] = value + (out[i, j] if add_out else ZERO)


@kernel(blocks="ceil(M / 32) * ceil(N / 32)")
def transpose(item, thread, x, out, add_out):
    """Tiles of 32 by 32, eight rows at a time; one column more in shared memory, so that no bank is met twice."""
    tile = cuda.shared.array((32, 33), f32)
    M, N = x.shape
    columns = (N + TILE - 1) // TILE
    m0, n0, row, column = item // columns * TILE, item % columns * TILE, thread // TILE, thread % TILE
    for r in range(row, TILE, 8):
        if m0 + r < M and n0 + column < N:
            tile[r, column] = x[m0 + r, n0 + column]
    cuda.syncthreads()
    for r in range(row, TILE, 8):
        if n0 + r < N and m0 + column < M:
            out[n0 + r, m0 + column] = tile[column, r] + (out[n0 + r, m0 + column] if add_out else ZERO)
