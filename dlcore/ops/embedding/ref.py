"""Embedding by its definition, in float64."""
import numpy as np

from dlcore.ops.case import Case, random


def embedding(table, ids):
    return table[ids]


def embedding_backward(dout, table, ids):
    dtable = np.zeros_like(table)
    np.add.at(dtable, ids, dout)
    return {"table": dtable}


def row_gradient(dout, ids, rows):
    N, kept = len(ids), np.unique(ids[(ids >= 0) & (ids < rows)])
    unique, sums = np.full(N, -1, np.int32), np.zeros_like(dout)
    unique[:len(kept)] = kept
    for n, v in enumerate(kept):
        sums[n] = dout[ids == v].sum(0)
    return unique, sums, np.array([len(kept)])


def case(id, V, D, *shape):
    ids = np.random.default_rng(1).integers(0, V, shape).astype(np.int32)
    return Case("embedding", id, {"table": random(V, D), "ids": ids}, embedding, embedding_backward, ["table"])


CASES = [
    case("odd", 131, 7, 61),
    case("repeated", 3, 5, 200),
    case("one-row-table", 1, 1, 9),
    case("sequence", 77, 16, 3, 11),
    *[Case("row_gradient", id, {"dout": random(len(ids), D), "ids": np.array(ids, np.int32)}, row_gradient, options={"rows": V})
      for id, D, V, ids in (("few", 3, 9, [4, 0, 4, 8, 4]), ("one", 1, 1, [0]), ("none", 2, 5, [-1, 5]),
                            ("strangers", 5, 7, [7, 3, -1, 6, 3, 2147483647]), ("last", 2, 256, [255, 256, 0, 255]),
                            ("wide", 7, 70001, [*np.random.default_rng(0).integers(0, 70001, 300), *[69999] * 90]))],
]
