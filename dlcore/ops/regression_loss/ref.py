"""Losses of regression by their definitions, in float64."""
import numpy as np

from dlcore.ops.case import Case, random


def mean_squared_error(x, target):
    return ((x - target) ** 2).mean(-1)


def mean_squared_error_backward(dloss, x, target):
    d = 2 * (x - target) * dloss[..., None] / x.shape[-1]
    return {"x": d, "target": -d}


def mean_absolute_error(x, target):
    return np.abs(x - target).mean(-1)


def mean_absolute_error_backward(dloss, x, target):
    d = np.sign(x - target) * dloss[..., None] / x.shape[-1]
    return {"x": d, "target": -d}


def huber(x, target, delta=1.0):
    e = np.abs(x - target)
    return np.where(e <= delta, e**2 / 2, delta * e - delta**2 / 2).mean(-1)


def huber_backward(dloss, x, target, delta=1.0):
    d = np.clip(x - target, -delta, delta) * dloss[..., None] / x.shape[-1]
    return {"x": d, "target": -d}


SHAPES = {"one-column": (61, 1), "odd": (17, 13), "wide-rows": (3, 1001), "sequence": (3, 5, 7)}


def apart(x, distance=0.05, kink=None, seed=1):
    """Targets whose distance from x is off the kinks at 0 and at `kink`."""
    e = random(*x.shape, seed=seed, scale=1.5, away=distance)
    if kink is not None:
        near = np.abs(np.abs(e) - kink) < distance
        e = np.where(near, e * 0.5, e)
    return (x + e).astype(np.float32).astype(np.float64)


def cases(function, backward, kink=None, suffix="", **options):
    for id, shape in SHAPES.items():
        x = random(*shape)
        inputs = {"x": x, "target": apart(x, kink=kink)}
        yield Case(function.__name__, id + suffix, inputs, function, backward, ["x", "target"], options)


CASES = [
    *cases(mean_squared_error, mean_squared_error_backward),
    *cases(mean_absolute_error, mean_absolute_error_backward),
    *cases(huber, huber_backward, kink=1.0),
    *cases(huber, huber_backward, kink=0.3, suffix="-narrow", delta=0.3),
]
