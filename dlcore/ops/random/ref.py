"""Random numbers one at a time: Philox in Python's integers, the normal ones by the standard library's inverse distribution."""
from statistics import NormalDist

import numpy as np

from dlcore.ops.case import Case
from dlcore.ops.dropout.ref import LOW, philox


def normal_of(word):
    y = -NormalDist().inv_cdf((word // 2 + 0.5) / 2**32)
    return y if word % 2 == 0 else -y


def uniform_of(word):
    return (word >> 8) / 2**24


def numbers(made, shape, node, seed, step, first_sample):
    rows, columns = shape[0], int(np.prod(shape[1:]))
    out = [[made(philox((c // 4, first_sample + r, step, node), (seed & LOW, seed >> 32))[c % 4]) for c in range(columns)]
           for r in range(rows)]
    return np.array(out, np.float64).reshape(shape)


def case(op, id, shape, seed=7, step=3, first_sample=0, node=5):
    slots = {"seed": seed, "step": step, "first_sample": first_sample}
    made = {"random_normal": normal_of, "random_uniform": uniform_of}[op]
    return Case(op, id, {}, lambda shape, node: numbers(made, shape, node, **slots), options=dict(shape=shape, node=node),
                slots=slots, apply=lambda op, graph, inputs, options: op(*options["shape"], graph=graph, node=options["node"]),
                exact=op == "random_uniform")


CASES = [case(op, *more, **slots) for op in ("random_normal", "random_uniform") for more, slots in (
    (("odd", (13, 7)), {}), (("one", (9, 1)), {}), (("wide", (3, 131)), {"step": 100000}),
    (("images", (2, 3, 4, 5)), {"first_sample": 40}), (("large-seed", (5, 9)), {"seed": 12345678901234567}))]
