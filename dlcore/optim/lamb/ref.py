"""LAMB by its rule, in float64.  `state` is a dict that is empty before step 1."""
import numpy as np


def lamb(weight, gradient, state, lr, step, beta_1=0.9, beta_2=0.999, epsilon=1e-6, weight_decay=0.0, decoupled=True):
    """The weight, one layer's, after a step; shapes and dtypes of weight and gradient are equal."""
    g = gradient if decoupled else gradient + weight_decay * weight
    m = state["m"] = beta_1 * state.get("m", 0.0) + (1 - beta_1) * g
    v = state["v"] = beta_2 * state.get("v", 0.0) + (1 - beta_2) * g * g
    r = m / (1 - beta_1**step) / (np.sqrt(v / (1 - beta_2**step)) + epsilon)
    if decoupled:
        r = r + weight_decay * weight
    long, wide = np.linalg.norm(weight), np.linalg.norm(r)
    return weight - lr * (long / wide if long > 0 and wide > 0 else 1.0) * r
