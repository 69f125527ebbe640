"""Adam, AdamW and AMSGrad by their rules, in float64.  `state` is a dict that is empty before step 1."""
import numpy as np


def adam(weight, gradient, state, lr, step, beta_1=0.9, beta_2=0.999, epsilon=1e-8, weight_decay=0.0, decoupled=False,
         amsgrad=False):
    """The weight after a step; shapes and dtypes of weight and gradient are equal."""
    g = gradient if decoupled else gradient + weight_decay * weight
    if decoupled:
        weight = weight * (1 - lr * weight_decay)
    m = state["m"] = beta_1 * state.get("m", 0.0) + (1 - beta_1) * g
    v = state["v"] = beta_2 * state.get("v", 0.0) + (1 - beta_2) * g * g
    if amsgrad:
        v = state["top"] = np.maximum(state.get("top", 0.0), v)
    return weight - lr / (1 - beta_1**step) * m / (np.sqrt(v / (1 - beta_2**step)) + epsilon)
