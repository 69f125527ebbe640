import math

import numpy as np

from dlcore.compiler.language import kernel
from dlcore.ops.formulas import moment
from dlcore.optim import adadelta as _  # noqa: F401  (declares)
from dlcore.optim.formulas import taken


@kernel
def adadelta(gradient, status, factor, lr, rate, limit, l2, decay, rest, eps, weight, squares, deltas):
    if status[0] == 0:
        scale = factor[0] if factor.shape[0] > 0 else np.float32(1)
        pace = lr * rate
        kept = np.float32(1) - pace * decay
        for i in range(weight.shape[0]):
            g = taken(gradient[i], weight[i], scale, limit, l2)
            square = moment(squares[i], g * g, rest)
            delta = math.sqrt(deltas[i] + eps) / math.sqrt(square + eps) * g
            squares[i], deltas[i] = square, moment(deltas[i], delta * delta, rest)
            weight[i] = weight[i] * kept - pace * delta
