"""Softmax cross-entropy on the CPU: a row at a time, its numbers stay in the first-level cache."""
import numpy as np

from dlcore.compiler.language import kernel
from dlcore.ops.formulas import exp, log, row_maximum

ZERO, ONE, NAN = np.float32(0), np.float32(1), np.float32(np.nan)


@kernel
def cross_entropy_forward(logits, targets, smoothing, loss, top, total):
    N, C = logits.shape
    for i in range(N):
        highest = row_maximum(logits, i)
        exps = below = ZERO * smoothing
        for j in range(C):
            exps += exp(logits[i, j] - highest)
        top[i], total[i] = highest, exps
        t = targets[i]
        if t == -1:
            loss[i] = ZERO
        elif t < 0 or t >= C:
            loss[i] = NAN
        else:
            loss[i] = log(exps) - (ONE - smoothing) * (logits[i, t] - highest)
            if smoothing > ZERO:                    # not multiplied by 0: a masked logit is -inf
                for j in range(C):
                    below += logits[i, j] - highest
                loss[i] -= smoothing / C * below


@kernel
def cross_entropy_backward(dloss, targets, top, total, smoothing, logits):
    N, C = logits.shape
    for i in range(N):
        t = targets[i]
        if t == -1:
            for j in range(C):
                logits[i, j] = ZERO
        elif t < 0 or t >= C:
            for j in range(C):
                logits[i, j] = NAN
        else:
            d, rest = dloss[i], smoothing / C
            factor = ONE / total[i]
            for j in range(C):
                logits[i, j] = (exp(logits[i, j] - top[i]) * factor - rest) * d
            logits[i, t] -= (ONE - smoothing) * d


@kernel
def soft_cross_entropy_forward(logits, targets, smoothing, loss, top, total):
    N, C = logits.shape
    for i in range(N):
        highest = row_maximum(logits, i)
        exps = mass = below = ZERO * smoothing
        for j in range(C):
            exps += exp(logits[i, j] - highest)
        rest = smoothing / C
        for j in range(C):
            q = (ONE - smoothing) * targets[i, j] + rest
            mass += q
            below += ZERO if q == ZERO else q * (logits[i, j] - highest)
        top[i], total[i] = highest, exps
        loss[i] = mass * log(exps) - below


@kernel
def soft_cross_entropy_backward(dloss, targets, top, total, smoothing, logits):
    N, C = logits.shape
    for i in range(N):
        mass, rest = ZERO * smoothing, smoothing / C
        for j in range(C):
            mass += (ONE - smoothing) * targets[i, j] + rest
        d, factor = dloss[i], mass / total[i]
        for j in range(C):
            q = (ONE - smoothing) * targets[i, j] + rest
            logits[i, j] = (exp(logits[i, j] - top[i]) * factor - q) * d
