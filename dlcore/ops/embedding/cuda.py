"""Embedding on a GPU.

The gradient: positions are sorted by id (`row_gradient`), equal ids in their order, and a warp adds up 128 columns of the positions
that have its row's id: each sum has one order, without atomics.  So that a frequent id keeps no warp long, pieces of 32 sorted
positions that all have one id are added up before, side by side."""
import numpy as np

from dlcore.compiler.cuda.intrinsics import cuda, f32, i32, i64, quotient
from dlcore.compiler.cuda.language import kernel, lowered
from dlcore.compiler.cuda.rows import (
    AHEAD,
    first_column,
    hold_rows,
    in_fours,
    put_four,
    sum_in_order,
    sum_of_held,
    take_four,
)
from dlcore.compiler.cuda.vectors import address_of
from dlcore.compiler.language import call, helper
from dlcore.ops import embedding  # noqa: F401  (declares)
from dlcore.ops.row_gradient import cuda as _  # noqa: F401  (declares the sort)

ZERO, NAN, PIECE = np.float32(0), np.float32(np.nan), 32

call("first_of_rows(keys: i32[N] -> first: i32[V + 1])", over="V + 1")
call(f"embedding_pieces(dout: F[N, D], order: i32[N], keys: i32[N] -> pieces: F[ceil(N / {PIECE}), D])", over="ceil(N / 32)",
     flops="N * D")
call(f"embedding_rows(dout: F[N, D], order: i32[N], first: i32[V + 1], pieces: F[ceil(N / {PIECE}), D] -> +dtable: f32[V, D])",
     over="V", flops="N * D")
lowered("embedding_backward", "count_before(ids, V -> counts)", "place_ids(ids, counts, V -> order, keys)",
        "first_of_rows(keys -> first)", "embedding_pieces(dout, order, keys -> pieces)",
        "embedding_rows(dout, order, first, pieces -> dtable)")


@helper
def look_up(item, lane, table, ids, out, fours):
    V, D = table.shape
    tiles = (D + 127) // 128
    i = quotient(item, tiles)
    j, v, found = first_column(item - i * tiles, lane, fours), i64(ids[i]), (NAN, NAN, NAN, NAN)
    if 0 <= v < V and not (fours and j >= D):
        found = take_four(table, v, j, fours)
    put_four(out, i, j, fours, found)


@kernel(warps="N * ceil(D / 128)")
def embedding_forward(item, lane, table, ids, out):
    if in_fours(table.shape[1], address_of(table) | address_of(out)):
        look_up(item, lane, table, ids, out, True)
    else:
        look_up(item, lane, table, ids, out, False)


@kernel(threads="V + 1")
def first_of_rows(item, keys, first):
    """Where the row's positions begin among the sorted ones: by halving."""
    low, high = i64(0), keys.shape[0]
    while low < high:
        middle = (low + high) // 2
        if keys[middle] < item:
            low = middle + 1
        else:
            high = middle
    first[item] = i32(low)


@helper
def sum_side_by_side(sums, x, begin, end, j, fours):
    """sums + four columns of the rows begin ... end - 1 of x."""
    rows, held = cuda.local.array(AHEAD, i64), cuda.local.array((AHEAD, 4), f32)
    if fours and j >= x.shape[1]:
        return sums
    for p in range(begin, end, AHEAD):
        for u in range(AHEAD):
            rows[u] = min(p + u, end - 1)
        hold_rows(held, x, rows, j, fours)
        sums = sum_of_held(sums, held, end - p)
    return sums


@helper
def piece_of(item, lane, dout, order, keys, pieces, fours):
    tiles = (dout.shape[1] + 127) // 128
    piece = quotient(item, tiles)
    j, begin = first_column(item - piece * tiles, lane, fours), PIECE * piece
    if begin + PIECE <= keys.shape[0] and keys[begin] == keys[begin + PIECE - 1]:
        put_four(pieces, piece, j, fours,
                 sum_in_order((ZERO, ZERO, ZERO, ZERO), dout, order, begin, begin + PIECE, j, fours))  # fmt: skip


@kernel(warps=f"ceil(N / {PIECE}) * ceil(D / 128)")
def embedding_pieces(item, lane, dout, order, keys, pieces):
    """The sum of a piece's rows where all have one id; nothing reads the others."""
    if in_fours(dout.shape[1], address_of(dout) | address_of(pieces)):
        piece_of(item, lane, dout, order, keys, pieces, True)
    else:
        piece_of(item, lane, dout, order, keys, pieces, False)


@helper
def row_of(item, lane, dout, order, first, pieces, dtable, add, fours):
    """Positions up to the first whole piece, whole pieces, positions behind the last."""
    tiles = (dtable.shape[1] + 127) // 128
    row = quotient(item, tiles)
    j, begin, end = first_column(item - row * tiles, lane, fours), i64(first[row]), i64(first[row + 1])
    if begin < end or not add:
        sums = (ZERO, ZERO, ZERO, ZERO)
        if add and not (fours and j >= dtable.shape[1]):
            sums = take_four(dtable, row, j, fours)
        head = min(end, (begin + PIECE - 1) & -PIECE)
        tail = max(head, end & -PIECE)
        sums = sum_in_order(sums, dout, order, begin, head, j, fours)
        sums = sum_side_by_side(sums, pieces, head // PIECE, tail // PIECE, j, fours)
        put_four(dtable, row, j, fours, sum_in_order(sums, dout, order, tail, end, j, fours))


@kernel(warps="V * ceil(D / 128)")
def embedding_rows(item, lane, dout, order, first, pieces, dtable, add_dtable):
    if in_fours(dtable.shape[1], address_of(dout) | address_of(pieces) | address_of(dtable)):
        row_of(item, lane, dout, order, first, pieces, dtable, add_dtable, True)
    else:
        row_of(item, lane, dout, order, first, pieces, dtable, add_dtable, False)
