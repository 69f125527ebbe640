"""Group normalisation by its definition, in float64."""
import numpy as np

from dlcore.ops.case import Case, random


def grouped(x, groups):
    return x.reshape(x.shape[0], -1, groups, x.shape[-1] // groups)


def normal(x, groups, eps):
    g = grouped(x, groups)
    rstd = 1 / np.sqrt(g.var((1, 3), keepdims=True) + eps)
    return ((g - g.mean((1, 3), keepdims=True)) * rstd).reshape(x.shape), rstd


def groupnorm(x, weight, bias, groups=32, eps=1e-5):
    return normal(x, groups, eps)[0] * weight + bias


def groupnorm_backward(dout, x, weight, bias, groups=32, eps=1e-5):
    (xhat, rstd), axes = normal(x, groups, eps), tuple(range(x.ndim - 1))
    g, h = grouped(dout * weight, groups), grouped(xhat, groups)
    dx = (g - g.mean((1, 3), keepdims=True) - h * (g * h).mean((1, 3), keepdims=True)) * rstd
    return {"x": dx.reshape(x.shape), "weight": (dout * xhat).sum(axes), "bias": dout.sum(axes)}


def case(id, *shape, shift=0.0, **options):
    inputs = {"x": (random(*shape) + shift).astype(np.float32).astype(np.float64), "weight": random(shape[-1], seed=1),
              "bias": random(shape[-1], seed=2)}
    one = "groups" not in options
    named = (lambda **o: groupnorm(**o, groups=shape[-1])) if one else groupnorm
    back = (lambda dout, **o: groupnorm_backward(dout, **o, groups=shape[-1])) if one else groupnorm_backward
    return Case("instancenorm" if one else "groupnorm", id, inputs, named, back, list(inputs), options)


CASES = [case("images", 3, 4, 5, 12, groups=3), case("one-group", 2, 7, 6, groups=1), case("wide", 2, 3, 3, 64, groups=4),
         case("far-from-zero", 2, 6, 6, 32, groups=4, shift=4.0), case("eps", 2, 3, 4, groups=2, eps=0.1),
         case("images", 3, 4, 5, 7), case("sequence", 2, 19, 16)]
