"""Arithmetic by its definition, in float64; NumPy's broadcasting says what is repeated."""
import numpy as np

from dlcore.ops.case import Case, random


def to_shape(d, x):
    """The gradient of an x that was repeated to d's shape."""
    if not isinstance(x, np.ndarray):
        return None
    while d.ndim > x.ndim:
        d = d.sum(0)
    for axis, n in enumerate(x.shape):
        if n == 1:
            d = d.sum(axis, keepdims=True)
    return d


def pair(dx, dy):
    """backward of (dout, x, y), for operands of which one may be a number."""
    def backward(dout, x, y):
        found = {"x": to_shape(dx(dout, x, y), x), "y": to_shape(dy(dout, x, y), y)}
        return {name: d for name, d in found.items() if d is not None}
    return backward


def half(condition, equal):
    return np.where(condition, 1.0, np.where(equal, 0.5, 0.0))


PAIRS = {
    "add": (lambda x, y: x + y, pair(lambda d, x, y: d, lambda d, x, y: d)),
    "sub": (lambda x, y: x - y, pair(lambda d, x, y: d, lambda d, x, y: -d)),
    "mul": (lambda x, y: x * y, pair(lambda d, x, y: d * y, lambda d, x, y: d * x)),
    "div": (lambda x, y: x / y, pair(lambda d, x, y: d / y, lambda d, x, y: -d * x / y**2)),
    "maximum": (lambda x, y: np.maximum(x, y),
                pair(lambda d, x, y: d * half(x > y, x == y), lambda d, x, y: d * half(y > x, x == y))),
    "minimum": (lambda x, y: np.minimum(x, y),
                pair(lambda d, x, y: d * half(x < y, x == y), lambda d, x, y: d * half(y < x, x == y))),
}


def apart(*shape, seed=1):
    """Away from 0 (a divisor), and from `random(..., away=0.2)` of another seed by chance only."""
    return random(*shape, seed=seed, away=0.4)


SHAPES = {
    "vector": ((67,), (67,)), "matrix": ((7, 9), (7, 9)), "large": ((33, 70), (33, 70)), "cube": ((2, 3, 5), (2, 3, 5)),
    "row": ((7, 9), (9,)), "row-of-cube": ((4, 3, 5), (3, 5)), "one-row": ((7, 9), (1, 9)), "row-first": ((9,), (7, 9)),
    "column": ((7, 9), (7, 1)), "column-of-cube": ((4, 3, 5), (4, 1, 1)), "column-first": ((7, 1), (7, 9)),
    "scalar": ((7, 9), (1,)), "scalar-first": ((1,), (7, 9)), "many-rows": ((513, 3), (3,)),
}


def pairs():
    for name, (reference, backward) in PAIRS.items():
        for id, (x, y) in SHAPES.items():
            yield Case(name, id, {"x": random(*x, seed=2), "y": apart(*y)}, reference, backward, ("x", "y"), twice=True)
        yield Case(name, "number", {"x": random(7, 9, seed=2)}, reference, backward, ("x",), {"y": 0.75}, twice=True)
        if name in ("add", "sub", "mul", "div"):
            yield Case(name, "number-first", {"y": apart(7, 9)}, reference, backward, ("y",), {"x": 0.75}, twice=True)


def positive(*shape):
    return np.abs(random(*shape, seed=5, away=0.3))


SINGLES = {
    "neg": (lambda x: -x, lambda d, x: -d, random),
    "square": (lambda x: x**2, lambda d, x: 2 * x * d, random),
    "sqrt": (lambda x: np.sqrt(x), lambda d, x: d / (2 * np.sqrt(x)), positive),
    "reciprocal": (lambda x: 1 / x, lambda d, x: -d / x**2, apart),
    "exp": (lambda x: np.exp(x), lambda d, x: d * np.exp(x), random),
    "log": (lambda x: np.log(x), lambda d, x: d / x, positive),
    "abs": (lambda x: np.abs(x), lambda d, x: d * np.sign(x), apart),
}


def single(name, id, x, reference, derivative, **options):
    return Case(name, id, {"x": x}, reference, lambda dout, x, **o: {"x": derivative(dout, x, **o)}, ("x",), options, twice=True)


def inside(x, low, high):
    return (x >= low) & (x <= high)


CASES = [
    *pairs(),
    *[single(name, "x".join(map(str, shape)), inputs(*shape), reference, derivative)
      for name, (reference, derivative, inputs) in SINGLES.items() for shape in ((1,), (67,), (5, 3, 7), (1001,))],
    single("scale", "number", random(7, 9), lambda x, factor: x * factor, lambda d, x, factor: d * factor, factor=-1.5),
    single("shift", "number", random(7, 9), lambda x, by: x + by, lambda d, x, by: d, by=-1.5),
    single("clip", "both", random(67, seed=3), lambda x, low, high: np.clip(x, low, high),
           lambda d, x, low, high: d * inside(x, low, high), low=-0.5, high=0.75),
    Case("abs_gradient", "signs", {"dout": random(9, seed=1), "x": np.array([-2., -1, 0, 0, 1, 2, 3, -3, 0.5])},
         lambda dout, x: dout * np.sign(x), lambda d, dout, x: {"dout": d * np.sign(x)}, ("dout",), exact=True),
    Case("maximum_gradient", "ties", {"dout": random(6, seed=1), "x": np.array([1., 2, 3, 3, -1, 0]),
                                      "y": np.array([2., 2, 2, 3, -1, 1])},
         lambda dout, x, y: dout * half(x > y, x == y), lambda d, dout, x, y: {"dout": d * half(x > y, x == y)}, ("dout",)),
    Case("clip_gradient", "ends", {"dout": random(5, seed=1), "x": np.array([-1., -0.5, 0, 0.5, 1])},
         lambda dout, x, low, high: dout * inside(x, low, high),
         lambda d, dout, x, low, high: {"dout": d * inside(x, low, high)}, ("dout",), {"low": -0.5, "high": 0.5}, exact=True),
]
