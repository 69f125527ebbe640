"""Forward of attention on Hopper for heads of 65 to 128 columns: products of two tiles at a time.

As `cuda_bf16.forward`, but the scores of a tile are made beside the product of the weights of the tile before with its values, in
one run of products: while a warpgroup's softmax is computed, those of the other have the tensor cores to themselves (after Shah et
al., FlashAttention-3, 2024, section 3.2).
"""

from dlcore.compiler.cuda.intrinsics import cuda, f32, i32, u32
from dlcore.compiler.language import helper
from dlcore.ops.attention.cpu import first_key, keys_end
from dlcore.ops.attention.cuda_bf16 import KEYS, beginning
from dlcore.ops.attention.cuda_pieces import (
    INF,
    LOG2E,
    ZERO,
    await_copies,
    bounds_of,
    bringer,
    clear,
    finish,
    hide,
    kept_keys,
    own_rows_of,
    packed,
    plain_end,
    soften,
)
from dlcore.ops.attention.cuda_wgmma import paired, products

W = 128
TILE = 2 * W * KEYS                     # bytes
SHARED = 4 * TILE + 1024
FRAGMENTS, SUMS, SCORES, WEIGHTS = (W // 16, 4), (W // 8, 4), (KEYS // 8, 4), (KEYS // 16, 4)
shown, scores, _, weigh, _ = products(W, KEYS)
pair = paired(W, KEYS)
place_of, begun, stride_of, bring = bringer(W, KEYS, 256)
own_rows = own_rows_of(W)
base_of = beginning(0)


def walk(FIRST, PLAIN, ABSENT):
    """A walk over the keys k0 to stop: FIRST where no weights are left of a tile before, PLAIN where all keys are seen, ABSENT
    where none is, and only weights that are left (`owing`) are to be multiplied."""

    @helper
    def steps(k0, stop, end, owing, tiles, keys, values, sums, own, acc, p, mask, b, S, factor, bounds, place, thread):
        (tile, free, held, free_held), (key_at, key_left, key_stride) = tiles, keys
        (value_at, value_left, value_stride), (top_0, top_1, total_0, total_1) = values, sums
        s = cuda.local.array(SCORES, f32)
        while k0 < stop:
            await_copies()
            shown()
            cuda.syncthreads()
            value_at, value_left = bring(free_held + place, value_at, value_left, value_stride)
            if k0 + i32(KEYS) < end:
                key_at, key_left = bring(free + place, key_at, key_left, key_stride)
            if ABSENT:
                if owing:
                    weigh(acc, p, held, thread)
                owing = False
            else:
                if FIRST:
                    scores(s, own, tile, thread)
                else:
                    pair(s, own, tile, acc, p, held)
                if not PLAIN:
                    kept = kept_keys(mask, b, k0, S, thread & 31)
                    here = i32(bounds[0] - k0), i32(bounds[1] - k0), i32(bounds[2] - k0)
                    hide(s, -INF, here, kept, (thread & 3) * 2)
                top_0, total_0 = soften(s, acc, 0, top_0, total_0, factor)
                top_1, total_1 = soften(s, acc, 1, top_1, total_1, factor)
                packed(p, s)
                owing = True
            tile, free, held, free_held = free, tile, free_held, held
            k0 = i32(k0 + i32(KEYS))
        return (k0, owing, (tile, free, held, free_held), (key_at, key_left, key_stride), (value_at, value_left, value_stride),
                (top_0, top_1, total_0, total_1))

    return steps


first_step, plain = walk(True, False, False), walk(False, True, False)
edged, absent = walk(False, False, False), walk(False, False, True)


def attention_forward(item, thread, q, k, v, mask, k_head, v_head, groups, scale, causal, window, out, lse):
    T, S, H = q.shape[1], k.shape[1], out.shape[2]
    tiles = (T + 127) // 128
    q0, h, b = (tiles - 1 - item % tiles) * 128, item // tiles % H, item // tiles // H      # the longest first
    g, first, place = h // (H // groups), q0 + (thread >> 7) * 64, place_of(thread)     # first: of these four warps
    own, p = cuda.local.array(FRAGMENTS, u32), cuda.local.array(WEIGHTS, u32)
    acc = cuda.local.array(SUMS, f32)
    clear(acc)
    for n in range(KEYS // 16):
        for r in range(4):
            p[n, r] = u32(0)
    begin = max(first_key(q0, S - T, causal, window), 0) // KEYS * KEYS
    end = i32(keys_end(min(q0 + 128, T), S, S - T, causal, window))
    last = min(i32(keys_end(min(first + 64, T), S, S - T, causal, window)), end)
    i = q0 + (thread >> 5) * 16 + ((thread & 31) >> 2)
    bounds = bounds_of(i, (thread & 3) * 2, T, S, causal, window)
    at = base_of()
    at = (at, at + u32(TILE), at + u32(2 * TILE), at + u32(3 * TILE))
    (key_at, key_left), (value_at, value_left) = begun(k, b, begin, k_head + g, thread), begun(v, b, begin, v_head + g, thread)
    key_stride, value_stride = stride_of(k), stride_of(v)
    if begin < end:
        key_at, key_left = bring(at[0] + place, key_at, key_left, key_stride)
    own_rows(own, q, b, q0, h, thread)
    keys, values, sums = (key_at, key_left, key_stride), (value_at, value_left, value_stride), (-INF, -INF, ZERO, ZERO)
    k0, factor, clear_end = i32(begin), scale * LOG2E, i32(plain_end(begin, first, S, T, causal, window, mask))
    k0, owing, at, keys, values, sums = first_step(k0, min(i32(begin + 1), last), end, False, at, keys, values, sums, own, acc, p,
                                                   mask, b, S, factor, bounds, place, thread)  # fmt: skip
    k0, owing, at, keys, values, sums = plain(k0, min(clear_end, last), end, owing, at, keys, values, sums, own, acc, p, mask, b, S,
                                              factor, bounds, place, thread)  # fmt: skip
    k0, owing, at, keys, values, sums = edged(k0, last, end, owing, at, keys, values, sums, own, acc, p, mask, b, S, factor, bounds,
                                              place, thread)  # fmt: skip
    k0, owing, at, keys, values, sums = absent(k0, end, end, owing, at, keys, values, sums, own, acc, p, mask, b, S, factor, bounds,
                                               place, thread)  # fmt: skip
    await_copies()
    shown()
    cuda.syncthreads()
    if owing:
        weigh(acc, p, at[2], thread)
    finish(acc, 0, sums[0], sums[2], scale, out, lse, b, i, h, thread & 31)
    finish(acc, 1, sums[1], sums[3], scale, out, lse, b, i + 8, h, thread & 31)
