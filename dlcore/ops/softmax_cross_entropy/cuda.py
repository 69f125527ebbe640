"""Softmax cross-entropy on a GPU: a warp for each row, a block for each long one.

Targets that are classes: a row is read once in forward, 16 bytes at a time, and its sum is multiplied whenever the greatest logit
so far grows (Milakov and Gimelshein, Online normalizer calculation for softmax, 2018)."""
import numpy as np

from dlcore.compiler.cuda.intrinsics import asm_op, cuda, f32, i64, u64, warp_max, warp_sum
from dlcore.compiler.cuda.language import kernel, lowered
from dlcore.compiler.cuda.rows import warp_row_maximum
from dlcore.compiler.cuda.vectors import address_of, load_4, power_of_2, store_4
from dlcore.compiler.language import call, helper
from dlcore.ops import softmax_cross_entropy  # noqa: F401  (declares)
from dlcore.ops.formulas import exp, log

ZERO, ONE, NAN, INF = np.float32(0), np.float32(1), np.float32(np.nan), np.float32(np.inf)
LOG2E = np.float32(1.44269504)
greater = asm_op("greater", "max.f32 $0, $1, $2;", "f", "ff", memory=False)  # of a NaN and a number the number
LONG = 1024  # logits of a row that a block computes

call("cross_entropy_forward_long(logits: F[N, C], targets: i32[N], smoothing: f32 -> loss: f32[N], top: f32[N], total: f32[N])",
     over="N", flops="5 * N * C")
call("cross_entropy_backward_long(dloss: f32[N], targets: i32[N], top: f32[N], total: f32[N], smoothing: f32 -> ~logits: F[N, C])",
     over="N", flops="5 * N * C")
lowered("cross_entropy_forward", "cross_entropy_forward_long(logits, targets, smoothing -> loss, top, total)",
        when=f"C >= {LONG}")
lowered("cross_entropy_backward", "cross_entropy_backward_long(dloss, targets, top, total, smoothing, logits -> logits)",
        when=f"C >= {LONG}")


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


@helper
def loss_of(row, t, smoothing, highest, exps, mass):
    C = row.shape[0]
    if t == -1:
        return ZERO
    if t < 0 or t >= C:
        return NAN
    value = log(exps) - (ONE - smoothing) * (row[t] - highest)
    if smoothing > ZERO:                                # not multiplied by 0: a masked logit is -inf
        value -= smoothing / f32(C) * (mass - f32(C) * highest)
    return value


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
        top[item], total[item], loss[item] = highest, exps, loss_of(row, t, smoothing, highest, exps, mass)


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


# ---- long rows: a block of 256 threads for each, 16 logits a thread at a time --------------------------------------
@helper
def exponential(d):
    """exp of what is not above 0, or nearly: its errors are smaller than those of its argument."""
    return power_of_2(d * LOG2E)


@helper
def hold(held, start, j, last):
    """4 times 4 logits from column j on, 1,024 apart; in the place of those behind `last`, the last four of a row, the first."""
    for u in range(4):
        four = load_4(start + u64(4) * u64(j + 1024 * u if j + 1024 * u <= last else j))
        held[u, 0], held[u, 1], held[u, 2], held[u, 3] = four[0], four[1], four[2], four[3]


@helper
def sixteen_counted(held, count, most, exps, mass):
    """(greatest logit, sum of exponentials, sum of logits) with the first `count` fours more."""
    top = most
    for u in range(4):
        for c in range(4):
            if u >= count:
                held[u, c] = -INF
            top = greater(top, held[u, c])
    shift, total = top if top > -INF else ZERO, ZERO
    for u in range(4):
        for c in range(4):
            total += exponential(held[u, c] - shift)
            mass += held[u, c] if u < count else ZERO
    return top, exps * exponential(most - shift) + total, mass


@helper
def joined(most, exps, mass):
    """The same of a warp, for every lane."""
    top = warp_max(most)
    shift = top if top > -INF else ZERO
    return top, warp_sum(exps * exponential(most - shift)), warp_sum(mass)


@kernel(blocks="N", block=256)
def cross_entropy_forward_long(item, thread, logits, targets, smoothing, loss, top, total):
    row, warps, held = logits[item], cuda.shared.array((3, 32), f32), cuda.local.array((4, 4), f32)
    C, head, start, lane = row.shape[0], head_of(row), address_of(row), thread & 31
    fours, most, exps, mass = (C - head) // 4, -INF, ZERO, ZERO
    last = head + 4 * (fours - 1)
    for j in range(head + 4 * thread, last + 1, 4096):
        hold(held, start, j, last)
        if j + 3072 <= last:
            most, exps, mass = sixteen_counted(held, 4, most, exps, mass)
        else:
            most, exps, mass = sixteen_counted(held, (last - j) // 1024 + 1, most, exps, mass)
    at = thread if thread < head else last + 4 + thread - head      # at most 3 before the fours, and 3 behind
    if at < C:
        most, exps = counted(row[at], most, exps)
        mass += row[at]
    most, exps, mass = joined(most, exps, mass)
    if lane == 0:
        warps[0, thread >> 5], warps[1, thread >> 5], warps[2, thread >> 5] = most, exps, mass
    cuda.syncthreads()
    if thread < 32:
        here = lane < 8
        most, exps, mass = joined(warps[0, lane] if here else -INF, warps[1, lane] if here else ZERO,
                                  warps[2, lane] if here else ZERO)  # fmt: skip
        if lane == 0:
            top[item], total[item], loss[item] = most, exps, loss_of(row, targets[item], smoothing, most, exps, mass)


@kernel(blocks="N", block=256)
def cross_entropy_backward_long(item, thread, dloss, targets, top, total, smoothing, logits):
    """What the target's own logit has less is taken from it in the end."""
    row, t, d, held = logits[item], i64(targets[item]), dloss[item], cuda.local.array((4, 4), f32)
    C, head, start = row.shape[0], head_of(row), address_of(row)
    rest, factor, highest = smoothing / f32(C), ONE / total[item], top[item]
    if t < 0 or t >= C:
        for j in range(thread, C, 256):
            row[j] = ZERO if t == -1 else NAN
    else:
        last = head + 4 * ((C - head) // 4 - 1)
        for j in range(head + 4 * thread, last + 1, 4096):
            hold(held, start, j, last)
            for u in range(4):
                for c in range(4):
                    held[u, c] = (exponential(held[u, c] - highest) * factor - rest) * d
                if j + 1024 * u <= last:
                    store_4(start + u64(4) * u64(j + 1024 * u), held[u, 0], held[u, 1], held[u, 2], held[u, 3])
        at = thread if thread < head else last + 4 + thread - head
        if at < C:
            row[at] = (exponential(row[at] - highest) * factor - rest) * d
        cuda.syncthreads()
        if thread == 0:
            row[t] -= (ONE - smoothing) * d
