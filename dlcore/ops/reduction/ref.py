"""Sums and maxima by their definitions, in float64."""
import numpy as np

from dlcore.ops.case import Case, random


def total(x, axis=None):
    return x.sum(axis).reshape(x.sum(axis).shape or (1,))


def total_backward(dout, x, axis=None):
    return {"x": np.broadcast_to(dout if axis is None else np.expand_dims(dout.reshape(x.sum(axis).shape), axis), x.shape)}


def mean(x, axis=None):
    return total(x, axis) * (total(x, axis).size / x.size)


def mean_backward(dout, x, axis=None):
    return {"x": total_backward(dout, x, axis)["x"] * (dout.size / x.size)}


def greatest(x, axis=-1):
    return x.max(axis).reshape(x.max(axis).shape or (1,))


def greatest_backward(dout, x, axis=-1):
    rows = x.reshape(1, -1) if axis is None else x.reshape(-1, x.shape[-1])
    dx = np.zeros_like(rows)
    dx[np.arange(len(rows)), rows.argmax(-1)] = dout.reshape(-1)
    return {"x": dx.reshape(x.shape)}


SHAPES = ((1, 1), (7, 9), (61, 13), (513, 3), (70, 70), (3, 2001))
MIXED = [((67,), None), ((9001,), None), ((5, 3, 7), None), ((5, 3, 7), -1), ((5, 3, 7), 0), ((40, 130), 0), ((7, 9), 1),
         ((11,), -1)]


def name(shape, axis):
    return "x".join(map(str, shape)) + f"-axis-{axis}"


CASES = [
    *[Case("row_sum", f"{n}x{c}", {"x": random(n, c)}, lambda x: x.sum(1),
           lambda d, x: {"x": d[:, None] + 0 * x}, ("x",), twice=True, tolerance=4e-6) for n, c in SHAPES],
    *[Case("column_sum", f"{n}x{c}", {"x": random(n, c)}, lambda x: x.sum(0),
           lambda d, x: {"x": d + 0 * x}, ("x",), twice=True, tolerance=4e-6) for n, c in SHAPES],
    *[Case("spread_rows", f"{n}x{c}", {"x": random(n)}, lambda x, C: np.repeat(x[:, None], C, 1),
           lambda d, x, C: {"x": d.sum(1)}, ("x",), {"C": c}, twice=True) for n, c in SHAPES],
    *[Case("spread_columns", f"{n}x{c}", {"x": random(c)}, lambda x, N: np.repeat(x[None], N, 0),
           lambda d, x, N: {"x": d.sum(0)}, ("x",), {"N": n}, twice=True) for n, c in SHAPES],
    *[Case("spread", f"{n}", {"x": random(1)}, lambda x, shape: np.full(shape, x[0]),
           lambda d, x, shape: {"x": d.sum().reshape(1)}, ("x",), {"shape": (n, 3)}, twice=True,
           apply=lambda op, graph, inputs, options: op(inputs["x"], *options["shape"])) for n in (1, 700)],
    *[Case("sum", name(s, a), {"x": random(*s)}, total, total_backward, ("x",), {"axis": a}, twice=True, tolerance=4e-6)
      for s, a in MIXED],
    *[Case("mean", name(s, a), {"x": random(*s)}, mean, mean_backward, ("x",), {"axis": a}, twice=True) for s, a in MIXED],
    *[Case("max", name(s, a), {"x": random(*s)}, greatest, greatest_backward, ("x",), {"axis": a}, exact=True)
      for s, a in MIXED if a != 0],
    Case("max", "negative", {"x": -np.abs(random(7, 9))}, greatest, greatest_backward, ("x",)),
]
