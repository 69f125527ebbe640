"""Backward of attention on Hopper for heads of 65 to 128 columns: 128 rows of two warpgroups, 64 at a time of the others, whose
tiles are read by both.

As `cuda_bf16.backward`, but own keys and values do not fit the registers beside their gradients: they stay in shared memory, of
which a block has 130 KiB, and products read them by descriptors.
"""

from dlcore.compiler.cuda.intrinsics import cuda, f32, i32, u32
from dlcore.compiler.cuda.vectors import power_of_2
from dlcore.compiler.language import helper
from dlcore.ops.attention.cpu import first_key, first_query, keys_end, queries_end
from dlcore.ops.attention.cuda_bf16 import walk_over_keys
from dlcore.ops.attention.cuda_pieces import (
    LOG2E,
    ZERO,
    await_copies,
    begun_numbers,
    bounds_of,
    bring_numbers,
    bringer,
    clear,
    load_shared_2,
    own_rows_of,
    packed,
    plain_end,
)
from dlcore.ops.attention.cuda_wgmma import products, scores_of_tiles

W, OWN, OTHER, THREADS = 128, 128, 64, 256
TILE = 2 * W * OTHER                    # bytes: 64 rows, of the others or of a warpgroup
STAGE, NUMBERS = 2 * TILE, 8 * OTHER
OTHERS = 4 * TILE                       # where the others begin: behind own keys and values
LAST = OTHERS + 2 * STAGE               # and the numbers of queries
SHARED = LAST + 2 * NUMBERS + 1024
SCORES, WEIGHTS, FRAGMENTS = (OTHER // 8, 4), (OTHER // 16, 4), (W // 16, 4)
shown, _, two_scores, weigh, weigh_two = products(W, OTHER)
scores_of_own = scores_of_tiles(W, OTHER)
place_of, begun, stride_of, bring = bringer(W, OTHER, THREADS)
own_rows = own_rows_of(W)


over_keys = walk_over_keys(W, OTHER, bring, (shown, two_scores, weigh))
plain_keys, edged_keys, absent_keys = over_keys(True, False), over_keys(False, False), over_keys(False, True)


@helper
def queries_side(base, acc, dout, lse, delta, q, k, v, mask, scale, causal, window, b, h, k_head, v_head, q0, thread):
    """acc = the gradient of queries q0 and on of head h, but for the scale."""
    own, own_dout = cuda.local.array(FRAGMENTS, u32), cuda.local.array(FRAGMENTS, u32)
    T, S, factor, place, first = q.shape[1], k.shape[1], scale * LOG2E, place_of(thread), q0 + (thread >> 7) * 64
    i = q0 + (thread >> 5) * 16 + ((thread & 31) >> 2)
    numbers = (lse[b, h, min(i, T - 1)] * LOG2E, lse[b, h, min(i + 8, T - 1)] * LOG2E,
               delta[b, h, min(i, T - 1)], delta[b, h, min(i + 8, T - 1)])  # fmt: skip
    begin = max(first_key(q0, S - T, causal, window), 0) // OTHER * OTHER
    end = i32(keys_end(min(q0 + OWN, T), S, S - T, causal, window))
    last = min(i32(keys_end(min(first + 64, T), S, S - T, causal, window)), end)    # for these four warps
    bounds = bounds_of(i, (thread & 3) * 2, T, S, causal, window)
    key_stride, value_stride, tile = stride_of(k), stride_of(v), base + u32(OTHERS)
    (key_at, key_left), (value_at, value_left) = begun(k, b, begin, k_head, thread), begun(v, b, begin, v_head, thread)
    clear(acc)
    if begin < end:
        key_at, key_left = bring(tile + place, key_at, key_left, key_stride)
        value_at, value_left = bring(tile + u32(TILE) + place, value_at, value_left, value_stride)
    own_rows(own, q, b, q0, h, thread)
    own_rows(own_dout, dout, b, q0, h, thread)
    tiles, keys, values = (tile, tile + u32(STAGE)), (key_at, key_left, key_stride), (value_at, value_left, value_stride)
    stop = min(i32(plain_end(begin, first, S, T, causal, window, mask)), last)
    k0, tiles, keys, values = plain_keys(i32(begin), stop, end, tiles, keys, values, own, own_dout, acc, numbers, mask, b, S,
                                         factor, bounds, place, thread)  # fmt: skip
    k0, tiles, keys, values = edged_keys(k0, last, end, tiles, keys, values, own, own_dout, acc, numbers, mask, b, S, factor,
                                         bounds, place, thread)  # fmt: skip
    absent_keys(k0, end, end, tiles, keys, values, own, own_dout, acc, numbers, mask, b, S, factor, bounds, place, thread)


@helper
def probabilities(s, numbers, factor, thread):
    for n in range(OTHER // 8):
        sums = load_shared_2(numbers + u32(32 * n) + u32(8) * u32(thread & 3))
        sum_0, sum_1 = sums[0] * LOG2E, sums[1] * LOG2E
        for r in range(4):
            s[n, r] = power_of_2(s[n, r] * factor - (sum_1 if r & 1 else sum_0))


@helper
def gradients(s, d, numbers, thread):
    """s (d - delta)."""
    for n in range(OTHER // 8):
        deltas = load_shared_2(numbers + u32(4 * OTHER + 32 * n) + u32(8) * u32(thread & 3))
        for r in range(4):
            d[n, r] = s[n, r] * (d[n, r] - (deltas[1] if r & 1 else deltas[0]))


@helper
def hide_queries(s, kept_0, kept_1, most, least):
    """What queries do not see becomes 0.  Queries beyond the last are 0 already: their rows are."""
    for n in range(OTHER // 8):
        for r in range(4):
            apart = i32((8 if r > 1 else 0) - 8 * n - (r & 1))
            s[n, r] = s[n, r] if apart <= most and apart >= least and (kept_1 if r > 1 else kept_0) else ZERO


def over_queries(PLAIN, ABSENT):
    """A walk over queries q0 to stop: all of which see these warps' keys where it is PLAIN, none where they are ABSENT."""

    @helper
    def steps(q0, stop, end, tiles, queries, douts, numbers, own, of_keys, of_values, factor, kept, bounds, place, thread):
        (tile, free, here, free_here), (at, left, stride), (dout_at, dout_left, dout_stride) = tiles, queries, douts
        number_at, numbers_left = numbers
        s, d = cuda.local.array(SCORES, f32), cuda.local.array(SCORES, f32)
        p, gradient = cuda.local.array(WEIGHTS, u32), cuda.local.array(WEIGHTS, u32)
        while q0 < stop:
            await_copies()
            shown()
            cuda.syncthreads()
            if q0 + i32(OTHER) < end:
                at, left = bring(free + place, at, left, stride)
                dout_at, dout_left = bring(free + u32(TILE) + place, dout_at, dout_left, dout_stride)
                number_at, numbers_left = bring_numbers(free_here, number_at, numbers_left, OTHER, thread)
            if not ABSENT:
                scores_of_own(s, own, tile, d, own + u32(2 * TILE), tile + u32(TILE))
                probabilities(s, here, factor, thread)
                if not PLAIN:
                    hide_queries(s, kept[0], kept[1], i32(bounds[1] + q0), i32(bounds[2] + q0))
                packed(p, s)
                gradients(s, d, here, thread)
                packed(gradient, d)
                weigh_two(of_values, p, tile + u32(TILE), of_keys, gradient, tile, thread)
            tile, free, here, free_here, q0 = free, tile, free_here, here, i32(q0 + i32(OTHER))
        return (q0, (tile, free, here, free_here), (at, left, stride), (dout_at, dout_left, dout_stride),
                (number_at, numbers_left))

    return steps


plain_queries, edged_queries, absent_queries = over_queries(True, False), over_queries(False, False), over_queries(False, True)


@helper
def bring_own(tile, source, b, row, head, place, thread):
    """128 rows: a tile for each warpgroup."""
    (at, left), stride = begun(source, b, row, head, thread), stride_of(source)
    at, left = bring(tile + place, at, left, stride)
    bring(tile + u32(TILE) + place, at, left, stride)


@helper
def keys_side(base, of_keys, of_values, dout, lse, delta, q, k, v, mask, groups, scale, causal, window, b, g, k_head, v_head, k0,
              thread):  # fmt: skip
    """of_keys, of_values = the gradients of keys, but for the scale, and values k0 and on of group g."""
    T, S, share, factor, place = q.shape[1], k.shape[1], dout.shape[2] // groups, scale * LOG2E, place_of(thread)
    j, first, own = k0 + (thread >> 5) * 16 + ((thread & 31) >> 2), k0 + (thread >> 7) * 64, base + u32(thread >> 7) * u32(TILE)
    kept = True, True                                   # are the thread's two keys no padding?
    if mask.shape[0] > 0:
        kept = mask[b, min(j, S - 1)] != ZERO, mask[b, min(j + 8, S - 1)] != ZERO
    begin = max(first_query(k0, S - T, causal, window), 0) // OTHER * OTHER
    end = i32(queries_end(min(k0 + OWN, S), T, S - T, causal, window))
    start = min(i32(max(first_query(first, S - T, causal, window), 0) // OTHER * OTHER), end)   # for these four warps
    edge = begin                                        # from there on queries see all of these warps' keys
    if window > 0 or mask.shape[0] > 0:
        edge = T
    elif causal:
        edge = max(begin, (first + 63 - S + T + OTHER - 1) // OTHER * OTHER)
    bounds = bounds_of((thread & 3) * 2, j, T, S, causal, window)
    tile, numbers, stride, dout_stride = base + u32(OTHERS), base + u32(LAST), stride_of(q), stride_of(dout)
    tiles = tile, tile + u32(STAGE), numbers, numbers + u32(NUMBERS)
    clear(of_keys)
    clear(of_values)
    bring_own(base, k, b, k0, k_head, place, thread)
    bring_own(base + u32(2 * TILE), v, b, k0, v_head, place, thread)
    for h in range(g * share, g * share + share):
        (at, left), (dout_at, dout_left) = begun(q, b, begin, h, thread), begun(dout, b, begin, h, thread)
        number_at, numbers_left = begun_numbers(lse, delta, b, h, begin, OTHER, thread)
        if begin < end:
            at, left = bring(tiles[0] + place, at, left, stride)
            dout_at, dout_left = bring(tiles[0] + u32(TILE) + place, dout_at, dout_left, dout_stride)
            number_at, numbers_left = bring_numbers(tiles[2], number_at, numbers_left, OTHER, thread)
        queries, douts, given = (at, left, stride), (dout_at, dout_left, dout_stride), (number_at, numbers_left)
        q0, tiles, queries, douts, given = absent_queries(
            i32(begin), start, end, tiles, queries, douts, given, own, of_keys, of_values, factor, kept, bounds, place,
            thread)  # fmt: skip
        q0, tiles, queries, douts, given = edged_queries(
            q0, min(i32(edge), end), end, tiles, queries, douts, given, own, of_keys, of_values, factor, kept, bounds, place,
            thread)  # fmt: skip
        q0, tiles, queries, douts, given = plain_queries(
            q0, end, end, tiles, queries, douts, given, own, of_keys, of_values, factor, kept, bounds, place,
            thread)  # fmt: skip


SIDES = 0, queries_side, keys_side
