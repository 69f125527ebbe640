"""Adam on a GPU: a thread for each weight, with the update of cpu.py, without its prefetches."""
import math

import numpy as np

from dlcore.compiler.cuda.language import each, kernel
from dlcore.ops.formulas import adam_update, moment
from dlcore.optim.adam import cpu
from dlcore.optim.formulas import taken

each(cpu.amsgrad)
each(cpu.adam_rows, over="N, D")


@kernel(threads="S")
def adam(item, gradient, status, factor, lr, rate, limit, l2, decay, step, rest1, rest2, eps, weight, m, v):
    if status[0] == 0:
        scale = factor[0] if factor.shape[0] > 0 else np.float32(1)
        pace = -lr * rate / math.expm1(np.float32(step) * math.log1p(-rest1))
        root = np.float32(1) / math.sqrt(-math.expm1(np.float32(step) * math.log1p(-rest2)))
        g = taken(gradient[item], weight[item], scale, limit, l2)
        first, second = moment(m[item], g, rest1), moment(v[item], g * g, rest2)
        m[item], v[item] = first, second
        weight[item] = adam_update(weight[item] * (np.float32(1) - lr * rate * decay), first, second, pace, root, eps)
