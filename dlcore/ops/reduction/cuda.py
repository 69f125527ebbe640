"""Sums on a GPU: a warp for a row, a thread for a column of a part, and the parts in order."""
import numpy as np

from dlcore.compiler.cuda.intrinsics import warp_sum
from dlcore.compiler.cuda.language import each, kernel, lowered_as_cpu
from dlcore.compiler.cuda.rows import warp_first_maximum
from dlcore.ops.reduction import cpu

ZERO = np.float32(0)

each(cpu.spread)
each(cpu.spread_rows, cpu.spread_columns, over="N, C")
each(cpu.column_parts, over="CHUNKS, C")
each(cpu.add_parts, cpu.column_sum_short, over="C")
lowered_as_cpu("column_sum", "sum")


@kernel(warps="N")
def row_sum(item, lane, x, out, add_out):
    total = ZERO
    for j in range(lane, x.shape[1], 32):
        total += x[item, j]
    total = warp_sum(total)
    if lane == 0:
        out[item] = total + (out[item] if add_out else ZERO)


@kernel(warps="CHUNKS")
def sum_parts(item, lane, x, parts):
    S, CHUNKS = x.shape[0], parts.shape[0]
    total = ZERO
    for i in range(item * S // CHUNKS + lane, (item + 1) * S // CHUNKS, 32):
        total += x[i]
    total = warp_sum(total)
    if lane == 0:
        parts[item, 0] = total


@kernel(warps="1")
def sum_short(item, lane, x, out, add_out):
    total = ZERO
    for i in range(lane, x.shape[0], 32):
        total += x[i]
    total = warp_sum(total)
    if lane == 0:
        out[0] = total + (out[0] if add_out else ZERO)


@kernel(warps="N")
def row_max(item, lane, x, out, index):
    """The greatest, and where it stands first; a NaN is greater than all."""
    _, at = warp_first_maximum(x, item, lane)
    if lane == 0:
        out[item], index[item] = x[item, at], at


@kernel(threads="N * C")
def row_max_backward(item, dout, index, dx, add_dx):
    i, j = item // dx.shape[1], item % dx.shape[1]
    dx[i, j] = (dout[i] if index[i] == j else ZERO) + (dx[i, j] if add_dx else ZERO)
