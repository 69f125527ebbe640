import numpy as np

from dlcore.compiler.language import kernel
from dlcore.ops.formulas import moment
from dlcore.optim import lion as _  # noqa: F401  (declares)
from dlcore.optim.formulas import sign, taken


@kernel
def lion(gradient, status, factor, lr, rate, limit, l2, decay, rest1, rest2, weight, m):
    if status[0] == 0:
        scale = factor[0] if factor.shape[0] > 0 else np.float32(1)
        pace = lr * rate
        kept = np.float32(1) - pace * decay
        for i in range(weight.shape[0]):
            g = taken(gradient[i], weight[i], scale, limit, l2)
            weight[i] = weight[i] * kept - pace * sign(moment(m[i], g, rest1))
            m[i] = moment(m[i], g, rest2)
