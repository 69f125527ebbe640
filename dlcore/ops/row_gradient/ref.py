"""Gradients held as rows by their definition, in float64."""
import numpy as np

from dlcore.ops.case import Case, random


def row_gradient(dout, ids, rows):
    N, kept = len(ids), np.unique(ids[(ids >= 0) & (ids < rows)])
    unique, sums = np.full(N, -1, np.int32), np.zeros_like(dout)
    unique[:len(kept)] = kept
    for n, v in enumerate(kept):
        sums[n] = dout[ids == v].sum(0)
    return unique, sums, np.array([len(kept)])


CASES = [
    *[Case("row_gradient", id, {"dout": random(len(ids), D), "ids": np.array(ids, np.int32)}, row_gradient, options={"rows": V})
      for id, D, V, ids in (("few", 3, 9, [4, 0, 4, 8, 4]), ("one", 1, 1, [0]), ("none", 2, 5, [-1, 5]),
                            ("strangers", 5, 7, [7, 3, -1, 6, 3, 2147483647]), ("last", 2, 256, [255, 256, 0, 255]),
                            ("wide", 7, 70001, [*np.random.default_rng(0).integers(0, 70001, 300), *[69999] * 90]))],
]
