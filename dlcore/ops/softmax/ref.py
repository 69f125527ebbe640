"""Softmax by its definition, in float64."""
import numpy as np

from dlcore.ops.case import Case, random


def softmax(x):
    top = x.max(-1, keepdims=True)
    e = np.exp(x - np.where(np.isneginf(top), 0, top))
    total = e.sum(-1, keepdims=True)
    return e / np.where(total == 0, 1, total)


def softmax_backward(dout, x):
    out = softmax(x)
    return {"x": out * (dout - (dout * out).sum(-1, keepdims=True))}


def log_softmax(x):
    with np.errstate(divide="ignore"):
        top = x.max(-1, keepdims=True)
        shifted = x - np.where(np.isneginf(top), 0, top)
        total = np.exp(shifted).sum(-1, keepdims=True)
        return shifted - np.log(np.where(total == 0, 1, total))


def log_softmax_backward(dout, x):
    masked = np.isneginf(x).all(-1, keepdims=True)
    return {"x": np.where(masked, 0, dout - np.exp(log_softmax(x)) * dout.sum(-1, keepdims=True))}


def masked(x):
    """Some elements are -inf, and all of row 1."""
    x = x.copy()
    x[0, 1], x[1], x[2, :-1] = -np.inf, -np.inf, -np.inf
    return x


SHAPES = {"odd": random(61, 13), "one-column": random(5, 1), "one-row": random(1, 7), "sequence": random(3, 5, 11),
          "wide-rows": random(3, 1001, scale=3), "large": random(9, 6, scale=300), "vector": random(9)}
CASES = [
    *[Case("softmax", id, {"x": x}, softmax, softmax_backward, ("x",)) for id, x in SHAPES.items()],
    *[Case("log_softmax", id, {"x": x}, log_softmax, log_softmax_backward, ("x",)) for id, x in SHAPES.items()],
    Case("softmax", "masked", {"x": masked(random(5, 9))}, softmax),
    Case("log_softmax", "masked", {"x": masked(random(5, 9))}, log_softmax),
]
