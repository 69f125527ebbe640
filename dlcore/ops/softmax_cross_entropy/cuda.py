"""Softmax cross-entropy on a GPU: a warp for each row."""
import numpy as np

from dlcore.compiler.cuda.intrinsics import f32, warp_sum
from dlcore.compiler.cuda.language import kernel
from dlcore.compiler.cuda.rows import warp_row_maximum
from dlcore.ops import softmax_cross_entropy  # noqa: F401  (declares)
from dlcore.ops.formulas import exp, log

ZERO, ONE, NAN = np.float32(0), np.float32(1), np.float32(np.nan)


@kernel(warps="N")
def cross_entropy_forward(item, lane, logits, targets, smoothing, loss, top, total):
    C, t = logits.shape[1], targets[item]
    highest = warp_row_maximum(logits, item, lane)
    exps = below = ZERO
    for j in range(lane, C, 32):
        exps += exp(logits[item, j] - highest)
        if smoothing > ZERO:                        # not multiplied by 0: a masked logit is -inf
            below += logits[item, j] - highest
    exps, below = warp_sum(exps), warp_sum(below)
    if lane == 0:
        top[item], total[item] = highest, exps
        if t == -1:
            loss[item] = ZERO
        elif t < 0 or t >= C:
            loss[item] = NAN
        else:
            value = log(exps) - (ONE - smoothing) * (logits[item, t] - highest)
            loss[item] = value - smoothing / f32(C) * below if smoothing > ZERO else value


@kernel(warps="N")
def cross_entropy_backward(item, lane, dloss, targets, top, total, smoothing, logits):
    C, t, d = logits.shape[1], targets[item], dloss[item]
    rest, factor, highest = smoothing / f32(C), ONE / total[item], top[item]
    for j in range(lane, C, 32):
        value = (exp(logits[item, j] - highest) * factor - rest) * d
        if j == t:
            value -= (ONE - smoothing) * d
        logits[item, j] = ZERO if t == -1 else (NAN if t < 0 or t >= C else value)


@kernel(warps="N")
def soft_cross_entropy_forward(item, lane, logits, targets, smoothing, loss, top, total):
    C = logits.shape[1]
    highest, rest = warp_row_maximum(logits, item, lane), smoothing / f32(C)
    exps = mass = below = ZERO
    for j in range(lane, C, 32):
        exps += exp(logits[item, j] - highest)
        q = (ONE - smoothing) * targets[item, j] + rest
        mass += q
        below += ZERO if q == ZERO else q * (logits[item, j] - highest)
    exps, mass, below = warp_sum(exps), warp_sum(mass), warp_sum(below)
    if lane == 0:
        top[item], total[item] = highest, exps
        loss[item] = mass * log(exps) - below


@kernel(warps="N")
def soft_cross_entropy_backward(item, lane, dloss, targets, top, total, smoothing, logits):
    C = logits.shape[1]
    mass, rest = ZERO, smoothing / f32(C)
    for j in range(lane, C, 32):
        mass += (ONE - smoothing) * targets[item, j] + rest
    d, factor, highest = dloss[item], warp_sum(mass) / total[item], top[item]
    for j in range(lane, C, 32):
        q = (ONE - smoothing) * targets[item, j] + rest
        logits[item, j] = (exp(logits[item, j] - highest) * factor - q) * d
