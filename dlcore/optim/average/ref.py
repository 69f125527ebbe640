"""Averages of weights by their definition, in float64."""


def average(weight, average, step, momentum):
    """The average after a step, counted from 1."""
    return weight if step == 1 else momentum * average + (1 - momentum) * weight
