"""Gradients held as rows, on a GPU.  Ids are sorted by counting, for each, those before it: no order is left to chance.

All pairs of ids are compared, four of them for each 16 bytes of shared memory; what an id is compared with is shared out among
16 blocks, so that a few thousand ids fill a GPU."""
import numpy as np

from dlcore.compiler.cuda.intrinsics import FULL, asm_op, cuda, i32, i64, quotient, shared_address, u32, warp_sum
from dlcore.compiler.cuda.language import kernel, lowered
from dlcore.compiler.cuda.rows import first_column, in_fours, put_four, sum_in_order
from dlcore.compiler.cuda.vectors import address_of
from dlcore.compiler.language import call, helper
from dlcore.ops import row_gradient  # noqa: F401  (declares)

ZERO, SHARES, NO_ID = np.float32(0), 16, 0x7FFFFFFF

call(f"count_before(ids: i32[M], limit: i64 -> counts: i32[{SHARES}, M])", over="M", flops="M * M")
call(f"place_ids(ids: i32[M], counts: i32[{SHARES}, M], limit: i64 -> order: i32[M], keys: i32[M])", over="M")
call("mark_ids(keys: i32[M], limit: i64 -> unique: i32[M], first: i32[M + 1], count: i64[1])", over="M + 1", flops="M * M")
lowered("sort_ids", "count_before(ids, limit -> counts)", "place_ids(ids, counts, limit -> order, keys)",
        "mark_ids(keys, limit -> unique, first, count)")
load_keys = asm_op("load_keys", "ld.shared.v4.b32 {$0,$1,$2,$3}, [$4];", "rrrr", "r")


@helper
def key_of(ids, i, limit):
    """An id, or `limit` for what is none: it sorts behind all others."""
    v = ids[i]
    return v if 0 <= v < limit else i32(limit)


@helper
def one_if(truth):
    return i32(1) if truth else i32(0)


@helper
def less_among(keys, mine, thread, near):
    """How many of 256 keys sort before mine.  near: 0 where they stand behind it, 1 where before, 2 where it is the one of
    `thread`."""
    total = i32(0)
    if near == 2:
        for q in range(256):
            total += one_if(keys[q] < mine or (keys[q] == mine and q < thread))
    else:
        bound, at = i32(mine + near), shared_address(keys)
        stop = at + u32(1024)
        while at < stop:
            a, b = load_keys(at), load_keys(at + u32(16))
            total += one_if(i32(a[0]) < bound) + one_if(i32(a[1]) < bound)
            total += one_if(i32(a[2]) < bound) + one_if(i32(a[3]) < bound)
            total += one_if(i32(b[0]) < bound) + one_if(i32(b[1]) < bound)
            total += one_if(i32(b[2]) < bound) + one_if(i32(b[3]) < bound)
            at += u32(32)
    return i32(total)


@kernel(blocks=f"ceil(M / 256) * {SHARES}", block=256)
def count_before(item, thread, ids, limit, counts):
    """Of the ids in every 16th piece of 256, how many sort before each of a tile of 256."""
    M, tile, share = ids.shape[0], item // SHARES, item % SHARES
    keys, n, total = cuda.shared.array(256, i32, alignment=16), 256 * tile + thread, i32(0)
    mine = key_of(ids, n, limit) if n < M else i32(0)
    for piece in range(share, (M + 255) // 256, SHARES):
        j = 256 * piece + thread
        cuda.syncthreads()
        keys[thread] = key_of(ids, j, limit) if j < M else i32(NO_ID)
        cuda.syncthreads()
        total += less_among(keys, mine, thread, 2 if piece == tile else 1 if piece < tile else 0)
    if n < M:
        counts[share, n] = total


@kernel(threads="M")
def place_ids(item, ids, counts, limit, order, keys):
    rank = i64(0)
    for share in range(SHARES):
        rank += counts[share, item]
    order[rank], keys[rank] = i32(item), key_of(ids, item, limit)


@helper
def begins(keys, j, limit):
    """Is a sorted key the first of its id?"""
    return keys[j] < limit and (j == 0 or keys[j - 1] != keys[j])


@kernel(blocks="ceil((M + 1) / 256)", block=256)
def mark_ids(item, thread, keys, limit, unique, first, count):
    """Where each id begins among the sorted keys; the rest is -1 and the end.  Every block counts the ids of all keys, those before
    its own 256 and, by votes of its warps, those among them."""
    M, at, lane, warp = keys.shape[0], 256 * item + thread, thread & 31, thread >> 5
    held, found, before, ends = cuda.shared.array((4, 8), i32), i32(0), i32(0), i32(0)
    for j in range(thread, M, 256):
        new = one_if(begins(keys, j, limit))
        found, before, ends = found + new, before + (new if j < 256 * item else i32(0)), ends + one_if(keys[j] < limit)
    mine = at < M and begins(keys, min(at, M - 1), limit)
    votes = cuda.ballot_sync(FULL, mine)
    found, before, ends = warp_sum(found), warp_sum(before), warp_sum(ends)
    if lane == 0:
        held[0, warp], held[1, warp], held[2, warp], held[3, warp] = found, before, ends, cuda.popc(votes)
    cuda.syncthreads()
    found = before = ends = i32(0)
    for w in range(8):
        found, ends = found + held[0, w], ends + held[2, w]
        before += held[1, w] + (held[3, w] if w < warp else i32(0))
    before += cuda.popc(votes & ((u32(1) << u32(lane)) - u32(1)))
    if mine:
        unique[before], first[before] = keys[at], i32(at)
    if found <= at <= M:
        first[at] = ends
        if at < M:
            unique[at] = i32(-1)
    if at == 0:
        count[0] = found


@helper
def sum_of_id(item, lane, dout, order, first, count, rows, fours):
    tiles = (rows.shape[1] + 127) // 128
    n = quotient(item, tiles)
    j, sums = first_column(item - n * tiles, lane, fours), (ZERO, ZERO, ZERO, ZERO)
    if n < count[0]:
        sums = sum_in_order(sums, dout, order, i64(first[n]), i64(first[n + 1]), j, fours)
    put_four(rows, n, j, fours, sums)


@kernel(warps="N * ceil(D / 128)")
def sum_rows(item, lane, dout, order, first, count, rows):
    if in_fours(rows.shape[1], address_of(dout) | address_of(rows)):
        sum_of_id(item, lane, dout, order, first, count, rows, True)
    else:
        sum_of_id(item, lane, dout, order, first, count, rows, False)
