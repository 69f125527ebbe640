"""What recurrent kernels on a GPU share: a block walks ROWS sequences through all their steps.

A state lies in global memory, where the first-level cache keeps it; barriers of the block order its versions.  The weights of the
recurrence are read once for ROWS sequences.
"""

import numpy as np

from dlcore.compiler.cuda.intrinsics import cuda, f32, i64, warp_sum
from dlcore.compiler.cuda.places import part_of
from dlcore.compiler.language import helper

ROWS = 4
ZERO = np.float32(0)


@helper
def threads():
    """How many a block has."""
    return i64(cuda.blockDim.x)


@helper
def place(n, row, H):
    """(sequence, unit) of the n-th element of the block's states."""
    r = part_of(n, H)
    return row + r, n - r * H


@helper
def start(first, state, row, thread):
    """state = first, or zeros where `first` is absent, for the block's sequences."""
    B, H = state.shape
    for n in range(thread, ROWS * H, threads()):
        b, j = place(n, row, H)
        if b < B:
            state[b, j] = first[b, j] if first.shape[0] > 0 else ZERO
    cuda.syncthreads()


@helper
def is_there(mask, b, t):
    """Whether step t of sequence b is no padding."""
    return mask.shape[0] == 0 or mask[b, t] != ZERO


@helper
def times_column(products, state, row, u, column):
    """products[r] = state[row + r] times a column of u [H, N]."""
    B, H = state.shape
    for r in range(ROWS):
        products[r] = ZERO
    for k in range(H):
        w = u[k, column]
        for r in range(ROWS):
            if row + r < B:
                products[r] += state[row + r, k] * w


@helper
def add_turned(da, t, row, u, dstate, thread):
    """dstate[b] += da[b, t] u^T: a warp for each row of u [H, N], whose lanes read side by side."""
    B, H = dstate.shape
    N, warp, lane = u.shape[1], thread // 32, thread % 32
    sums = cuda.local.array(4, f32)
    for j in range(warp, H, threads() // 32):
        for r in range(ROWS):
            sums[r] = ZERO
        for k in range(lane, N, 32):
            w = u[j, k]
            for r in range(ROWS):
                if row + r < B:
                    sums[r] += da[row + r, t, k] * w
        for r in range(ROWS):
            total = warp_sum(sums[r])
            if lane == 0 and row + r < B:
                dstate[row + r, j] += total
    cuda.syncthreads()


@helper
def state_before(first, steps, b, before, at_start, j):
    """Element j of the state before a step: that after step `before`, or the first one."""
    if not at_start:
        return steps[b, before, j]
    return first[b, j] if first.shape[0] > 0 else ZERO


@helper
def arrived(dstate, dout, b, t, j):
    """The gradient of the state after step t."""
    return dstate[b, j] + (dout[b, t, j] if dout.shape[0] > 0 else ZERO)
