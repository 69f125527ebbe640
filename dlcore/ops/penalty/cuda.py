"""Penalties on a GPU: a warp for each part, a thread for each element of the gradient."""
import numpy as np

from dlcore.compiler.cuda.intrinsics import warp_sum
from dlcore.compiler.cuda.language import each, kernel, lowered_as_cpu
from dlcore.ops.penalty import cpu

each(cpu.penalty_backward)
lowered_as_cpu("penalty")


@kernel(warps="CHUNKS")
def penalty_parts(item, lane, x, l1, l2, parts):
    S, CHUNKS = x.shape[0], parts.shape[0]
    absolute, squares = np.float32(0), np.float32(0)
    for i in range(item * S // CHUNKS + lane, (item + 1) * S // CHUNKS, 32):
        absolute += abs(x[i])
        squares += x[i] * x[i]
    absolute, squares = warp_sum(absolute), warp_sum(squares)
    if lane == 0:
        parts[item, 0] = l1 * absolute + l2 * squares
