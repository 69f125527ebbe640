import math

import numpy as np

from dlcore.compiler.language import helper, kernel
from dlcore.ops.formulas import moment
from dlcore.optim import nadam as _  # noqa: F401  (declares)
from dlcore.optim.formulas import taken

LOG_BASE = -0.040821994520255166        # log(0.96)


@helper
def momentum_at(step, beta1, momentum_decay):
    """mu(step)"""
    return beta1 * (np.float32(1) - np.float32(0.5) * math.exp(np.float32(step) * momentum_decay * np.float32(LOG_BASE)))


@kernel
def nadam_momentum(status, step, beta1, momentum_decay, rest, factors):
    """The factors of g and m; `rest`, 1 - product, goes on where the step is good."""
    now, after = momentum_at(step, beta1, momentum_decay), momentum_at(step + 1, beta1, momentum_decay)
    missing = (np.float32(1) - now) + now * rest[0]
    factors[0] = (np.float32(1) - now) / missing
    factors[1] = after / ((np.float32(1) - after) + after * missing)
    if status[0] == 0:
        rest[0] = missing


@kernel
def nadam(gradient, status, factor, lr, rate, limit, l2, decay, factors, step, rest1, rest2, eps, weight, m, v):
    if status[0] == 0:
        scale = factor[0] if factor.shape[0] > 0 else np.float32(1)
        pace, kept = lr * rate, np.float32(1) - lr * rate * decay
        ahead, behind = factors[0], factors[1]
        root = np.float32(1) / math.sqrt(-math.expm1(np.float32(step) * math.log1p(-rest2)))
        for i in range(weight.shape[0]):
            g = taken(gradient[i], weight[i], scale, limit, l2)
            first = moment(m[i], g, rest1)
            second = moment(v[i], g * g, rest2)
            m[i], v[i] = first, second
            weight[i] = weight[i] * kept - pace * (ahead * g + behind * first) / (math.sqrt(second) * root + eps)
