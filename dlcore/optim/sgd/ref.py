"""SGD by its rule, in float64.  `state` is a dict that is empty before step 1."""


def sgd(weight, gradient, state, lr, step, momentum=0.0, nesterov=False, weight_decay=0.0, decoupled=False):
    """The weight after a step; shapes and dtypes of weight and gradient are equal."""
    g = gradient if decoupled else gradient + weight_decay * weight
    if decoupled:
        weight = weight * (1 - lr * weight_decay)
    v = state["velocity"] = momentum * state.get("velocity", 0.0) + g
    return weight - lr * (g + momentum * v if nesterov else v)
