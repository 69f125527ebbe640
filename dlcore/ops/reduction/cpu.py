"""Sums: within a row at once, over rows in parts that the shape fixes and that are added in order."""
import numpy as np

from dlcore.compiler.language import call, kernel, lowered
from dlcore.ops import reduction  # noqa: F401  (declares)
from dlcore.ops.formulas import row_maximum

call("column_parts(x: F[N, C] -> parts: F[CHUNKS, C])", over="N in CHUNKS", flops="N * C")
call("add_parts(parts: F[P, C] -> +out: F[C])", over="C", flops="P * C")
call("column_sum_short(x: F[N, C] -> +out: F[C])", over="C", flops="N * C")
call("sum_parts(x: F[S] -> parts: F[CHUNKS, 1])", over="S in CHUNKS", flops="S")
call("sum_short(x: F[S] -> +out: F[1])", over="1", flops="S")

lowered("column_sum", "column_sum_short(x -> out)", when="N < 32 or N * C < 4096")
lowered("column_sum", "column_parts(x -> parts)", "add_parts(parts -> out)")
lowered("sum", "sum_short(x -> out)", when="S < 4096")
lowered("sum", "sum_parts(x -> parts)", "add_parts(parts -> out)")


@kernel
def row_sum(x, out, add_out):
    for i in range(x.shape[0]):
        total = np.float32(0)
        for j in range(x.shape[1]):
            total += x[i, j]
        out[i] = total + (out[i] if add_out else np.float32(0))


@kernel
def spread_rows(x, out, add_out):
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[i, j] = x[i] + (out[i, j] if add_out else np.float32(0))


@kernel
def column_parts(x, parts):
    """Four rows at a time: a quarter of the traffic to `parts`."""
    N, C = x.shape
    for j in range(C):
        parts[j] = np.float32(0)
    for q in range(N // 4):
        for j in range(C):
            parts[j] += (x[4 * q, j] + x[4 * q + 1, j]) + (x[4 * q + 2, j] + x[4 * q + 3, j])
    for i in range(N // 4 * 4, N):
        for j in range(C):
            parts[j] += x[i, j]


@kernel
def add_parts(parts, out, begin, add_out):
    for j in range(out.shape[0]):
        out[j] = parts[0, begin + j] + (out[j] if add_out else np.float32(0))
    for p in range(1, parts.shape[0]):
        for j in range(out.shape[0]):
            out[j] += parts[p, begin + j]


@kernel
def column_sum_short(x, out, begin, add_out):
    """Few rows: each thread sums columns of its own."""
    for j in range(out.shape[0]):
        out[j] = x[0, begin + j] + (out[j] if add_out else np.float32(0))
    for i in range(1, x.shape[0]):
        for j in range(out.shape[0]):
            out[j] += x[i, begin + j]


@kernel
def spread_columns(x, out, add_out):
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[i, j] = x[j] + (out[i, j] if add_out else np.float32(0))


@kernel
def spread(x, out, add_out):
    for i in range(out.shape[0]):
        out[i] = x[0] + (out[i] if add_out else np.float32(0))


@kernel
def sum_parts(x, parts):
    total = np.float32(0)
    for i in range(x.shape[0]):
        total += x[i]
    parts[0] = total


@kernel
def sum_short(x, out, add_out):
    total = np.float32(0)
    for i in range(x.shape[0]):
        total += x[i]
    out[0] = total + (out[0] if add_out else np.float32(0))


@kernel
def row_max(x, out, index):
    """The greatest, and where it stands first; a NaN is greater than all."""
    for i in range(x.shape[0]):
        top, j = row_maximum(x, i), 0
        while j < x.shape[1] - 1 and x[i, j] != top and x[i, j] == x[i, j]:
            j += 1
        out[i] = x[i, j]
        index[i] = j


@kernel
def row_max_backward(dout, index, dx, add_dx):
    for i in range(dx.shape[0]):
        if not add_dx:
            for j in range(dx.shape[1]):
                dx[i, j] = np.float32(0)
        dx[i, index[i]] += dout[i]
