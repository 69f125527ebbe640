import math

import numpy as np

from dlcore.compiler.language import formula, kernel
from dlcore.ops.formulas import moment
from dlcore.optim import rmsprop as _  # noqa: F401  (declares)
from dlcore.optim.formulas import taken


@formula
def deviation(second, first, eps):
    """sqrt(second - first**2) + eps; rounding may leave the difference below 0."""
    variance = second - first * first
    return math.sqrt(variance if variance > np.float32(0) else np.float32(0)) + eps


@kernel
def rmsprop(gradient, status, factor, lr, rate, limit, l2, decay, rest, eps, momentum, weight, v, mean, velocity):
    """A loop for each form, so that each is vector code that moves no more memory than it needs."""
    if status[0] == 0:
        scale = factor[0] if factor.shape[0] > 0 else np.float32(1)
        pace = lr * rate
        kept = np.float32(1) - pace * decay
        if mean.shape[0] == 0 and velocity.shape[0] == 0:
            for i in range(weight.shape[0]):
                g = taken(gradient[i], weight[i], scale, limit, l2)
                second = moment(v[i], g * g, rest)
                v[i] = second
                weight[i] = weight[i] * kept - pace * g / (math.sqrt(second) + eps)
        elif velocity.shape[0] == 0:
            for i in range(weight.shape[0]):
                g = taken(gradient[i], weight[i], scale, limit, l2)
                first, second = moment(mean[i], g, rest), moment(v[i], g * g, rest)
                mean[i], v[i] = first, second
                weight[i] = weight[i] * kept - pace * g / deviation(second, first, eps)
        elif mean.shape[0] == 0:
            for i in range(weight.shape[0]):
                g = taken(gradient[i], weight[i], scale, limit, l2)
                second = moment(v[i], g * g, rest)
                moved = momentum * velocity[i] + g / (math.sqrt(second) + eps)
                v[i], velocity[i] = second, moved
                weight[i] = weight[i] * kept - pace * moved
        else:
            for i in range(weight.shape[0]):
                g = taken(gradient[i], weight[i], scale, limit, l2)
                first, second = moment(mean[i], g, rest), moment(v[i], g * g, rest)
                moved = momentum * velocity[i] + g / deviation(second, first, eps)
                mean[i], v[i], velocity[i] = first, second, moved
                weight[i] = weight[i] * kept - pace * moved
