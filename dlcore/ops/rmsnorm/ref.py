"""Root mean square normalisation by its definition, in float64."""
import numpy as np

from dlcore.ops.case import Case, random


def rmsnorm(x, weight, eps=1e-6):
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + eps) * weight


def rmsnorm_backward(dout, x, weight, eps=1e-6):
    rstd = 1 / np.sqrt((x**2).mean(-1, keepdims=True) + eps)
    xhat, g = x * rstd, dout * weight
    dx = (g - xhat * (g * xhat).mean(-1, keepdims=True)) * rstd
    return {"x": dx, "weight": (dout * xhat).sum(tuple(range(x.ndim - 1)))}


def case(id, *shape, **options):
    return Case("rmsnorm", id, {"x": random(*shape), "weight": random(shape[-1], seed=1)}, rmsnorm, rmsnorm_backward,
                ["x", "weight"], options, gradient_tolerance=1e-5)


CASES = [case("odd", 37, 13), case("chunks", 515, 64), case("sequence", 3, 7, 48),
         case("eps", 9, 5, eps=0.3), case("one-row", 1, 19), case("wide-rows", 3, 1028)]
