"""Pooling by its definition, in float64: a loop over the windows."""
from types import SimpleNamespace

import numpy as np

from dlcore.ops.case import Case, random
from dlcore.ops.pooling import Windows, adaptive_windows, windows_of


def windows(x, size=2, stride=None, padding="valid"):
    return windows_of(SimpleNamespace(shape=x.shape, ndim=4), size, stride, padding, "reference")


def adaptive(x, size):
    return adaptive_windows(SimpleNamespace(shape=x.shape, ndim=4), size, "reference")


def covered(w):
    """Each window: its place, and its rows and columns inside the image."""
    high, wide, sh, sw, top, left = w.numbers
    for p in range(w.out[0]):
        for q in range(w.out[1]):
            ends = []
            axes = (p, high, sh, top, w.image[0], w.out[0]), (q, wide, sw, left, w.image[1], w.out[1])
            for i, size, step, before, n, count in axes:
                ends.append(slice(max(i * step - before, 0), min(i * step - before + size, n)) if size else
                            slice(i * n // count, -(-(i + 1) * n // count)))
            yield p, q, ends[0], ends[1]


def maxima(x, w):
    out = np.zeros((x.shape[0], *w.out, x.shape[3]))
    index = np.zeros(out.shape, np.int32)
    for p, q, rows, columns in covered(w):
        seen = x[:, rows, columns].reshape(x.shape[0], -1, x.shape[3])
        out[:, p, q], at = seen.max(1), seen.argmax(1)
        wide = columns.stop - columns.start
        index[:, p, q] = (rows.start + at // wide) * w.image[1] + columns.start + at % wide
    return out, index


def scattered(dout, index, w):
    dx = np.zeros((dout.shape[0], w.image[0] * w.image[1], dout.shape[3]))
    for b, p, q, c in np.ndindex(dout.shape):
        dx[b, index[b, p, q, c], c] += dout[b, p, q, c]
    return dx.reshape(dout.shape[0], *w.image, -1)


def picked(x, index):
    flat = x.reshape(x.shape[0], -1, x.shape[3])
    return np.take_along_axis(flat, index.reshape(x.shape[0], -1, x.shape[3]).astype(np.int64), 1).reshape(index.shape)


def mean(x, w, whole=False):
    out = np.zeros((x.shape[0], *w.out, x.shape[3]))
    for p, q, rows, columns in covered(w):
        seen = x[:, rows, columns]
        out[:, p, q] = seen.sum((1, 2)) / (w.numbers[0] * w.numbers[1] if whole else seen.shape[1] * seen.shape[2])
    return out


def spread(dout, w, whole=False):
    dx = np.zeros((dout.shape[0], *w.image, dout.shape[3]))
    for p, q, rows, columns in covered(w):
        count = (rows.stop - rows.start) * (columns.stop - columns.start)
        dx[:, rows, columns] += dout[:, p:p + 1, q:q + 1] / (w.numbers[0] * w.numbers[1] if whole else count)
    return dx


def different(*shape):
    """Numbers that are all different, and far enough apart for differences."""
    n = int(np.prod(shape))
    return (np.random.default_rng(4).permutation(n).reshape(shape) - n / 2) / 64


def pool(op, id, shape, make=windows, **options):
    whole = {"whole": options.pop("whole")} if "whole" in options else {}
    x = different(*shape)
    w = make(x, **options)
    if id == "values":
        return Case(op, id, {"x": x}, lambda x, **o: maxima(x, w)[0], options=options | {"differentiable": False})
    if "max" in op:
        return Case(op, id, {"x": x}, lambda x, **o: maxima(x, w)[0],
                    lambda dout, x, **o: {"x": scattered(dout, maxima(x, w)[1], w)}, ("x",), options, twice=True)
    return Case(op, id, {"x": x}, lambda x, **o: mean(x, w, **whole), lambda dout, x, **o: {"x": spread(dout, w, **whole)}, ("x",),
                options | whole, twice=True)


def known(op, id, inputs, w: Windows, reference, backward):
    return Case(op, id, inputs, reference, backward, [n for n in inputs if n != "index"], twice=True,
                apply=lambda op, graph, tensors, options: op(*tensors.values(), w))


def parts():
    for id, size, stride in (("tiling", 2, None), ("overlapping", 3, 2)):
        x = different(2, 6, 7, 5) if id == "overlapping" else different(2, 6, 8, 5)
        w = windows(x, size, stride)
        index, d = maxima(x, w)[1], random(2, *w.out, 5, seed=1)
        yield known("max_pool2d_scatter", id, {"dout": d, "index": index}, w, lambda dout, index, w=w: scattered(dout, index, w),
                    lambda dx, dout, index: {"dout": picked(dx, index)})
        yield known("max_pool2d_pick", id, {"x": x, "index": index}, w, picked,
                    lambda dout, x, index, w=w: {"x": scattered(dout, index, w)})
        yield known("average_pool2d_spread", id, {"dout": d}, w, lambda dout, w=w: spread(dout, w),
                    lambda dx, dout, w=w: {"dout": mean(dx, w)})
        yield known("average_pool2d_mean", id, {"x": x}, w, lambda x, w=w: mean(x, w), lambda dout, x, w=w: {"x": spread(dout, w)})


SHAPES = [("tiling", (2, 6, 8, 19), dict(size=2)), ("left-over", (1, 7, 5, 3), dict(size=2)),
          ("overlapping", (2, 7, 9, 4), dict(size=3, stride=2)), ("padded", (1, 7, 7, 3), dict(size=3, stride=2, padding=1)),
          ("same", (1, 5, 6, 3), dict(size=(3, 2), stride=2, padding="same")), ("gaps", (1, 8, 9, 2), dict(size=1, stride=3))]
GLOBAL = [("global", (3, 5, 6, 9), dict(size=1)), ("some", (2, 7, 9, 3), dict(size=(3, 4)))]
CASES = [pool("max_pool2d", "values", (2, 7, 9, 4), size=3, stride=2),
         pool("adaptive_max_pool2d", "values", (2, 7, 9, 4), adaptive, size=(3, 2)),
         *[pool("max_pool2d", id, shape, **dict(o)) for id, shape, o in SHAPES],
         *[pool("average_pool2d", id, shape, **dict(o)) for id, shape, o in SHAPES],
         pool("average_pool2d", "whole", (1, 7, 7, 3), size=3, stride=2, padding=1, whole=True),
         *[pool("adaptive_max_pool2d", id, shape, adaptive, **dict(o)) for id, shape, o in GLOBAL],
         *[pool("adaptive_average_pool2d", id, shape, adaptive, **dict(o)) for id, shape, o in GLOBAL], *parts()]
