"""Attention on tensor cores: bf16 products, float32 sums and softmax, as in FlashAttention-2 (Dao, 2023), for heads of at most 128.

Queries, keys, values and dout were rounded to bf16 once, their rows padded to W columns, 64 or 128.  Products are those of
`cuda_mma` or, on Hopper, of `cuda_wgmma`; whichever it is, a warp owns 16 rows, whose fragments stay in registers, and sums become
the left side of the next product where they are.

Forward: a block of 8 warps owns 128 queries; 64 keys and values at a time pass through shared memory, the next ones on their way
while these are multiplied.  Backward: a block of 4 warps owns 64 queries and walks over keys and values, or 64 keys and values and
walks over queries and dout.  Nothing is added by atomics.
"""

from dlcore.compiler.cuda.intrinsics import cuda, f32, i32, shared_address, u32
from dlcore.compiler.cuda.vectors import await_copies_but_1, close_copies, power_of_2
from dlcore.compiler.language import helper
from dlcore.ops.attention.cpu import first_key, first_query, keys_end, queries_end
from dlcore.ops.attention.cuda_pieces import (
    INF,
    LOG2E,
    ONE,
    ZERO,
    await_copies,
    begun_numbers,
    bounds_of,
    bring_numbers,
    bringer,
    clear,
    finish,
    hide,
    kept_keys,
    load_shared_2,
    own_rows_of,
    packed,
    plain_end,
    soften,
    write,
)

OWN, OTHER = 64, 64                     # rows of a block in backward, and at a time there
KEYS = 64                               # at a time in forward


def beginning(WORDS):
    """base(): the address of shared memory of so many words; 0: of what the launch asks for, from a multiple of 1,024."""

    @helper
    def declared():
        return shared_address(cuda.shared.array(WORDS, u32, alignment=1024))

    @helper
    def asked_for():
        return (shared_address(cuda.shared.array(0, u32)) + u32(1023)) & u32(0xFFFFFC00)

    return declared if WORDS else asked_for


