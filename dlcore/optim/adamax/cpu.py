import math

import numpy as np

from dlcore.compiler.language import kernel
from dlcore.ops.formulas import moment
from dlcore.optim import adamax as _  # noqa: F401  (declares)
from dlcore.optim.formulas import taken


@kernel
def adamax(gradient, status, factor, lr, rate, limit, l2, decay, step, rest1, beta2, eps, weight, m, u):
    if status[0] == 0:
        scale = factor[0] if factor.shape[0] > 0 else np.float32(1)
        pace = -lr * rate / math.expm1(np.float32(step) * math.log1p(-rest1))
        kept = np.float32(1) - lr * rate * decay
        for i in range(weight.shape[0]):
            g = taken(gradient[i], weight[i], scale, limit, l2)
            first = moment(m[i], g, rest1)
            size, before = abs(g) + eps, beta2 * u[i]
            most = size if size > before else before
            m[i], u[i] = first, most
            weight[i] = weight[i] * kept - pace * first / most
