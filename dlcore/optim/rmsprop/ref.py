"""RMSProp by its rule, in float64.  `state` is a dict that is empty before step 1."""
import numpy as np


def rmsprop(weight, gradient, state, lr, step, rho=0.9, momentum=0.0, epsilon=1e-7, centered=False, weight_decay=0.0,
            decoupled=False):
    """The weight after a step; shapes and dtypes of weight and gradient are equal."""
    g = gradient if decoupled else gradient + weight_decay * weight
    if decoupled:
        weight = weight * (1 - lr * weight_decay)
    v = state["v"] = rho * state.get("v", 0.0) + (1 - rho) * g * g
    if centered:
        mean = state["mean"] = rho * state.get("mean", 0.0) + (1 - rho) * g
        v = np.maximum(v - mean * mean, 0)
    moved = g / (np.sqrt(v) + epsilon)
    if momentum:
        moved = state["velocity"] = momentum * state.get("velocity", 0.0) + moved
    return weight - lr * moved
