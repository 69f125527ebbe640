"""Checks and norms on a GPU: a warp for each part, the parts in order."""
import numpy as np

from dlcore.compiler.cuda.intrinsics import warp_sum
from dlcore.compiler.cuda.language import each, kernel, lowered_as_cpu
from dlcore.ops.check import cpu

ZERO = np.float32(0)

each(cpu.clip_factor, cpu.norm_of_parts, over="1")
lowered_as_cpu("norm")


@kernel(threads="S")
def check_finite(item, x, status):
    """All threads that write write the same."""
    if not x[item] * ZERO == ZERO:
        status[0] = 1


@kernel(warps="CHUNKS")
def square_parts(item, lane, x, parts):
    S, CHUNKS = x.shape[0], parts.shape[0]
    total = ZERO
    for i in range(item * S // CHUNKS + lane, (item + 1) * S // CHUNKS, 32):
        total += x[i] * x[i]
    total = warp_sum(total)
    if lane == 0:
        parts[item, 0] = total
