"""The gradient of a table of which few rows were looked up, held as these rows.

    out[n] = table[ids[n]]          sums[u] = sum of dout[n] over all n with ids[n] = unique[u]

The rows of dout that have one id are summed in their order, so that the sums do not depend on the number of threads.
"""
from __future__ import annotations

from dlcore.graph import call, op

sort_ids_call = call("sort_ids(ids: i32[M], limit: i64 -> order: i32[M], unique: i32[M], first: i32[M + 1], count: i64[1];"
                     " other: i32[M], tally: i32[257])", over="1")
sum_rows_call = call("sum_rows(dout: F[M, D], order: i32[M], first: i32[P], count: i64[1] -> rows: F[N, D])", over="N",
                     flops="M * D")


@op
def row_gradient(dout, ids, rows: int):
    """The gradient of a table of `rows` rows as (unique, sums, count), each as long as there may be different ids.

    dout: f32[N, D]   ids: i32[N]   unique: i32[N], ascending, then -1   sums: f32[N, D], then 0   count: i64[1]
    Ids outside 0 .. rows - 1 are left out.  Not differentiated again."""
    order, unique, first, count = sort_ids_call(ids, rows)
    return (unique, sum_rows_call(dout, order, first, count, N=ids.size), count), None
