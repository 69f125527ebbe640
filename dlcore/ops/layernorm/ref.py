"""Layer normalisation by its definition, in float64."""
import numpy as np

from dlcore.ops.case import Case, random


def normalised(x, eps):
    mean = x.mean(-1, keepdims=True)
    rstd = 1 / np.sqrt(((x - mean) ** 2).mean(-1, keepdims=True) + eps)
    return (x - mean) * rstd, rstd


def layernorm(x, weight, bias, eps=1e-5):
    return normalised(x, eps)[0] * weight + bias


def layernorm_backward(dout, x, weight, bias, eps=1e-5):
    xhat, rstd = normalised(x, eps)
    g = dout * weight
    dx = (g - g.mean(-1, keepdims=True) - xhat * (g * xhat).mean(-1, keepdims=True)) * rstd
    rows = tuple(range(x.ndim - 1))
    return {"x": dx, "weight": (dout * xhat).sum(rows), "bias": dout.sum(rows)}


def case(id, *shape, shift=0.0, **options):
    x = (random(*shape) + shift).astype(np.float32).astype(np.float64)
    inputs = {"x": x, "weight": random(shape[-1], seed=1), "bias": random(shape[-1], seed=2)}
    return Case("layernorm", id, inputs, layernorm, layernorm_backward, ["x", "weight", "bias"], options)


CASES = [
    case("odd", 61, 13),
    case("one-row", 1, 9),
    case("many-chunks", 517, 5),
    case("wide-rows", 3, 1001),
    case("sequence", 3, 7, 16),
    case("eps", 9, 6, eps=0.1),
    case("far-from-zero", 9, 32, shift=4.0),
]
