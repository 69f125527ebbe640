"""Muon by its rule, in float64.  `state` is a dict that is empty before step 1."""
import numpy as np

from dlcore.optim.adam.ref import adam

COEFFICIENTS = 3.4445, -4.7750, 2.0315


def orthogonal(x, steps):
    """Newton-Schulz iteration on a matrix of norm 1, with the left Gram matrix whatever its shape."""
    a, b, c = COEFFICIENTS
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x


def muon(weight, gradient, state, lr, step, momentum=0.95, nesterov=True, ns_steps=5, rms_rate=0.2, weight_decay=0.1,
         epsilon=1e-7, decoupled=True):
    """The weight, one layer's, after a step; shapes and dtypes of weight and gradient are equal."""
    if weight.ndim < 2:
        return adam(weight, gradient, state, lr, step, weight_decay=weight_decay, decoupled=decoupled)
    g = gradient if decoupled else gradient + weight_decay * weight
    m = state["m"] = momentum * state.get("m", 0.0) + (1 - momentum) * g
    u = (1 - momentum) * g + momentum * m if nesterov else m
    x = u.reshape(-1, u.shape[-1])
    x = orthogonal(x / (np.linalg.norm(x) + epsilon), ns_steps)
    if decoupled:
        weight = weight * (1 - lr * weight_decay)
    return weight - lr * rms_rate * np.sqrt(max(x.shape)) * x.reshape(weight.shape)
