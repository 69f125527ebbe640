"""Binary cross-entropy on the CPU."""
import numpy as np

from dlcore.compiler.language import kernel
from dlcore.ops.formulas import sigmoid, softplus

ZERO, ONE, HALF = np.float32(0), np.float32(1), np.float32(0.5)


@kernel
def binary_cross_entropy_forward(logits, targets, smoothing, loss):
    N, C = logits.shape
    for i in range(N):
        total = ZERO * smoothing
        for j in range(C):
            z, t = logits[i, j], targets[i, j] * (ONE - smoothing) + HALF * smoothing
            total += softplus(z) - z * t
        loss[i] = total / C


@kernel
def binary_cross_entropy_backward(dloss, targets, smoothing, logits):
    N, C = logits.shape
    for i in range(N):
        d = dloss[i] / C
        for j in range(C):
            t = targets[i, j] * (ONE - smoothing) + HALF * smoothing
            logits[i, j] = (sigmoid(logits[i, j]) - t) * d
