"""Activations by their definitions, in float64."""
import math

import numpy as np

from dlcore.ops.case import Case, random

erf = np.vectorize(math.erf, otypes=[float])


def sigmoid(x):
    return np.exp(-np.logaddexp(0, -x))


def cdf(x):
    return (1 + erf(x / np.sqrt(2))) / 2


def density(x):
    return np.exp(-x**2 / 2) / np.sqrt(2 * np.pi)


def gelu_tanh(x):
    return x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def gelu_tanh_derivative(x):
    t = np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))
    return (1 + t) / 2 + x / 2 * (1 - t**2) * np.sqrt(2 / np.pi) * (1 + 3 * 0.044715 * x**2)


def elu_derivative(x, alpha=1.0):
    return np.where(x < 0, alpha * np.exp(np.minimum(x, 0)), 1.0)


# name -> (function, derivative by x)
OF_X = {
    "relu": (lambda x: np.maximum(x, 0), lambda x: (x > 0) * 1.0),
    "leaky_relu": (lambda x, slope=0.01: np.where(x < 0, slope * x, x), lambda x, slope=0.01: np.where(x < 0, slope, 1.0)),
    "elu": (lambda x, alpha=1.0: np.where(x < 0, alpha * np.expm1(np.minimum(x, 0)), x), elu_derivative),
    "sigmoid": (sigmoid, lambda x: sigmoid(x) * sigmoid(-x)),
    "tanh": (lambda x: np.tanh(x), lambda x: 1 - np.tanh(x)**2),
    "gelu": (lambda x: x * cdf(x), lambda x: cdf(x) + x * density(x)),
    "gelu_tanh": (gelu_tanh, gelu_tanh_derivative),
    "silu": (lambda x: x * sigmoid(x), lambda x: sigmoid(x) * (1 + x * sigmoid(-x))),
    "softplus": (lambda x: np.logaddexp(0, x), sigmoid),
}
OPTIONS = {"leaky_relu": {"slope": 0.3}, "elu": {"alpha": 0.7}}

# gradient op -> (what it reads beside dout, factor of dout, derivative of that factor by what it reads)
GRADIENTS = {
    "relu_gradient": ("out", lambda out: (out > 0) * 1.0, lambda out: 0 * out),
    "leaky_relu_gradient": ("out", lambda out, slope=0.01: np.where(out > 0, 1.0, slope), lambda out, slope=0.01: 0 * out),
    "elu_gradient": ("out", lambda out, alpha=1.0: np.where(out < 0, out + alpha, 1.0),
                     lambda out, alpha=1.0: (out < 0) * 1.0),
    "sigmoid_gradient": ("out", lambda out: out * (1 - out), lambda out: 1 - 2 * out),
    "tanh_gradient": ("out", lambda out: 1 - out**2, lambda out: -2 * out),
    "gelu_gradient": ("x", OF_X["gelu"][1], lambda x: density(x) * (2 - x**2)),
    "gelu_tanh_gradient": ("x", gelu_tanh_derivative, None),
    "silu_gradient": ("x", OF_X["silu"][1],
                      lambda x: sigmoid(x) * sigmoid(-x) * (2 + x * (1 - 2 * sigmoid(x)))),
    "softplus_gradient": ("x", sigmoid, lambda x: sigmoid(x) * sigmoid(-x)),
}


def activation(name, id, x, twice=True, **options):
    function, derivative = OF_X[name]
    return Case(name, id, {"x": x}, function, lambda dout, x, **o: {"x": dout * derivative(x, **o)}, ("x",), options,
                twice=twice and name != "gelu_tanh")


def gradient(name, shape):
    read, factor, derivative = GRADIENTS[name]

    def reference(dout, **other):
        return dout * factor(**other)

    def backward(d, dout, **other):
        return {"dout": d * factor(**other), read: d * dout * derivative(**other)}
    by = ("dout", read) if name not in ("relu_gradient", "leaky_relu_gradient") else ("dout",)
    return Case(name, "x".join(map(str, shape)), {"dout": random(*shape, seed=1), read: random(*shape, seed=2, away=0.1)},
                reference, backward if derivative else None, by if derivative else ())


CASES = [
    *[activation(name, "x".join(map(str, shape)), random(*shape, scale=2, away=0.01))
      for name in OF_X for shape in ((1,), (67,), (5, 3, 7), (1001,))],
    *[activation(name, "options", random(7, 9, away=0.01), **options) for name, options in OPTIONS.items()],
    *[activation(name, "large", np.array([-1000., -104, -88, -87, -20, 20, 87, 88.5, 104, 1000]), twice=False)
      for name in OF_X],
    *[gradient(name, shape) for name in GRADIENTS for shape in ((1,), (67,), (7, 9))],
]
