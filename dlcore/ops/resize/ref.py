"""Resizing as a matrix for each axis, in float64."""
import numpy as np

from dlcore.ops.case import Case, random


def matrix(count, n, bilinear):
    """[count, n]: what each output is made of."""
    made = np.zeros((count, n))
    for p in range(count):
        s = (p + 0.5) * n / count - 0.5
        if not bilinear:
            made[p, min(int(np.floor(s + 0.5)), n - 1)] = 1
            continue
        s = max(s, 0.0)
        i = int(np.floor(s))
        made[p, i] += 1 - (s - i)
        made[p, min(i + 1, n - 1)] += s - i
    return made


def resized(bilinear):
    def forward(x, height, width):
        return np.einsum("ph,qw,bhwc->bpqc", matrix(height, x.shape[1], bilinear), matrix(width, x.shape[2], bilinear), x)

    def transposed(dout, height, width):
        return np.einsum("ph,qw,bpqc->bhwc", matrix(dout.shape[1], height, bilinear), matrix(dout.shape[2], width, bilinear), dout)
    return forward, transposed


def cases(op, bilinear):
    forward, transposed = resized(bilinear)
    for id, shape, size in (("twice", (2, 3, 4, 5), (6, 8)), ("smaller", (1, 7, 9, 3), (3, 4)), ("odd", (1, 4, 5, 17), (7, 3)),
                            ("one", (1, 1, 3, 2), (4, 1))):
        options = {"height": size[0], "width": size[1]}
        yield Case(op, id, {"x": random(*shape)}, forward,
                   lambda dout, x, **o: {"x": transposed(dout, *x.shape[1:3])}, ("x",), options, twice=True)
        yield Case(op + "_transposed", id, {"dout": random(*shape)}, transposed,
                   lambda dx, /, dout, **o: {"dout": forward(dx, *dout.shape[1:3])}, ("dout",), options, twice=True,
                   apply=lambda op, graph, inputs, o: op(inputs["dout"], **o))


CASES = [*cases("resize_nearest", False), *cases("resize_bilinear", True)]
