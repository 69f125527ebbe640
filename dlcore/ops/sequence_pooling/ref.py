"""Pooling over steps by its definition, in float64."""
import numpy as np

from dlcore.ops.case import Case, random


def kept(x, mask):
    return np.ones(x.shape[:2], bool) if mask is None else mask != 0


def sequence_mean(x, mask=None):
    out = np.zeros((x.shape[0], x.shape[2]))
    for b, steps in enumerate(kept(x, mask)):
        if steps.any():
            out[b] = x[b, steps].mean(0)
    return out


def sequence_mean_backward(dout, x, mask=None):
    dx = np.zeros_like(x)
    for b, steps in enumerate(kept(x, mask)):
        dx[b, steps] = dout[b] / max(1, steps.sum())
    return {"x": dx}


def sequence_max(x, mask=None):
    out = np.zeros((x.shape[0], x.shape[2]))
    for b, steps in enumerate(kept(x, mask)):
        if steps.any():
            out[b] = x[b, steps].max(0)
    return out


def sequence_max_backward(dout, x, mask=None):
    dx = np.zeros_like(x)
    for b, steps in enumerate(kept(x, mask)):
        for c in range(x.shape[2]):
            if steps.any():
                dx[b, np.flatnonzero(steps)[x[b, steps, c].argmax()], c] = dout[b, c]
    return {"x": dx}


MASK = (np.random.default_rng(2).random((4, 7)) < 0.6).astype(np.float64)
MASK[2] = 0                                                             # a sequence of padding alone
CASES = [Case(name, id, {"x": random(*shape), "mask": mask}, forward, backward, ["x"])
         for name, forward, backward in (("sequence_mean", sequence_mean, sequence_mean_backward),
                                         ("sequence_max", sequence_max, sequence_max_backward))
         for id, shape, mask in (("whole", (3, 5, 19), None), ("masked", (4, 7, 33), MASK), ("one-step", (2, 1, 1), None))]
