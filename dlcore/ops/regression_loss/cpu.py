"""Losses of regression on the CPU."""
import numpy as np

from dlcore.compiler.language import kernel

ZERO, HALF, TWO = np.float32(0), np.float32(0.5), np.float32(2)


@kernel
def squared_error_forward(x, target, loss):
    N, C = x.shape
    for i in range(N):
        total = ZERO * x[i, 0]
        for j in range(C):
            e = x[i, j] - target[i, j]
            total += e * e
        loss[i] = total / C


@kernel
def squared_error_backward(dloss, x, target, dx, add_dx):
    N, C = x.shape
    for i in range(N):
        d = TWO * dloss[i] / C
        for j in range(C):
            dx[i, j] = (x[i, j] - target[i, j]) * d + (dx[i, j] if add_dx else ZERO)


@kernel
def absolute_error_forward(x, target, loss):
    N, C = x.shape
    for i in range(N):
        total = ZERO * x[i, 0]
        for j in range(C):
            total += abs(x[i, j] - target[i, j])
        loss[i] = total / C


@kernel
def absolute_error_backward(dloss, x, target, dx, add_dx):
    N, C = x.shape
    for i in range(N):
        d = dloss[i] / C
        for j in range(C):
            e = x[i, j] - target[i, j]
            part = d if e > ZERO else (-d if e < ZERO else e * d)        # 0 at 0, NaN stays NaN
            dx[i, j] = part + (dx[i, j] if add_dx else ZERO)


@kernel
def huber_forward(x, target, delta, loss):
    N, C = x.shape
    for i in range(N):
        total = ZERO * x[i, 0]
        for j in range(C):
            e = abs(x[i, j] - target[i, j])
            total += delta * (e - HALF * delta) if e > delta else HALF * e * e
        loss[i] = total / C


@kernel
def huber_backward(dloss, x, target, delta, dx, add_dx):
    N, C = x.shape
    for i in range(N):
        d = dloss[i] / C
        for j in range(C):
            e = x[i, j] - target[i, j]
            slope = delta if e > delta else (-delta if e < -delta else e)
            dx[i, j] = slope * d + (dx[i, j] if add_dx else ZERO)
