"""Gradients held as rows, on a GPU.  Ids are sorted by counting, for each, those before it: no order is left to chance."""
import numpy as np

from dlcore.compiler.cuda.intrinsics import i32, i64, quotient
from dlcore.compiler.cuda.language import kernel, lowered
from dlcore.compiler.language import call, helper
from dlcore.ops import row_gradient  # noqa: F401  (declares)

ZERO = np.float32(0)

call("rank_ids(ids: i32[M], limit: i64 -> order: i32[M], keys: i32[M])", over="M", flops="M * M")
call("mark_ids(keys: i32[M], limit: i64 -> unique: i32[M], first: i32[M + 1], count: i64[1])", over="M + 1", flops="M * M")
lowered("sort_ids", "rank_ids(ids, limit -> order, keys)", "mark_ids(keys, limit -> unique, first, count)")


@helper
def key_of(ids, i, limit):
    """An id, or `limit` for what is none: it sorts behind all others."""
    v = ids[i]
    return v if 0 <= v < limit else i32(limit)


@kernel(threads="M")
def rank_ids(item, ids, limit, order, keys):
    """Threads read the same id at a time."""
    mine, rank = key_of(ids, item, limit), i64(0)
    for j in range(ids.shape[0]):
        key = key_of(ids, j, limit)
        rank += 1 if key < mine or (key == mine and j < item) else 0
    order[rank], keys[rank] = i32(item), mine


@kernel(threads="M + 1")
def mark_ids(item, keys, limit, unique, first, count):
    """Where each id begins among the sorted keys; the rest is -1 and the end."""
    M, found, before, ends = keys.shape[0], i64(0), i64(0), i64(0)
    for j in range(M):
        there = keys[j] < limit
        head = there and (j == 0 or keys[j - 1] != keys[j])
        found += 1 if head else 0
        before += 1 if head and j < item else 0
        ends += 1 if there else 0
    if item < M and keys[item] < limit and (item == 0 or keys[item - 1] != keys[item]):
        unique[before], first[before] = keys[item], i32(item)
    if item >= found:
        first[item] = i32(ends)
        if item < M:
            unique[item] = i32(-1)
    if item == 0:
        count[0] = found


@kernel(threads="N * D")
def sum_rows(item, dout, order, first, count, rows):
    D, total = rows.shape[1], ZERO
    n = quotient(item, D)
    j = item - n * D
    if n < count[0]:
        for i in range(first[n], first[n + 1]):
            total += dout[order[i], j]
    rows[n, j] = total
