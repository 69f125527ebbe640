import math

import numpy as np

from dlcore.compiler.language import kernel
from dlcore.ops.formulas import adam_update, moment
from dlcore.optim import adam as _  # noqa: F401  (declares)
from dlcore.optim.formulas import taken


@kernel
def adam(gradient, status, factor, lr, rate, limit, l2, decay, step, rest1, rest2, eps, weight, m, v):
    """One pass; the corrections 1 - beta**step are by expm1 and log1p, which keep their digits in float32."""
    if status[0] == 0:
        scale = factor[0] if factor.shape[0] > 0 else np.float32(1)
        pace = -lr * rate / math.expm1(np.float32(step) * math.log1p(-rest1))
        root = np.float32(1) / math.sqrt(-math.expm1(np.float32(step) * math.log1p(-rest2)))
        kept = np.float32(1) - lr * rate * decay
        for i in range(weight.shape[0]):
            g = taken(gradient[i], weight[i], scale, limit, l2)
            first = moment(m[i], g, rest1)
            second = moment(v[i], g * g, rest2)
            m[i], v[i] = first, second
            weight[i] = adam_update(weight[i] * kept, first, second, pace, root, eps)


@kernel
def amsgrad(gradient, status, factor, lr, rate, limit, l2, decay, step, rest1, rest2, eps, weight, m, v, top):
    """The same with the greatest second moment so far in the place of the second moment."""
    if status[0] == 0:
        scale = factor[0] if factor.shape[0] > 0 else np.float32(1)
        pace = -lr * rate / math.expm1(np.float32(step) * math.log1p(-rest1))
        root = np.float32(1) / math.sqrt(-math.expm1(np.float32(step) * math.log1p(-rest2)))
        kept = np.float32(1) - lr * rate * decay
        for i in range(weight.shape[0]):
            g = taken(gradient[i], weight[i], scale, limit, l2)
            first = moment(m[i], g, rest1)
            second = moment(v[i], g * g, rest2)
            most = second if second > top[i] else top[i]
            m[i], v[i], top[i] = first, second, most
            weight[i] = adam_update(weight[i] * kept, first, most, pace, root, eps)
