"""Softmax cross-entropy on a GPU: a warp for each row.

Targets that are classes: a row is read once in forward, 16 bytes at a time, and its sum is multiplied whenever the greatest logit
so far grows (Milakov and Gimelshein, Online normalizer calculation for softmax, 2018)."""
import numpy as np

from dlcore.compiler.cuda.intrinsics import f32, i64, u64, warp_max, warp_sum
from dlcore.compiler.cuda.language import kernel
from dlcore.compiler.cuda.rows import warp_row_maximum
from dlcore.compiler.cuda.vectors import address_of, load_4, store_4
from dlcore.compiler.language import helper
from dlcore.ops import softmax_cross_entropy  # noqa: F401  (declares)
from dlcore.ops.formulas import exp, log

ZERO, ONE, NAN, INF = np.float32(0), np.float32(1), np.float32(np.nan), np.float32(np.inf)


@helper
def head_of(row):
    """How many elements stand before the first multiple of 16 bytes."""
    return min(i64((u64(0) - (address_of(row) >> u64(2))) & u64(3)), row.shape[0])


@helper
def counted(x, top, exps):
    """(top, sum of exp(x - top)) with one logit more."""
    most = x if x > top else top
    shift = most if most > -INF else ZERO
    return most, exps * exp(top - shift) + exp(x - shift)


@helper
def four_counted(x, top, exps):
    """The same with four more."""
    a, b = x[0] if x[0] > x[1] else x[1], x[2] if x[2] > x[3] else x[3]
    most = a if a > b else b
    most = most if most > top else top
    shift = most if most > -INF else ZERO
    return most, exps * exp(top - shift) + (exp(x[0] - shift) + exp(x[1] - shift) + exp(x[2] - shift) + exp(x[3] - shift))


@kernel(warps="N")
def cross_entropy_forward(item, lane, logits, targets, smoothing, loss, top, total):
    row, t = logits[item], targets[item]
    C, head, start = row.shape[0], head_of(row), address_of(row)
    most, exps, mass = -INF, ZERO, ZERO
    if lane < head:
        most, exps = counted(row[lane], most, exps)
        mass += row[lane]
    for j in range(head + 4 * lane, C - 3, 128):
        x = load_4(start + u64(4) * u64(j))
        most, exps = four_counted(x, most, exps)
        mass += (x[0] + x[1]) + (x[2] + x[3])
    rest = C - (C - head) % 4 + lane
    if rest < C:
        most, exps = counted(row[rest], most, exps)
        mass += row[rest]
    highest = warp_max(most)
    shift = highest if highest > -INF else ZERO
    exps = warp_sum(exps * exp(most - shift))
    if smoothing > ZERO:
        mass = warp_sum(mass)
    if lane == 0:
        top[item], total[item] = highest, exps
        if t == -1:
            loss[item] = ZERO
        elif t < 0 or t >= C:
            loss[item] = NAN
        else:
            value = log(exps) - (ONE - smoothing) * (row[t] - highest)
            if smoothing > ZERO:                        # not multiplied by 0: a masked logit is -inf
                value -= smoothing / f32(C) * (mass - f32(C) * highest)
            loss[item] = value


@helper
def gradient_of(x, j, t, d, highest, factor, rest, chosen):
    value = (exp(x - highest) * factor - rest) * d
    if j == t:
        value -= chosen
    return value


@kernel(warps="N")
def cross_entropy_backward(item, lane, dloss, targets, top, total, smoothing, logits):
    row, t, d = logits[item], i64(targets[item]), dloss[item]
    C, head, start = row.shape[0], head_of(row), address_of(row)
    rest, factor, highest, chosen = smoothing / f32(C), ONE / total[item], top[item], (ONE - smoothing) * d
    if t < -1 or t >= C:
        for j in range(lane, C, 32):
            row[j] = NAN
    elif t == -1:
        for j in range(lane, C, 32):
            row[j] = ZERO
    else:
        if lane < head:
            row[lane] = gradient_of(row[lane], lane, t, d, highest, factor, rest, chosen)
        for j in range(head + 4 * lane, C - 3, 128):
            at = start + u64(4) * u64(j)
            x = load_4(at)
            store_4(at, gradient_of(x[0], j, t, d, highest, factor, rest, chosen),
                    gradient_of(x[1], j + 1, t, d, highest, factor, rest, chosen),
                    gradient_of(x[2], j + 2, t, d, highest, factor, rest, chosen),
                    gradient_of(x[3], j + 3, t, d, highest, factor, rest, chosen))  # fmt: skip
        last = C - (C - head) % 4 + lane
        if last < C:
            row[last] = gradient_of(row[last], last, t, d, highest, factor, rest, chosen)


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
