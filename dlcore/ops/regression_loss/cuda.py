"""Losses of regression on a GPU: a warp for each row, a thread for each element of a gradient."""
import numpy as np

from dlcore.compiler.cuda.intrinsics import f32, quotient, warp_sum
from dlcore.compiler.cuda.language import kernel
from dlcore.ops import regression_loss  # noqa: F401  (declares)

ZERO, HALF, TWO = np.float32(0), np.float32(0.5), np.float32(2)


@kernel(warps="N")
def squared_error_forward(item, lane, x, target, loss):
    C, total = x.shape[1], ZERO
    for j in range(lane, C, 32):
        e = x[item, j] - target[item, j]
        total += e * e
    total = warp_sum(total)
    if lane == 0:
        loss[item] = total / f32(C)


@kernel(warps="N")
def absolute_error_forward(item, lane, x, target, loss):
    C, total = x.shape[1], ZERO
    for j in range(lane, C, 32):
        total += abs(x[item, j] - target[item, j])
    total = warp_sum(total)
    if lane == 0:
        loss[item] = total / f32(C)


@kernel(warps="N")
def huber_forward(item, lane, x, target, delta, loss):
    C, total = x.shape[1], ZERO
    for j in range(lane, C, 32):
        e = abs(x[item, j] - target[item, j])
        total += delta * (e - HALF * delta) if e > delta else HALF * e * e
    total = warp_sum(total)
    if lane == 0:
        loss[item] = total / f32(C)


@kernel(threads="N * C")
def squared_error_backward(item, dloss, x, target, dx, add_dx):
    C = x.shape[1]
    i = quotient(item, C)
    j = item - i * C
    dx[i, j] = (x[i, j] - target[i, j]) * (TWO * dloss[i] / f32(C)) + (dx[i, j] if add_dx else ZERO)


@kernel(threads="N * C")
def absolute_error_backward(item, dloss, x, target, dx, add_dx):
    C = x.shape[1]
    i = quotient(item, C)
    j = item - i * C
    d, e = dloss[i] / f32(C), x[i, j] - target[i, j]
    part = d if e > ZERO else (-d if e < ZERO else e * d)        # 0 at 0, NaN stays NaN
    dx[i, j] = part + (dx[i, j] if add_dx else ZERO)


@kernel(threads="N * C")
def huber_backward(item, dloss, x, target, delta, dx, add_dx):
    C = x.shape[1]
    i = quotient(item, C)
    j = item - i * C
    e = x[i, j] - target[i, j]
    slope = delta if e > delta else (-delta if e < -delta else e)
    dx[i, j] = slope * (dloss[i] / f32(C)) + (dx[i, j] if add_dx else ZERO)
