"""Pooling over steps on a GPU: 32 channels of a sequence for a block, whose warps share out the steps of a mean; else a thread for
each channel of a sequence, or for each element of a gradient."""
import numpy as np

from dlcore.compiler.cuda.intrinsics import cuda, f32, quotient
from dlcore.compiler.cuda.language import each, kernel
from dlcore.ops.sequence_pooling import cpu

ZERO, ONE = np.float32(0), np.float32(1)

each(cpu.sequence_max, over="B, C")
each(cpu.sequence_mean_backward, cpu.sequence_max_backward, over="B, C")


@kernel(blocks="B * ceil(C / 32)", block=512)
def sequence_mean(item, thread, x, mask, out):
    """A warp for every 16th step, four of them at a time."""
    T, C, lane, warp = x.shape[1], x.shape[2], thread & 31, thread >> 5
    held, steps, four = cuda.shared.array((16, 32), f32), cuda.shared.array(16, f32), cuda.local.array(4, f32)
    tiles, total, there = (C + 31) // 32, ZERO, ZERO
    b = quotient(item, tiles)
    j = 32 * (item - b * tiles) + lane
    for t in range(warp, T, 64):
        for u in range(4):
            four[u] = x[b, min(t + 16 * u, T - 1), min(j, C - 1)]
        for u in range(4):
            if t + 16 * u < T:
                m = mask[b, t + 16 * u] if mask.shape[0] > 0 else ONE
                total, there = total + (four[u] if m != ZERO else ZERO), there + m
    held[warp, lane] = total
    if lane == 0:
        steps[warp] = there
    cuda.syncthreads()
    if warp == 0 and j < C:
        total = there = ZERO
        for w in range(16):
            total, there = total + held[w, lane], there + steps[w]
        out[b, j] = total * (ONE / there if there > ZERO else ZERO)
