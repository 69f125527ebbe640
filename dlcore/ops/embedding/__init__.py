"""Rows of a table, looked up by id.

    out[n] = table[ids[n]]          dtable[v] = sum of dout[n] over all n with ids[n] = v     (dense)

An id outside 0 .. V - 1 is never used as an index: its row is NaN, which `check_finite` sees.
"""
from __future__ import annotations

from dlcore.graph import call, op

embedding_forward = call("embedding_forward(table: f32[V, D], ids: i32[N] -> out: F[N, D])", over="N")
embedding_backward = call("embedding_backward(dout: F[N, D], ids: i32[N] -> +dtable: f32[V, D])", over="V",
                          flops="N * D")


@op
def embedding(table, ids):
    """table: f32[V, D]   ids: i32[...]   returns f32[..., D]"""
    V, D = table.shape
    flat = ids.reshape(ids.size)

    def backward(dout):
        return embedding_backward(dout.reshape(ids.size, D), flat, V=V), None
    return embedding_forward(table, flat).reshape(*ids.shape, D), backward
