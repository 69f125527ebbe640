"""Checks and norms on a GPU: 1,024 warps for the parts of a sum, however long it is; the parts in one order."""
import math

import numpy as np

from dlcore.compiler.cuda.intrinsics import warp_sum
from dlcore.compiler.cuda.language import each, kernel, lowered
from dlcore.compiler.language import call
from dlcore.ops.check import cpu

ZERO, PARTS = np.float32(0), 1024

each(cpu.clip_factor, over="1")
call(f"square_sums(x: F[S] -> parts: F[{PARTS}])", over="S", flops="2 * S")
call(f"norm_of_sums(parts: F[{PARTS}] -> out: F[1])", over="1", flops=f"{PARTS}")
lowered("norm", "square_sums(x -> parts)", "norm_of_sums(parts -> out)")


@kernel(threads="S")
def check_finite(item, x, status):
    """All threads that write write the same."""
    if not x[item] * ZERO == ZERO:
        status[0] = 1


@kernel(warps="1024")
def square_sums(item, lane, x, parts):
    """Part `item` of 1,024."""
    S, total = x.shape[0], ZERO
    for i in range(item * S // PARTS + lane, (item + 1) * S // PARTS, 32):
        total += x[i] * x[i]
    total = warp_sum(total)
    if lane == 0:
        parts[item] = total


@kernel(warps="1")
def norm_of_sums(item, lane, parts, out):
    total = ZERO
    for p in range(lane, PARTS, 32):
        total += parts[p]
    total = warp_sum(total)
    if lane == 0:
        out[0] = math.sqrt(total)
