import numpy as np

from dlcore.compiler.language import kernel
from dlcore.optim import muon as _  # noqa: F401  (declares)
from dlcore.optim.formulas import taken


@kernel
def muon_direction(gradient, status, factor, limit, l2, weight, momentum, nesterov, m, direction):
    """m and u; after a bad step u is 0 and m stays."""
    if status[0] == 0:
        scale = factor[0] if factor.shape[0] > 0 else np.float32(1)
        rest = np.float32(1) - momentum
        ahead = rest if nesterov != 0 else np.float32(0)
        behind = momentum if nesterov != 0 else np.float32(1)
        for i in range(weight.shape[0]):
            g = taken(gradient[i], weight[i], scale, limit, l2)
            moved = momentum * m[i] + rest * g
            m[i] = moved
            direction[i] = ahead * g + behind * moved
    else:
        for i in range(direction.shape[0]):
            direction[i] = np.float32(0)


@kernel
def muon_normalise(x, norm, eps, out):
    factor = np.float32(1) / (norm[0] + eps)
    for i in range(x.shape[0]):
        out[i] = x[i] * factor


@kernel
def muon_polynomial(x, square, b, c, out):
    for i in range(x.shape[0]):
        out[i] = b * x[i] + c * square[i]


@kernel
def muon(direction, status, lr, rate, decay, size, weight):
    if status[0] == 0:
        pace = lr * rate
        kept, moved = np.float32(1) - pace * decay, pace * size
        for i in range(weight.shape[0]):
            weight[i] = weight[i] * kept - moved * direction[i]
