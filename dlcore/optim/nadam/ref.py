"""NAdam by its rule, in float64.  `state` is a dict that is empty before step 1."""
import numpy as np


def nadam(weight, gradient, state, lr, step, beta_1=0.9, beta_2=0.999, epsilon=1e-8, momentum_decay=0.004, weight_decay=0.0,
          decoupled=False):
    """The weight after a step; shapes and dtypes of weight and gradient are equal."""
    g = gradient if decoupled else gradient + weight_decay * weight
    if decoupled:
        weight = weight * (1 - lr * weight_decay)
    mu, after = (beta_1 * (1 - 0.5 * 0.96 ** (t * momentum_decay)) for t in (step, step + 1))
    product = state["product"] = state.get("product", 1.0) * mu
    m = state["m"] = beta_1 * state.get("m", 0.0) + (1 - beta_1) * g
    v = state["v"] = beta_2 * state.get("v", 0.0) + (1 - beta_2) * g * g
    root = np.sqrt(v / (1 - beta_2**step)) + epsilon
    return weight - lr * ((1 - mu) / (1 - product) * g + after / (1 - product * after) * m) / root
