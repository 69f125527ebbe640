"""Lion by its rule, in float64.  `state` is a dict that is empty before step 1."""
import numpy as np


def lion(weight, gradient, state, lr, step, beta_1=0.9, beta_2=0.99, weight_decay=0.0, decoupled=True):
    """The weight after a step; shapes and dtypes of weight and gradient are equal."""
    g = gradient if decoupled else gradient + weight_decay * weight
    if decoupled:
        weight = weight * (1 - lr * weight_decay)
    m = state.get("m", np.zeros_like(weight))
    state["m"] = beta_2 * m + (1 - beta_2) * g
    return weight - lr * np.sign(beta_1 * m + (1 - beta_1) * g)
