"""Accuracy on a GPU: a warp for each row."""
import numpy as np

from dlcore.compiler.cuda.intrinsics import cuda, f32, i64, warp_sum
from dlcore.compiler.cuda.language import kernel
from dlcore.compiler.language import helper
from dlcore.ops import accuracy  # noqa: F401  (declares)

ZERO, ONE, HALF, INF = np.float32(0), np.float32(1), np.float32(0.5), np.float32(np.inf)


@helper
def first_greatest(x, i, lane):
    """Where the greatest stands first, as a walk from the left with > finds it: NaN behind the first column never wins, one in
    the first column stays."""
    C = x.shape[1]
    top, at = -INF, C
    for j in range(lane, C, 32):
        value = x[i, j]
        if value > top or (value == top and at == C):
            top, at = value, i64(j)
    for d in (16, 8, 4, 2, 1):
        other, place = cuda.shfl_xor_sync(0xFFFFFFFF, top, d), cuda.shfl_xor_sync(0xFFFFFFFF, at, d)
        if other > top or (other == top and place < at):
            top, at = other, place
    return i64(0) if x[i, 0] != x[i, 0] or at == C else at


@kernel(warps="N")
def sparse_accuracy(item, lane, scores, targets, out):
    best = first_greatest(scores, item, lane)
    if lane == 0:
        out[item] = ONE if best == targets[item] else ZERO


@kernel(warps="N")
def categorical_accuracy(item, lane, scores, targets, out):
    best, wanted = first_greatest(scores, item, lane), first_greatest(targets, item, lane)
    if lane == 0:
        out[item] = ONE if best == wanted else ZERO


@kernel(warps="N")
def binary_accuracy(item, lane, scores, targets, threshold, out):
    C, right = scores.shape[1], ZERO
    for j in range(lane, C, 32):
        right += ONE if (scores[item, j] > threshold) == (targets[item, j] > HALF) else ZERO
    right = warp_sum(right)
    if lane == 0:
        out[item] = right / f32(C)
