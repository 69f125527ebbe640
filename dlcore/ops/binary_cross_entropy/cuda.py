"""Binary cross-entropy on a GPU: a warp for each row."""
import numpy as np

from dlcore.compiler.cuda.intrinsics import f32, quotient, warp_sum
from dlcore.compiler.cuda.language import kernel
from dlcore.ops import binary_cross_entropy  # noqa: F401  (declares)
from dlcore.ops.formulas import sigmoid, softplus

ZERO, ONE, HALF = np.float32(0), np.float32(1), np.float32(0.5)


@kernel(warps="N")
def binary_cross_entropy_forward(item, lane, logits, targets, smoothing, loss):
    C, total = logits.shape[1], ZERO
    for j in range(lane, C, 32):
        z, t = logits[item, j], targets[item, j] * (ONE - smoothing) + HALF * smoothing
        total += softplus(z) - z * t
    total = warp_sum(total)
    if lane == 0:
        loss[item] = total / f32(C)


@kernel(threads="N * C")
def binary_cross_entropy_backward(item, dloss, targets, smoothing, logits):
    C = logits.shape[1]
    i = quotient(item, C)
    j = item - i * C
    t = targets[i, j] * (ONE - smoothing) + HALF * smoothing
    logits[i, j] = (sigmoid(logits[i, j]) - t) * (dloss[i] / f32(C))
