"""Penalties by their definition, in float64."""
import numpy as np

from dlcore.ops.case import Case, random


def penalty(x, l1=0.0, l2=0.0):
    return np.array([l1 * np.abs(x).sum() + l2 * (x**2).sum()])


def penalty_backward(dout, x, l1=0.0, l2=0.0):
    return {"x": (l1 * np.sign(x) + 2 * l2 * x) * dout[0]}


CASES = [Case("penalty", id, {"x": random(*shape, away=0.05)}, penalty, penalty_backward, ["x"], options=options)
         for id, shape, options in (("l2", (61,), {"l2": 0.01}), ("l1", (7, 13), {"l1": 0.02}),
                                    ("both", (33, 65), {"l1": 0.01, "l2": 0.5}), ("long", (70001,), {"l1": 1e-4, "l2": 1e-4}),
                                    ("one", (1,), {"l1": 1.0, "l2": 1.0}))]
