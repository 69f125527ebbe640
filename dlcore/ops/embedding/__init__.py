"""Rows of a table, looked up by id.

    out[n] = table[ids[n]]          dtable[v] = sum of dout[n] over all n with ids[n] = v     (dense)

An id outside 0 .. V - 1 is never used as an index: its row is NaN, which `check_finite` sees.

Where few of the rows are looked up, the gradient is better held as these rows: `row_gradient` sums the rows of dout that have
one id, in the order of the rows, so that the sums do not depend on the number of threads.
"""
from __future__ import annotations

from dlcore.graph import call, op

embedding_forward = call("embedding_forward(table: f32[V, D], ids: i32[N] -> out: F[N, D])", over="N")
embedding_backward = call("embedding_backward(dout: F[N, D], ids: i32[N] -> +dtable: f32[V, D])", over="V",
                          flops="N * D")

sort_ids_call = call("sort_ids(ids: i32[M], limit: i64 -> order: i32[M], unique: i32[M], first: i32[M + 1], count: i64[1];"
                     " other: i32[M], tally: i32[257])", over="1")
sum_rows_call = call("sum_rows(dout: F[M, D], order: i32[M], first: i32[P], count: i64[1] -> rows: F[N, D])", over="N",
                     flops="M * D")


@op
def embedding(table, ids):
    """table: f32[V, D]   ids: i32[...]   returns f32[..., D]"""
    V, D = table.shape
    flat = ids.reshape(ids.size)

    def backward(dout):
        return embedding_backward(dout.reshape(ids.size, D), flat, V=V), None
    return embedding_forward(table, flat).reshape(*ids.shape, D), backward


@op
def row_gradient(dout, ids, rows: int):
    """The gradient of a table of `rows` rows as (unique, sums, count), each as long as there may be different ids.

    dout: f32[N, D]   ids: i32[N]   unique: i32[N], ascending, then -1   sums: f32[N, D], then 0   count: i64[1]
    Ids outside 0 .. rows - 1 are left out.  Not differentiated again."""
    order, unique, first, count = sort_ids_call(ids, rows)
    return (unique, sum_rows_call(dout, order, first, count, N=ids.size), count), None