def forward(W, products):
    """The kernel of attention_forward for heads of at most W columns."""
    shown, scores, _, weigh, _ = products(W, KEYS)
    (place_of, begun, stride_of, bring), own_rows = bringer(W, KEYS, 256), own_rows_of(W)
    TILE = 2 * W * KEYS                                 # bytes
    FRAGMENTS, SUMS, SCORES, WEIGHTS = (W // 16, 4), (W // 8, 4), (KEYS // 8, 4), (KEYS // 16, 4)
    EARLY = W <= 64                                     # do two tiles of values fit, so that they come with the keys?
    base_of = beginning(8192 if EARLY else 12288)

    def walk(PLAIN, ABSENT):
        """(k0, tiles, keys, values, sums) of a walk over the keys k0 to stop: PLAIN where all are seen, ABSENT where none is."""

        @helper
        def steps(k0, stop, end, tiles, keys, values, sums, own, acc, mask, b, S, factor, bounds, place, thread):
            (tile, free, held, free_held), (key_at, key_left, key_stride) = tiles, keys
            (value_at, value_left, value_stride), (top_0, top_1, total_0, total_1) = values, sums
            s, p = cuda.local.array(SCORES, f32), cuda.local.array(WEIGHTS, u32)
            while k0 < stop:
                await_copies()
                shown()
                cuda.syncthreads()
                more = k0 + i32(KEYS) < end
                if more or not EARLY:
                    value_at, value_left = bring(free_held + place, value_at, value_left, value_stride)
                if not EARLY:
                    close_copies()
                if more:
                    key_at, key_left = bring(free + place, key_at, key_left, key_stride)
                if not EARLY:
                    close_copies()
                if not ABSENT:
                    scores(s, own, tile, thread)
                    if not PLAIN:
                        kept = kept_keys(mask, b, k0, S, thread & 31)
                        here = i32(bounds[0] - k0), i32(bounds[1] - k0), i32(bounds[2] - k0)
                        hide(s, -INF, here, kept, (thread & 3) * 2)
                    top_0, total_0 = soften(s, acc, 0, top_0, total_0, factor)
                    top_1, total_1 = soften(s, acc, 1, top_1, total_1, factor)
                    packed(p, s)
                if not EARLY:
                    await_copies_but_1()
                    shown()
                    cuda.syncthreads()
                if not ABSENT:
                    weigh(acc, p, held, thread)
                tile, free, held, free_held = free, tile, free_held, held
                k0 = i32(k0 + i32(KEYS))
            return (k0, (tile, free, held, free_held), (key_at, key_left, key_stride), (value_at, value_left, value_stride),
                    (top_0, top_1, total_0, total_1))

        return steps

    plain, edged, absent = walk(True, False), walk(False, False), walk(False, True)

    def attention_forward(item, thread, q, k, v, mask, k_head, v_head, groups, scale, causal, window, out, lse):
        T, S, H = q.shape[1], k.shape[1], out.shape[2]
        tiles = (T + 127) // 128
        q0, h, b = (tiles - 1 - item % tiles) * 128, item // tiles % H, item // tiles // H      # the longest first
        g, first, place = h // (H // groups), q0 + (thread >> 7) * 64, place_of(thread)     # first: of these four warps
        own, acc = cuda.local.array(FRAGMENTS, u32), cuda.local.array(SUMS, f32)
        clear(acc)
        begin = max(first_key(q0, S - T, causal, window), 0) // KEYS * KEYS
        end = i32(keys_end(min(q0 + 128, T), S, S - T, causal, window))
        last = min(i32(keys_end(min(first + 64, T), S, S - T, causal, window)), end)
        i = q0 + (thread >> 5) * 16 + ((thread & 31) >> 2)
        bounds = bounds_of(i, (thread & 3) * 2, T, S, causal, window)
        at = base_of()
        at = (at, at + u32(TILE), at + u32(2 * TILE), at + u32(3 * TILE if EARLY else 2 * TILE))
        key_stride, value_stride = stride_of(k), stride_of(v)
        key_at, key_left = begun(k, b, begin, k_head + g, thread)
        value_at, value_left = begun(v, b, begin, v_head + g, thread)
        if begin < end:
            key_at, key_left = bring(at[0] + place, key_at, key_left, key_stride)
            if EARLY:
                value_at, value_left = bring(at[2] + place, value_at, value_left, value_stride)
        own_rows(own, q, b, q0, h, thread)
        keys, values, sums = (key_at, key_left, key_stride), (value_at, value_left, value_stride), (-INF, -INF, ZERO, ZERO)
        k0, factor, clear_end = i32(begin), scale * LOG2E, i32(plain_end(begin, first, S, T, causal, window, mask))
        k0, at, keys, values, sums = plain(k0, min(clear_end, last), end, at, keys, values, sums, own, acc, mask, b, S, factor,
                                           bounds, place, thread)  # fmt: skip
        k0, at, keys, values, sums = edged(k0, last, end, at, keys, values, sums, own, acc, mask, b, S, factor, bounds, place,
                                           thread)  # fmt: skip
        absent(k0, end, end, at, keys, values, sums, own, acc, mask, b, S, factor, bounds, place, thread)
        finish(acc, 0, sums[0], sums[2], scale, out, lse, b, i, h, thread & 31)
        finish(acc, 1, sums[1], sums[3], scale, out, lse, b, i + 8, h, thread & 31)

    return attention_forward


def walk_over_keys(W, OTHER, bring, made_of):
    """over_keys(PLAIN, ABSENT) for tiles of OTHER rows of W columns; bring, made_of: of `bringer` and `products`."""
    (shown, two_scores, weigh), TILE = made_of, 2 * W * OTHER
    SCORES, WEIGHTS = (OTHER // 8, 4), (OTHER // 16, 4)

    def over_keys(PLAIN, ABSENT):
        """A walk over keys k0 to stop: all of which these warps see where it is PLAIN, none where they are ABSENT."""

        @helper
        def steps(k0, stop, end, tiles, keys, values, own, own_dout, acc, numbers, mask, b, S, factor, bounds, place, thread):
            (tile, free), (key_at, key_left, key_stride), (value_at, value_left, value_stride) = tiles, keys, values
            lse_0, lse_1, delta_0, delta_1 = numbers
            s, d, p = cuda.local.array(SCORES, f32), cuda.local.array(SCORES, f32), cuda.local.array(WEIGHTS, u32)
            while k0 < stop:
                await_copies()
                shown()
                cuda.syncthreads()
                if k0 + i32(OTHER) < end:
                    key_at, key_left = bring(free + place, key_at, key_left, key_stride)
                    value_at, value_left = bring(free + u32(TILE) + place, value_at, value_left, value_stride)
                if not ABSENT:
                    two_scores(s, own, tile, d, own_dout, tile + u32(TILE), thread)
                    for n in range(OTHER // 8):
                        for r in range(4):
                            weight = power_of_2(s[n, r] * factor - (lse_1 if r > 1 else lse_0))
                            s[n, r] = weight * (d[n, r] - (delta_1 if r > 1 else delta_0))
                    if not PLAIN:
                        kept = kept_keys(mask, b, k0, S, thread & 31)
                        here = i32(bounds[0] - k0), i32(bounds[1] - k0), i32(bounds[2] - k0)
                        hide(s, ZERO, here, kept, (thread & 3) * 2)
                    packed(p, s)
                    weigh(acc, p, tile, thread)
                tile, free, k0 = free, tile, i32(k0 + i32(OTHER))
            return k0, (tile, free), (key_at, key_left, key_stride), (value_at, value_left, value_stride)

        return steps

    return over_keys


def backward(W, products):
    """(WORDS, queries_side, keys_side): words of shared memory, and what a block of 128 threads does for 64 rows."""
    shown, _, two_scores, weigh, weigh_two = products(W, OTHER)
    (place_of, begun, stride_of, bring), own_rows = bringer(W, OTHER, 128), own_rows_of(W)
    TILE = 2 * W * OTHER                                # bytes
    STAGE, NUMBERS = 2 * TILE, 8 * OTHER                # two tiles; the numbers of queries, which lie behind all tiles
    WORDS, FRAGMENTS, SCORES, WEIGHTS = (2 * STAGE + 2 * NUMBERS) // 4, (W // 16, 4), (OTHER // 8, 4), (OTHER // 16, 4)

    over_keys = walk_over_keys(W, OTHER, bring, (shown, two_scores, weigh))
    plain_keys, edged_keys = over_keys(True, False), over_keys(False, False)

    @helper
    def queries_side(base, acc, dout, lse, delta, q, k, v, mask, scale, causal, window, b, h, k_head, v_head, q0, thread):
        """acc = the gradient of queries q0 and on of head h, but for the scale."""
        own, own_dout = cuda.local.array(FRAGMENTS, u32), cuda.local.array(FRAGMENTS, u32)
        T, S, factor, place = q.shape[1], k.shape[1], scale * LOG2E, place_of(thread)
        i = q0 + (thread >> 5) * 16 + ((thread & 31) >> 2)
        numbers = (lse[b, h, min(i, T - 1)] * LOG2E, lse[b, h, min(i + 8, T - 1)] * LOG2E,
                   delta[b, h, min(i, T - 1)], delta[b, h, min(i + 8, T - 1)])  # fmt: skip
        begin = max(first_key(q0, S - T, causal, window), 0) // OTHER * OTHER
        end = i32(keys_end(min(q0 + OWN, T), S, S - T, causal, window))
        bounds = bounds_of(i, (thread & 3) * 2, T, S, causal, window)
        key_stride, value_stride = stride_of(k), stride_of(v)
        (key_at, key_left), (value_at, value_left) = begun(k, b, begin, k_head, thread), begun(v, b, begin, v_head, thread)
        clear(acc)
        if begin < end:
            key_at, key_left = bring(base + place, key_at, key_left, key_stride)
            value_at, value_left = bring(base + u32(TILE) + place, value_at, value_left, value_stride)
        own_rows(own, q, b, q0, h, thread)
        own_rows(own_dout, dout, b, q0, h, thread)
        tiles, keys, values = (base, base + u32(STAGE)), (key_at, key_left, key_stride), (value_at, value_left, value_stride)
        stop = min(i32(plain_end(begin, q0, S, T, causal, window, mask)), end)
        k0, tiles, keys, values = plain_keys(i32(begin), stop, end, tiles, keys, values, own, own_dout, acc, numbers, mask, b, S,
                                             factor, bounds, place, thread)  # fmt: skip
        edged_keys(k0, end, end, tiles, keys, values, own, own_dout, acc, numbers, mask, b, S, factor, bounds, place, thread)

    @helper
    def probabilities(s, d, numbers, factor, thread):
        """Scores become probabilities p, and d becomes p (d - delta)."""
        for n in range(OTHER // 8):
            at = numbers + u32(32 * n) + u32(8) * u32(thread & 3)
            sums, deltas = load_shared_2(at), load_shared_2(at + u32(4 * OTHER))
            sum_0, sum_1 = sums[0] * LOG2E, sums[1] * LOG2E
            for r in range(4):
                s[n, r] = power_of_2(s[n, r] * factor - (sum_1 if r & 1 else sum_0))
                d[n, r] = s[n, r] * (d[n, r] - (deltas[1] if r & 1 else deltas[0]))

    @helper
    def hide_queries(s, d, kept_0, kept_1, most, least):
        """What queries do not see becomes 0.  Queries beyond the last are 0 already: their rows are."""
        for n in range(OTHER // 8):
            for r in range(4):
                apart = i32((8 if r > 1 else 0) - 8 * n - (r & 1))
                seen = apart <= most and apart >= least and (kept_1 if r > 1 else kept_0)
                s[n, r], d[n, r] = s[n, r] if seen else ZERO, d[n, r] if seen else ZERO

    def over_queries(PLAIN):
        """A walk over queries q0 to stop, which see all of the block's keys where it is PLAIN."""

        @helper
        def steps(q0, stop, end, tiles, queries, douts, numbers, own, own_values, of_keys, of_values, factor, kept, bounds, place,
                  thread):  # fmt: skip
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
                two_scores(s, own, tile, d, own_values, tile + u32(TILE), thread)
                probabilities(s, d, here, factor, thread)
                if not PLAIN:
                    hide_queries(s, d, kept[0], kept[1], i32(bounds[1] + q0), i32(bounds[2] + q0))
                packed(p, s)
                packed(gradient, d)
                weigh_two(of_values, p, tile + u32(TILE), of_keys, gradient, tile, thread)
                tile, free, here, free_here, q0 = free, tile, free_here, here, i32(q0 + i32(OTHER))
            return (q0, (tile, free, here, free_here), (at, left, stride), (dout_at, dout_left, dout_stride),
                    (number_at, numbers_left))

        return steps

    plain_queries, edged_queries = over_queries(True), over_queries(False)

    @helper
    def keys_side(base, of_keys, of_values, dout, lse, delta, q, k, v, mask, groups, scale, causal, window, b, g, k_head, v_head,
                  k0, thread):  # fmt: skip
        """of_keys, of_values = the gradients of keys, but for the scale, and values k0 and on of group g."""
        own, own_values = cuda.local.array(FRAGMENTS, u32), cuda.local.array(FRAGMENTS, u32)
        T, S, share, factor, place = q.shape[1], k.shape[1], dout.shape[2] // groups, scale * LOG2E, place_of(thread)
        j = k0 + (thread >> 5) * 16 + ((thread & 31) >> 2)
        kept = True, True                               # are the thread's two keys no padding?
        if mask.shape[0] > 0:
            kept = mask[b, min(j, S - 1)] != ZERO, mask[b, min(j + 8, S - 1)] != ZERO
        begin = max(first_query(k0, S - T, causal, window), 0) // OTHER * OTHER
        end = i32(queries_end(min(k0 + OWN, S), T, S - T, causal, window))
        edge = begin                                    # from there on queries see all keys of the block
        if window > 0 or mask.shape[0] > 0:
            edge = T
        elif causal:
            edge = max(begin, (k0 + OWN - 1 - S + T + OTHER - 1) // OTHER * OTHER)
        bounds = bounds_of((thread & 3) * 2, j, T, S, causal, window)
        numbers = base + u32(2 * STAGE)
        tiles = base, base + u32(STAGE), numbers, numbers + u32(NUMBERS)
        stride, dout_stride = stride_of(q), stride_of(dout)
        clear(of_keys)
        clear(of_values)
        own_rows(own, k, b, k0, k_head, thread)
        own_rows(own_values, v, b, k0, v_head, thread)
        for h in range(g * share, g * share + share):
            (at, left), (dout_at, dout_left) = begun(q, b, begin, h, thread), begun(dout, b, begin, h, thread)
            number_at, numbers_left = begun_numbers(lse, delta, b, h, begin, OTHER, thread)
            if begin < end:
                at, left = bring(tiles[0] + place, at, left, stride)
                dout_at, dout_left = bring(tiles[0] + u32(TILE) + place, dout_at, dout_left, dout_stride)
                number_at, numbers_left = bring_numbers(tiles[2], number_at, numbers_left, OTHER, thread)
            queries, douts, given = (at, left, stride), (dout_at, dout_left, dout_stride), (number_at, numbers_left)
            q0, tiles, queries, douts, given = edged_queries(
                i32(begin), min(i32(edge), end), end, tiles, queries, douts, given, own, own_values, of_keys, of_values, factor,
                kept, bounds, place, thread)  # fmt: skip
            q0, tiles, queries, douts, given = plain_queries(
                q0, end, end, tiles, queries, douts, given, own, own_values, of_keys, of_values, factor, kept, bounds, place,
                thread)  # fmt: skip

    return WORDS, queries_side, keys_side


def backward_kernels(W, sides, OWN=OWN):
    """The kernels for dq, for dk and dv, and for the three in one array; sides: what `backward` makes, for so many rows."""
    WORDS, queries_side, keys_side = sides
    base_of = beginning(WORDS)
    SUMS = (W // 8, 4)

    def attention_queries(item, thread, dout, lse, delta, q, k, v, mask, groups, scale, causal, window, dq, add_dq):
        acc = cuda.local.array(SUMS, f32)
        tiles, H = (q.shape[1] + OWN - 1) // OWN, dout.shape[2]
        q0, h, b = (tiles - 1 - item % tiles) * OWN, item // tiles % H, item // tiles // H
        g = h // (H // groups)
        queries_side(base_of(), acc, dout, lse, delta, q, k, v, mask, scale, causal, window, b, h, g, g, q0, thread)
        write(acc, scale, dq, b, q0, h, thread, add_dq)

    def attention_keys_values(item, thread, dout, lse, delta, q, k, v, mask, groups, scale, causal, window, dk, dv, add_dk, add_dv):
        of_keys, of_values = cuda.local.array(SUMS, f32), cuda.local.array(SUMS, f32)
        tiles = (k.shape[1] + OWN - 1) // OWN
        k0, g, b = item % tiles * OWN, item // tiles % groups, item // tiles // groups
        keys_side(base_of(), of_keys, of_values, dout, lse, delta, q, k, v, mask, groups, scale, causal, window, b, g,
                  g, g, k0, thread)  # fmt: skip
        write(of_keys, scale, dk, b, k0, g, thread, add_dk)
        write(of_values, ONE, dv, b, k0, g, thread, add_dv)

    def packed_attention_gradient(item, thread, dout, lse, delta, qkv, mask, groups, scale, causal, window, dqkv, add_dqkv):
        """A block for 64 rows of a head of queries, or of a head of keys and that of values."""
        of_keys, of_values = cuda.local.array(SUMS, f32), cuda.local.array(SUMS, f32)
        T, A, H = qkv.shape[1], qkv.shape[2], dout.shape[2]
        tiles = (T + OWN - 1) // OWN
        row, a, b = item % tiles * OWN, item // tiles % A, item // tiles // A
        if a < H:
            g = a // (H // groups)
            row = (tiles - 1) * OWN - row
            queries_side(base_of(), of_keys, dout, lse, delta, qkv, qkv, qkv, mask, scale, causal, window, b, a, H + g,
                         H + groups + g, row, thread)  # fmt: skip
            write(of_keys, scale, dqkv, b, row, a, thread, add_dqkv)
        elif a < H + groups:
            keys_side(base_of(), of_keys, of_values, dout, lse, delta, qkv, qkv, qkv, mask, groups, scale, causal,
                      window, b, a - H, a, a + groups, row, thread)  # fmt: skip
            write(of_keys, scale, dqkv, b, row, a, thread, add_dqkv)
            write(of_values, ONE, dqkv, b, row, a + groups, thread, add_dqkv)

    return attention_queries, attention_keys_values, packed_attention_gradient
