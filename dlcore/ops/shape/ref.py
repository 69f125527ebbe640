"""Naive copies in float64, and the cases to test."""
import numpy as np

from dlcore.ops.case import Case, random


def concat(axis=-1, **parts):
    return np.concatenate(list(parts.values()), axis)


def concat_backward(dout, axis=-1, **parts):
    ends = np.cumsum([p.shape[axis] for p in parts.values()])[:-1]
    return dict(zip(parts, np.split(dout, ends, axis), strict=True))


def slice_axis(x, start, stop, axis=-1):
    return np.take(x, range(*slice(start, stop).indices(x.shape[axis])), axis)


def slice_axis_backward(dout, x, start, stop, axis=-1):
    dx = np.zeros_like(x)
    np.moveaxis(dx, axis, 0)[start:stop] = np.moveaxis(dout, axis, 0)
    return {"x": dx}


def pad_axis(x, start, size, axis=-1):
    out = np.zeros((*np.moveaxis(x, axis, -1).shape[:-1], size))
    out[..., start:start + x.shape[axis]] = np.moveaxis(x, axis, -1)
    return np.moveaxis(out, -1, axis)


def pad_axis_backward(dout, x, start, size, axis=-1):
    return {"x": np.take(dout, range(start, start + x.shape[axis]), axis)}


def parts(*widths, rows=5):
    return {f"part{k}": random(rows, w, seed=k) for k, w in enumerate(widths)}


def joined(id, inputs, axis=-1):
    return Case("concat", id, inputs, concat, concat_backward, tuple(inputs), dict(axis=axis), exact=True, twice=True,
                apply=lambda op, graph, inputs, options: op(list(inputs.values()), **options))


CASES = [
    Case("fill", "value", {}, lambda value, shape: np.full(shape, value), options=dict(value=0.75, shape=(3, 5)), exact=True,
         apply=lambda op, graph, inputs, options: op(options["value"], *options["shape"], graph=graph)),
    *[Case("accumulate", f"{n}", {"x": random(n)}, lambda x: x, lambda dout, x: {"x": dout}, ("x",), exact=True)
      for n in (1, 67, 1000)],
    joined("two", parts(3, 4)), joined("one", parts(7)), joined("eight", parts(1, 2, 3, 4, 5, 6, 7, 8)),
    joined("eleven", parts(3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5)), joined("rows", parts(64, 33, rows=33)),
    joined("first-axis", {"a": random(2, 5, seed=1), "b": random(3, 5, seed=2)}, 0),
    joined("middle-axis", {"a": random(2, 3, 5, seed=1), "b": random(2, 4, 5, seed=2)}, 1),
    *[Case("slice_axis", id, {"x": x}, slice_axis, slice_axis_backward, ("x",), dict(start=a, stop=b, axis=axis), exact=True,
           twice=True)
      for id, x, a, b, axis in (("last", random(7, 9), 2, 5, -1), ("whole", random(7, 9), 0, 9, -1),
                                ("middle", random(3, 6, 5), 1, 4, 1), ("first", random(6, 5), 2, 3, 0),
                                ("negative", random(3, 70), -67, -1, -1))],
    *[Case("pad_axis", id, {"x": x}, pad_axis, pad_axis_backward, ("x",), dict(start=a, size=n, axis=axis), exact=True,
           twice=True)
      for id, x, a, n, axis in (("last", random(7, 3), 2, 9, -1), ("middle", random(3, 2, 5), 1, 4, 1),
                                ("whole", random(5, 33), 0, 33, -1))],
    *[Case("transpose", f"{m}x{n}", {"x": random(m, n)}, lambda x: x.T, lambda dout, x: {"x": dout.T}, ("x",), exact=True,
           twice=True)
      for m, n in ((1, 1), (5, 7), (33, 17), (70, 64))],
]
