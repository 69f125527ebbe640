"""Masks on a GPU: a thread for each id, a warp for each step."""
import numpy as np

from dlcore.compiler.cuda.intrinsics import i32, warp_sum
from dlcore.compiler.cuda.language import each, kernel
from dlcore.ops.mask import cpu

ZERO, ONE = np.float32(0), np.float32(1)

each(cpu.id_mask)


@kernel(warps="N")
def step_mask(item, lane, x, value, out, add_out):
    differ = i32(0)
    for j in range(lane, x.shape[1], 32):
        differ += i32(1) if x[item, j] != value else i32(0)
    differ = warp_sum(differ)
    if lane == 0:
        out[item] = (ONE if differ > 0 else ZERO) + (out[item] if add_out else ZERO)
