"""Adagrad by its rule, in float64.  `state` is a dict that is empty before step 1."""
import numpy as np


def adagrad(weight, gradient, state, lr, step, initial_accumulator_value=0.0, epsilon=1e-10, weight_decay=0.0,
            decoupled=False):
    """The weight after a step; shapes and dtypes of weight and gradient are equal."""
    g = gradient if decoupled else gradient + weight_decay * weight
    if decoupled:
        weight = weight * (1 - lr * weight_decay)
    squares = state["squares"] = state.get("squares", initial_accumulator_value) + g * g
    return weight - lr * g / (np.sqrt(squares) + epsilon)
