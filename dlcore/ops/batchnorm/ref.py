"""Batch normalisation by its definition, in float64."""
import numpy as np

from dlcore.ops.case import Case, random


def statistics(x):
    axes = tuple(range(x.ndim - 1))
    return x.mean(axes), x.var(axes)


def normal(x, weight, bias, mean, var, residual, eps, activation):
    out = (x - mean) / np.sqrt(var + eps) * weight + bias + (0 if residual is None else residual)
    return np.maximum(out, 0) if activation else out


def batchnorm(x, weight, bias, residual=None, eps=1e-5, activation=None):
    return normal(x, weight, bias, *statistics(x), residual, eps, activation)


def batchnorm_backward(dout, x, weight, bias, residual=None, eps=1e-5, activation=None):
    mean, var = statistics(x)
    found = inference_backward(dout, x, weight, bias, mean, var, residual, eps, activation)
    xhat, axes = (x - mean) / np.sqrt(var + eps), tuple(range(x.ndim - 1))
    d = dout * (batchnorm(x, weight, bias, residual, eps, activation) > 0) if activation else dout
    found["x"] = weight / np.sqrt(var + eps) * (d - d.mean(axes) - xhat * (d * xhat).mean(axes))
    return {n: g for n, g in found.items() if n not in ("mean", "var")}


def inference(x, weight, bias, mean, var, residual=None, eps=1e-5, activation=None):
    return normal(x, weight, bias, mean, var, residual, eps, activation)


def inference_backward(dout, x, weight, bias, mean, var, residual=None, eps=1e-5, activation=None):
    rstd, axes = 1 / np.sqrt(var + eps), tuple(range(x.ndim - 1))
    d = dout * (normal(x, weight, bias, mean, var, residual, eps, activation) > 0) if activation else dout
    dweight = (d * (x - mean) * rstd).sum(axes)
    found = {"x": d * weight * rstd, "weight": dweight, "bias": d.sum(axes), "mean": -d.sum(axes) * weight * rstd,
             "var": -0.5 * dweight * weight * rstd**2}
    return found if residual is None else found | {"residual": d}


def train(op, graph, inputs, options):
    from dlcore.ops import batch_statistics
    x, weight, bias, *residual = inputs.values()
    return op(x, weight, bias, *batch_statistics(x), *residual, **options)


def inputs_of(shape, residual, shift=0.0):
    C = shape[-1]
    found = {"x": (random(*shape) + shift).astype(np.float32).astype(np.float64), "weight": random(C, seed=1, away=0.2),
             "bias": random(C, seed=2)}
    return found | ({"residual": random(*shape, seed=3)} if residual else {})


def case(id, *shape, residual=False, shift=0.0, **options):
    inputs = inputs_of(shape, residual, shift)
    return Case("batchnorm", id, inputs, batchnorm, batchnorm_backward, list(inputs), options, apply=train, tolerance=4e-6)


def given(id, *shape, residual=False, **options):
    C = shape[-1]
    inputs = inputs_of(shape, False) | {"mean": random(C, seed=4), "var": np.round(np.abs(random(C, seed=5)) * 64) / 64 + 0.5}
    inputs |= {"residual": random(*shape, seed=3)} if residual else {}
    return Case("batchnorm_inference", id, inputs, inference, inference_backward, list(inputs), options, twice=True)


CASES = [
    case("odd", 61, 13), case("images", 3, 5, 7, 16), case("many-chunks", 517, 5), case("few-rows", 5, 3),
    case("eps", 19, 6, eps=0.1), case("far-from-zero", 70, 32, shift=4.0),
    case("many-rows", 1030, 68, activation="relu"), case("many-odd-rows", 1030, 5, shift=4.0),
    case("relu", 40, 21, activation="relu"), case("residual", 2, 4, 5, 6, residual=True),
    case("residual-relu", 2, 4, 5, 17, residual=True, activation="relu"),
    given("plain", 31, 7), given("images-relu", 2, 3, 4, 5, activation="relu"),
    given("residual", 2, 3, 4, 5, residual=True, activation="relu", eps=1e-3),
    *[Case("batch_statistics", id, {"x": inputs_of(shape, False, 3.0)["x"]}, statistics) for id, shape in
      (("odd", (61, 13)), ("images", (5, 9, 9, 3)), ("one-row", (1, 4)))],
    *[Case("moving_average", id, {"moving": random(9), "value": random(9, seed=1), "status": np.full(1, bad, np.int64)},
           lambda moving, value, status, momentum=0.99: moving if status[0] else momentum * moving + (1 - momentum) * value,
           options={"momentum": 0.9}) for id, bad in (("good", 0), ("bad", 1))],
]
