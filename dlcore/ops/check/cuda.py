"""Checks and norms on a GPU: 2,048 warps for the parts of a sum, however long it is; the parts in one order.

A warp has four loads of 16 bytes a lane under way, and the more warps the more of the memory's bandwidth; the parts are summed
by one block, whose threads have two each.
"""
import math

import numpy as np

from dlcore.compiler.cuda.intrinsics import block_sum, u64, warp_sum
from dlcore.compiler.cuda.language import each, kernel, lowered
from dlcore.compiler.cuda.vectors import address_of, load_4
from dlcore.compiler.language import call, helper
from dlcore.ops.check import cpu

ZERO, PARTS = np.float32(0), 2048

each(cpu.clip_factor, over="1")
call(f"square_sums(x: F[S] -> parts: F[{PARTS}])", over="S", flops="2 * S")
call(f"norm_of_sums(parts: F[{PARTS}] -> out: F[1])", over="1", flops=f"{PARTS}")
lowered("norm", "square_sums(x -> parts)", "norm_of_sums(parts -> out)")


@kernel(threads="S")
def check_finite(item, x, status):
    """All threads that write write the same."""
    if not x[item] * ZERO == ZERO:
        status[0] = 1


@helper
def squares_at(at, i, end):
    """The sum of squares of the i-th four, 0 from `end` on."""
    x = (ZERO, ZERO, ZERO, ZERO)
    if i < end:
        x = load_4(at + u64(16) * u64(i))
    return x[0] * x[0] + x[1] * x[1] + (x[2] * x[2] + x[3] * x[3])


@kernel(warps=f"{PARTS}")
def square_sums(item, lane, x, parts):
    """Part `item` of the fours of x; the last part has what is left over, too."""
    S, at, total = x.shape[0], address_of(x), ZERO
    fours = S // 4
    begin, end = item * fours // PARTS, (item + 1) * fours // PARTS
    if at & u64(15) == u64(0):
        for i in range(begin + lane, end, 128):
            a, b = squares_at(at, i, end), squares_at(at, i + 32, end)
            c, d = squares_at(at, i + 64, end), squares_at(at, i + 96, end)
            total += (a + b) + (c + d)
    else:
        for i in range(4 * begin + lane, 4 * end, 32):
            total += x[i] * x[i]
    if item == PARTS - 1 and lane < S - 4 * fours:
        total += x[4 * fours + lane] * x[4 * fours + lane]
    total = warp_sum(total)
    if lane == 0:
        parts[item] = total


@kernel(blocks="1", block=PARTS // 2)
def norm_of_sums(item, thread, parts, out):
    total = block_sum(parts[thread] + parts[thread + PARTS // 2], thread)
    if thread == 0:
        out[0] = math.sqrt(total)
