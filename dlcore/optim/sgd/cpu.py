import numpy as np

from dlcore.compiler.language import kernel
from dlcore.optim import sgd as _  # noqa: F401  (declares)
from dlcore.optim.formulas import taken


@kernel
def sgd(gradient, status, factor, lr, rate, limit, l2, decay, weight):
    if status[0] == 0:
        scale = factor[0] if factor.shape[0] > 0 else np.float32(1)
        pace = lr * rate
        kept = np.float32(1) - pace * decay
        for i in range(weight.shape[0]):
            weight[i] = weight[i] * kept - pace * taken(gradient[i], weight[i], scale, limit, l2)


@kernel
def sgd_momentum(gradient, status, factor, lr, rate, limit, l2, decay, momentum, nesterov, weight, velocity):
    if status[0] == 0:
        scale = factor[0] if factor.shape[0] > 0 else np.float32(1)
        pace = lr * rate
        kept = np.float32(1) - pace * decay
        # Both forms are lr * (ahead * g + behind * velocity)
        ahead = np.float32(1) if nesterov != 0 else np.float32(0)
        behind = momentum if nesterov != 0 else np.float32(1)
        for i in range(weight.shape[0]):
            g = taken(gradient[i], weight[i], scale, limit, l2)
            v = momentum * velocity[i] + g
            velocity[i] = v
            weight[i] = weight[i] * kept - pace * (ahead * g + behind * v)


@kernel
def sgd_rows(gradient, status, factor, lr, rate, limit, l2, decay, ids, count, weight, begin):
    if status[0] == 0:
        scale = factor[0] if factor.shape[0] > 0 else np.float32(1)
        pace = lr * rate
        kept = np.float32(1) - pace * decay
        for n in range(gradient.shape[0]):
            if begin + n < count[0]:
                v = ids[n]
                for j in range(gradient.shape[1]):
                    weight[v, j] = weight[v, j] * kept - pace * taken(gradient[n, j], weight[v, j], scale, limit, l2)
