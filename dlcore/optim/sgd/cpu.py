import numpy as np

from dlcore.compiler.language import kernel
from dlcore.optim import sgd as _  # noqa: F401  (declares)


@kernel
def sgd(gradient, status, factor, lr, weight_decay, weight):
    if status[0] == 0:
        scale = factor[0] if factor.shape[0] > 0 else np.float32(1)
        for i in range(weight.shape[0]):
            weight[i] -= lr * (gradient[i] * scale + weight_decay * weight[i])


@kernel
def sgd_momentum(gradient, status, factor, lr, weight_decay, momentum, nesterov, weight, velocity):
    if status[0] == 0:
        scale = factor[0] if factor.shape[0] > 0 else np.float32(1)
        # Both forms are lr * (ahead * g + behind * velocity)
        ahead = np.float32(1) if nesterov != 0 else np.float32(0)
        behind = momentum if nesterov != 0 else np.float32(1)
        for i in range(weight.shape[0]):
            g = gradient[i] * scale + weight_decay * weight[i]
            v = momentum * velocity[i] + g
            velocity[i] = v
            weight[i] -= lr * (ahead * g + behind * v)
