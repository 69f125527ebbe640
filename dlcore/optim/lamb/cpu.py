import math

import numpy as np

from dlcore.compiler.language import kernel
from dlcore.ops.formulas import moment
from dlcore.optim import lamb as _  # noqa: F401  (declares)
from dlcore.optim.formulas import taken


@kernel
def lamb_direction(gradient, status, factor, limit, l2, decay, weight, step, rest1, rest2, eps, m, v, direction):
    """m, v and r; after a bad step r is 0 and the others stay."""
    if status[0] == 0:
        scale = factor[0] if factor.shape[0] > 0 else np.float32(1)
        correction = np.float32(-1) / math.expm1(np.float32(step) * math.log1p(-rest1))
        root = np.float32(1) / math.sqrt(-math.expm1(np.float32(step) * math.log1p(-rest2)))
        for i in range(weight.shape[0]):
            g = taken(gradient[i], weight[i], scale, limit, l2)
            first, second = moment(m[i], g, rest1), moment(v[i], g * g, rest2)
            m[i], v[i] = first, second
            direction[i] = correction * first / (math.sqrt(second) * root + eps) + decay * weight[i]
    else:
        for i in range(direction.shape[0]):
            direction[i] = np.float32(0)


@kernel
def lamb(direction, direction_norm, weight_norm, status, lr, rate, weight):
    if status[0] == 0:
        both = direction_norm[0] > np.float32(0) and weight_norm[0] > np.float32(0)
        ratio = weight_norm[0] / direction_norm[0] if both else np.float32(1)
        pace = lr * rate * ratio
        for i in range(weight.shape[0]):
            weight[i] -= pace * direction[i]
