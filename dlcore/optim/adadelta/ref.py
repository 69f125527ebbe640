"""Adadelta by its rule, in float64.  `state` is a dict that is empty before step 1."""
import numpy as np


def adadelta(weight, gradient, state, lr, step, rho=0.9, epsilon=1e-6, weight_decay=0.0, decoupled=False):
    """The weight after a step; shapes and dtypes of weight and gradient are equal."""
    g = gradient if decoupled else gradient + weight_decay * weight
    if decoupled:
        weight = weight * (1 - lr * weight_decay)
    squares = state["squares"] = rho * state.get("squares", 0.0) + (1 - rho) * g * g
    delta = np.sqrt(state.get("deltas", 0.0) + epsilon) / np.sqrt(squares + epsilon) * g
    state["deltas"] = rho * state.get("deltas", 0.0) + (1 - rho) * delta * delta
    return weight - lr * delta
