"""Embedding by its definition, in float64."""
import numpy as np

from dlcore.ops.case import Case, random


def embedding(table, ids):
    return table[ids]


def embedding_backward(dout, table, ids):
    dtable = np.zeros_like(table)
    np.add.at(dtable, ids, dout)
    return {"table": dtable}


def case(id, V, D, *shape):
    ids = np.random.default_rng(1).integers(0, V, shape).astype(np.int32)
    return Case("embedding", id, {"table": random(V, D), "ids": ids}, embedding, embedding_backward, ["table"])


CASES = [
    case("odd", 131, 7, 61),
    case("repeated", 3, 5, 200),
    case("one-row-table", 1, 1, 9),
    case("sequence", 77, 16, 3, 11),
]
