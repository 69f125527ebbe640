import math

import numpy as np

from dlcore.compiler.language import kernel
from dlcore.optim import adagrad as _  # noqa: F401  (declares)
from dlcore.optim.formulas import taken


@kernel
def adagrad(gradient, status, factor, lr, rate, limit, l2, decay, initial, eps, weight, squares):
    if status[0] == 0:
        scale = factor[0] if factor.shape[0] > 0 else np.float32(1)
        pace = lr * rate
        kept = np.float32(1) - pace * decay
        for i in range(weight.shape[0]):
            g = taken(gradient[i], weight[i], scale, limit, l2)
            square = squares[i] + g * g
            squares[i] = square
            weight[i] = weight[i] * kept - pace * g / (math.sqrt(initial + square) + eps)


@kernel
def adagrad_rows(gradient, status, factor, lr, rate, limit, l2, decay, ids, count, initial, eps, weight, squares, begin):
    if status[0] == 0:
        scale = factor[0] if factor.shape[0] > 0 else np.float32(1)
        pace = lr * rate
        kept = np.float32(1) - pace * decay
        for n in range(gradient.shape[0]):
            if begin + n < count[0]:
                v = ids[n]
                for j in range(gradient.shape[1]):
                    g = taken(gradient[n, j], weight[v, j], scale, limit, l2)
                    square = squares[v, j] + g * g
                    squares[v, j] = square
                    weight[v, j] = weight[v, j] * kept - pace * g / (math.sqrt(initial + square) + eps)
