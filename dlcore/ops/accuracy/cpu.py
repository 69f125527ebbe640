"""Accuracy on the CPU."""
import numpy as np

from dlcore.compiler.language import kernel

ZERO, ONE, HALF = np.float32(0), np.float32(1), np.float32(0.5)


@kernel
def sparse_accuracy(scores, targets, out):
    N, C = scores.shape
    for i in range(N):
        best = 0
        for j in range(1, C):
            if scores[i, j] > scores[i, best]:
                best = j
        out[i] = ONE if best == targets[i] else ZERO


@kernel
def categorical_accuracy(scores, targets, out):
    N, C = scores.shape
    for i in range(N):
        best = wanted = 0
        for j in range(1, C):
            if scores[i, j] > scores[i, best]:
                best = j
            if targets[i, j] > targets[i, wanted]:
                wanted = j
        out[i] = ONE if best == wanted else ZERO


@kernel
def binary_accuracy(scores, targets, threshold, out):
    N, C = scores.shape
    for i in range(N):
        right = ZERO * threshold
        for j in range(C):
            right += ONE if (scores[i, j] > threshold) == (targets[i, j] > HALF) else ZERO
        out[i] = right / C
