"""Sums on a GPU: a warp for a row; of columns each warp has every so manyth row; warps, then blocks, are added in order."""
import numpy as np

from dlcore.compiler.cuda.intrinsics import block_sum, cuda, f32, quotient, warp_sum
from dlcore.compiler.cuda.language import each, kernel, lowered, lowered_as_cpu
from dlcore.compiler.cuda.rows import first_column, in_fours, sum_of_rows, sum_of_warps, warp_first_maximum
from dlcore.compiler.cuda.vectors import address_of
from dlcore.compiler.language import call, helper
from dlcore.ops.reduction import cpu

ZERO, PARTS = np.float32(0), 64
LONG = 32768  # columns: threads enough without several for one

call(f"column_blocks(x: F[N, C] -> parts: F[{PARTS}, C])", over="N", flops="N * C")
each(cpu.spread)
each(cpu.spread_rows, cpu.spread_columns, over="N, C")
call("sum_long_rows(x: F[N, C] -> +out: F[C])", over="C", flops="N * C")
lowered("add_parts", "sum_long_rows(parts -> out)", when=f"C >= {LONG}")
lowered("column_sum", "sum_long_rows(x -> out)", when=f"N <= 1024 and C >= {LONG}")
lowered("column_sum", "column_sum_short(x -> out)", when="N <= 1024")
lowered("column_sum", "column_blocks(x -> parts)", "add_parts(parts -> out)")
lowered_as_cpu("sum")


@helper
def sum_of_part(item, thread, x, parts, held, fours):
    N, C = x.shape
    tiles, lane, warp = (C + 127) // 128, thread & 31, thread >> 5
    part = quotient(item, tiles)
    tile = item - part * tiles
    sums = sum_of_rows(x, part * N // PARTS + warp, (part + 1) * N // PARTS, 8, first_column(tile, lane, fours), fours)
    total, column = sum_of_warps(held, thread, lane, warp, fours, sums), 128 * tile + thread
    if thread < 128 and column < C:
        parts[part, column] = total


@kernel(blocks=f"{PARTS} * ceil(C / 128)", block=256)
def column_blocks(item, thread, x, parts):
    """A 64th of the rows, 128 columns: a warp for every 8th row."""
    held = cuda.shared.array((8, 128), f32)
    if in_fours(x.shape[1], address_of(x)):
        sum_of_part(item, thread, x, parts, held, True)
    else:
        sum_of_part(item, thread, x, parts, held, False)


@helper
def sum_columns(item, thread, x, out, add):
    """32 columns of a block of 32 warps, each of which has every 32nd row, 4 of them at a time."""
    N, C = x.shape
    held, four = cuda.shared.array((32, 32), f32), cuda.local.array(4, f32)
    lane, warp, total = thread & 31, thread >> 5, ZERO
    j = 32 * item + lane
    if j < C:
        for i in range(warp, N, 128):
            for u in range(4):
                four[u] = x[min(i + 32 * u, N - 1), j]
            for u in range(4):
                total += four[u] if i + 32 * u < N else ZERO
    held[warp, lane] = total
    cuda.syncthreads()
    if warp == 0 and j < C:
        total = ZERO
        for w in range(32):
            total += held[w, lane]
        out[j] = total + (out[j] if add else ZERO)


@kernel(threads="C")
def sum_long_rows(item, x, out, add_out):
    N, total, eight = x.shape[0], ZERO, cuda.local.array(8, f32)
    for i in range(0, N, 8):
        for u in range(8):
            eight[u] = x[min(i + u, N - 1), item]
        for u in range(8):
            total += eight[u] if i + u < N else ZERO
    out[item] = total + (out[item] if add_out else ZERO)


@kernel(blocks="ceil(C / 32)", block=1024)
def column_sum_short(item, thread, x, out, add_out):
    sum_columns(item, thread, x, out, add_out)


@kernel(blocks="ceil(C / 32)", block=1024)
def add_parts(item, thread, parts, out, add_out):
    sum_columns(item, thread, parts, out, add_out)


@kernel(warps="N")
def row_sum(item, lane, x, out, add_out):
    total = ZERO
    for j in range(lane, x.shape[1], 32):
        total += x[item, j]
    total = warp_sum(total)
    if lane == 0:
        out[item] = total + (out[item] if add_out else ZERO)


@helper
def sum_of_block(x, begin, end, thread):
    """The sum of x[begin:end] by a block of 512 threads, each of which asks for 4 elements at a time."""
    total, four = ZERO, cuda.local.array(4, f32)
    for i in range(begin + thread, end, 2048):
        for u in range(4):
            four[u] = x[min(i + 512 * u, end - 1)]
        for u in range(4):
            total += four[u] if i + 512 * u < end else ZERO
    return block_sum(total, thread)


@kernel(blocks="CHUNKS", block=512)
def sum_parts(item, thread, x, parts):
    S, CHUNKS = x.shape[0], parts.shape[0]
    total = sum_of_block(x, item * S // CHUNKS, (item + 1) * S // CHUNKS, thread)
    if thread == 0:
        parts[item, 0] = total


@kernel(blocks="1", block=512)
def sum_short(item, thread, x, out, add_out):
    total = sum_of_block(x, item, x.shape[0], thread)
    if thread == 0:
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
