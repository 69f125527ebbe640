"""Attention on tensor cores: bf16 products, float32 sums and softmax, as in FlashAttention-2 (Dao, 2023), for heads of at most 128.

Rows are float32 in memory and are rounded to bf16 on their way into shared memory, where 16 bytes lie at place c ^ (row % 8) of
their row: the eight rows that `ldmatrix` reads meet in no bank.  `W` is 64 or 128, the columns that a row has there.

Forward: a block of 8 warps owns 128 queries, each warp 16, whose fragments stay in registers; 64 keys and values at a time pass
(32 of wide heads) pass through shared memory.  While scores are multiplied the values are on their way, and while values are,
the next keys.
Backward: a block of 4 warps owns 64 rows of two arrays, each warp 16, and walks over 32 rows at a time of two others: queries and
dout over keys and values, or keys and values over queries and dout.  Nothing is added by atomics.
"""
import numpy as np

from dlcore.compiler.cuda.intrinsics import (
    FULL,
    cuda,
    f32,
    i32,
    i64,
    load_matrices,
    load_matrices_turned,
    mma_bf16,
    pack_bf16,
    shared_address,
    store_shared_2,
    u32,
    u64,
)
from dlcore.compiler.cuda.vectors import address_of, load_2, load_4, power_of_2, store_2
from dlcore.compiler.language import helper
from dlcore.ops.attention.cpu import first_key, first_query, keys_end, queries_end
from dlcore.ops.formulas import log

ZERO, ONE, INF = np.float32(0), np.float32(1), np.float32(np.inf)
LOG2E = np.float32(1.4426950408889634)
OWN, OTHER = 64, 32                     # rows of a block in backward, and at a time there
FAR = 1 << 30


@helper
def limits_of(i, j, T, S, causal, window):
    """For queries i and on and keys j and on: how many of each there are, and between which numbers key minus query may lie, both
    counted from i and j.  In 32 bits, so that a look costs four comparisons with numbers that are known when this is compiled."""
    at = j - i - S + T
    most, least = -at if causal else i64(FAR), -i64(FAR)
    if window > 0:
        most, least = min(most, window - 1 - at), 1 - window - at
    return i32(T - i), i32(S - j), i32(most), i32(least)


@helper
def sees(x, y, limits):
    """Does query i + x see key j + y, padding aside?"""
    return i32(x) < limits[0] and i32(y) < limits[1] and i32(y - x) <= limits[2] and i32(y - x) >= limits[3]


@helper
def all_seen(mask, q0, q1, k0, k1, T, S, causal, window):
    """Do queries q0 to q1 - 1 see all keys k0 to k1 - 1, without a look at each?"""
    return q1 <= T and k1 <= S and (causal == 0 or k1 - 1 <= q0 + S - T) and window == 0 and mask.shape[0] == 0


@helper
def pairs_written(out, b, row, head, column, x, y, add):
    """Two neighbours of out[b, row, head], or onto what is there."""
    rows, heads, width = out.shape[1], out.shape[2], out.shape[3]
    if row < rows and column < width:
        at = address_of(out) + u64(4) * u64(((b * rows + row) * heads + head) * width + column)
        if add:
            old = load_2(at)
            x, y = x + old[0], y + old[1]
        store_2(at, x, y)


def loader(W, rows, threads):
    """(fetch, put): `rows` rows of a head into registers, pre[pieces, 4], and from there into shared memory."""
    QUADS = W // 4
    STEP = threads // QUADS                             # rows between two pieces of a thread
    PIECES = rows // STEP

    @helper
    def fetch(pre, source, b, row, head, thread):
        length, heads, width = source.shape[1], source.shape[2], source.shape[3]
        column, first = (thread & (QUADS - 1)) * 4, row + thread // QUADS
        at = address_of(source) + u64(4) * u64(((b * length + first) * heads + head) * width + column)
        stride = u64(4 * STEP) * u64(heads * width)
        for p in range(PIECES):
            x = (ZERO, ZERO, ZERO, ZERO)
            if first + STEP * p < length and column < width:
                x = load_4(at)
            at += stride
            pre[p, 0], pre[p, 1], pre[p, 2], pre[p, 3] = x[0], x[1], x[2], x[3]

    @helper
    def put(pre, tile, thread):
        chunk, half = u32(thread & (QUADS - 1)) >> u32(1), u32(thread & 1) * u32(8)
        first = u32(thread // QUADS)
        for p in range(PIECES):
            r = first + u32(STEP * p)
            at = tile + r * u32(2 * W) + ((chunk ^ (r & u32(7))) << u32(4)) + half
            store_shared_2(at, pack_bf16(pre[p, 1], pre[p, 0]), pack_bf16(pre[p, 3], pre[p, 2]))

    return fetch, put, (PIECES, 4)


def pieces(W):
    """(clear, own_rows, other_rows, turned_rows): addresses of fragments, for rows of W columns."""

    @helper
    def clear(acc):
        for j in range(W // 8):
            for r in range(4):
                acc[j, r] = ZERO

    # A row's bytes begin at a multiple of their number, so the place of 16 bytes is an exclusive or with it: one instruction for
    # each address in the place of a register
    @helper
    def own_rows(tile, row, k, lane):
        """16 rows, columns 16 k and on: the left side of a product."""
        r, half = row + (lane & u32(15)), lane >> u32(4)
        return load_matrices((tile + r * u32(2 * W) + ((half ^ (r & u32(7))) << u32(4))) ^ (k << u32(5)))

    @helper
    def other_rows(tile, row, k, lane):
        """16 rows, columns 16 k and on, of which the products are made: two right sides."""
        r, half = row + (lane & u32(7)) + ((lane >> u32(4)) << u32(3)), (lane >> u32(3)) & u32(1)
        return load_matrices((tile + r * u32(2 * W) + ((half ^ (r & u32(7))) << u32(4))) ^ (k << u32(5)))

    @helper
    def turned_rows(tile, row, j, lane):
        """16 rows to sum over, columns 16 j and on: two right sides."""
        r, half = row + (lane & u32(15)), lane >> u32(4)
        return load_matrices_turned((tile + r * u32(2 * W) + ((half ^ (r & u32(7))) << u32(4))) ^ (j << u32(5)))

    return clear, own_rows, other_rows, turned_rows


@helper
def multiply(acc, j, a0, a1, a2, a3, b0, b1):
    d = mma_bf16(a0, a1, a2, a3, b0, b1, acc[j, 0], acc[j, 1], acc[j, 2], acc[j, 3])
    acc[j, 0], acc[j, 1], acc[j, 2], acc[j, 3] = d[0], d[1], d[2], d[3]


@helper
def over_four(x):
    """The sum over the four lanes that share a row."""
    x += cuda.shfl_xor_sync(FULL, x, i32(1))
    return x + cuda.shfl_xor_sync(FULL, x, i32(2))


@helper
def greatest_of_four(x):
    y = cuda.shfl_xor_sync(FULL, x, i32(1))
    x = y if y > x else x
    y = cuda.shfl_xor_sync(FULL, x, i32(2))
    return y if y > x else x


def weighing(W, rows):
    """acc += the sum over `rows` rows of bf16(s), as products left it, times these rows."""
    _, _, _, turned_rows = pieces(W)

    @helper
    def weigh(acc, s, tile, lane):
        for k in range(rows // 16):
            p0, p1 = pack_bf16(s[2 * k, 1], s[2 * k, 0]), pack_bf16(s[2 * k, 3], s[2 * k, 2])
            p2, p3 = pack_bf16(s[2 * k + 1, 1], s[2 * k + 1, 0]), pack_bf16(s[2 * k + 1, 3], s[2 * k + 1, 2])
            for j in range(W // 16):
                b = turned_rows(tile, u32(16 * k), u32(j), lane)
                multiply(acc, 2 * j, p0, p1, p2, p3, b[0], b[1])
                multiply(acc, 2 * j + 1, p0, p1, p2, p3, b[2], b[3])

    return weigh


def forward(W):
    """The kernel of attention_forward for heads of at most W columns."""
    clear, own_rows, other_rows, _ = pieces(W)
    KEYS = 4096 // W                                    # at a time: more do not fit the registers
    fetch, put, FETCHED = loader(W, KEYS, 256)
    weigh = weighing(W, KEYS)
    STEPS, HALF, GROUPS = W // 16, KEYS * 2 * W, KEYS // 8      # products along the columns; bytes of a tile; of 8 keys
    WORDS, SUMS, FRAGMENTS, SCORES = 128 * 2 * W // 4, (W // 8, 4), (STEPS, 4), (GROUPS, 4)

    @helper
    def scores(s, own, tile, lane):
        for j in range(GROUPS):
            for r in range(4):
                s[j, r] = ZERO
        for k in range(STEPS):
            for j in range(GROUPS // 2):
                b = other_rows(tile, u32(16 * j), u32(k), lane)
                multiply(s, 2 * j, own[k, 0], own[k, 1], own[k, 2], own[k, 3], b[0], b[1])
                multiply(s, 2 * j + 1, own[k, 0], own[k, 1], own[k, 2], own[k, 3], b[2], b[3])

    @helper
    def hide(s, mask, b, i, j, T, S, causal, window):
        """Scores of keys that are not seen become -inf; i: of this thread's first row, j: of its first column."""
        limits, padded = limits_of(i, j, T, S, causal, window), mask.shape[0] > 0
        for n in range(GROUPS):
            for r in range(4):
                if not sees(8 if r > 1 else 0, 8 * n + (r & 1), limits):
                    s[n, r] = -INF
                elif padded:
                    if mask[b, j + 8 * n + (r & 1)] == ZERO:
                        s[n, r] = -INF

    @helper
    def soften(s, acc, row, top, total, factor):
        """Row 0 or 1 of a thread: scores become exp(scale (s - top)); returns the new (top, total)."""
        most = top
        for j in range(GROUPS):
            x, y = s[j, 2 * row], s[j, 2 * row + 1]
            most = x if x > most else most
            most = y if y > most else most
        most = greatest_of_four(most)
        shift = most * factor if most > -INF else ZERO
        old = power_of_2(top * factor - shift)
        total *= old
        for j in range(GROUPS):
            x, y = power_of_2(s[j, 2 * row] * factor - shift), power_of_2(s[j, 2 * row + 1] * factor - shift)
            s[j, 2 * row], s[j, 2 * row + 1] = x, y
            total += x + y
        for j in range(W // 8):
            acc[j, 2 * row] *= old
            acc[j, 2 * row + 1] *= old
        return most, total

    @helper
    def finish(acc, row, top, total, scale, out, lse, b, i, h, lane):
        """Row 0 or 1 of a thread into out and lse."""
        total = over_four(total)
        seen = total != ZERO
        factor = ONE / total if seen else ZERO
        for j in range(W // 8):
            pairs_written(out, b, i, h, 8 * j + (lane & 3) * 2, acc[j, 2 * row] * factor, acc[j, 2 * row + 1] * factor, False)
        if i < out.shape[1] and lane & 3 == 0:
            lse[b, h, i] = top * scale + log(total) if seen else ZERO

    def attention_forward(item, thread, q, k, v, mask, k_head, v_head, groups, scale, causal, window, out, lse):
        shared = cuda.shared.array(WORDS, u32, alignment=256)
        keys = shared_address(shared)
        values = keys + u32(HALF)                       # the queries pass through the memory of both, and more
        T, S, H = q.shape[1], k.shape[1], out.shape[2]
        tiles = (T + 127) // 128
        q0, h, b = (tiles - 1 - item % tiles) * 128, item // tiles % H, item // tiles // H      # the longest first
        g, lane, warp = h // (H // groups), u32(thread & 31), u32(thread >> 5)
        i, factor = q0 + (thread >> 5) * 16 + ((thread & 31) >> 2), scale * LOG2E
        pre = cuda.local.array(FETCHED, f32)
        own = cuda.local.array(FRAGMENTS, u32)
        acc = cuda.local.array(SUMS, f32)
        s = cuda.local.array(SCORES, f32)
        for n in range(128 // KEYS):
            fetch(pre, q, b, q0 + n * KEYS, h, thread)
            put(pre, keys + u32(n) * u32(HALF), thread)
        cuda.syncthreads()
        for n in range(STEPS):
            x = own_rows(keys, warp * u32(16), u32(n), lane)
            own[n, 0], own[n, 1], own[n, 2], own[n, 3] = x[0], x[1], x[2], x[3]
        clear(acc)
        top_0 = top_1 = -INF
        total_0 = total_1 = ZERO
        begin = max(first_key(q0, S - T, causal, window), 0) // KEYS * KEYS
        end = keys_end(min(q0 + 128, T), S, S - T, causal, window)
        fetch(pre, k, b, begin, k_head + g, thread)
        cuda.syncthreads()
        put(pre, keys, thread)
        cuda.syncthreads()
        for k0 in range(begin, end, KEYS):
            fetch(pre, v, b, k0, v_head + g, thread)
            scores(s, own, keys, lane)
            put(pre, values, thread)
            cuda.syncthreads()
            fetch(pre, k, b, k0 + KEYS, k_head + g, thread)
            if not all_seen(mask, q0, q0 + 128, k0, k0 + KEYS, T, S, causal, window):
                hide(s, mask, b, i, k0 + (thread & 3) * 2, T, S, causal, window)
            top_0, total_0 = soften(s, acc, 0, top_0, total_0, factor)
            top_1, total_1 = soften(s, acc, 1, top_1, total_1, factor)
            weigh(acc, s, values, lane)
            put(pre, keys, thread)
            cuda.syncthreads()
        finish(acc, 0, top_0, total_0, scale, out, lse, b, i, h, thread & 31)
        finish(acc, 1, top_1, total_1, scale, out, lse, b, i + 8, h, thread & 31)

    return attention_forward


def backward(W):
    """(WORDS, queries_side, keys_side, write): words of shared memory, and what a block of 128 threads does for 64 rows."""
    clear, own_rows, other_rows, _ = pieces(W)
    PART = 1024 // W                                    # rows at a time on their way to shared memory: registers are scarce
    fetch, put, FETCHED = loader(W, PART, 128)
    weigh = weighing(W, OTHER)
    STEPS, BYTES = W // 16, 2 * W
    WORDS = (2 * OWN + 2 * OTHER) * BYTES // 4

    @helper
    def take(tile, source, b, row, head, rows, thread):
        pre = cuda.local.array(FETCHED, f32)
        for n in range(0, rows, PART):
            fetch(pre, source, b, row + n, head, thread)
            put(pre, tile + u32(n) * u32(BYTES), thread)

    @helper
    def meet(s, own, other, warp, lane):
        """s = own rows times other rows: 16 by 32."""
        for j in range(4):
            for r in range(4):
                s[j, r] = ZERO
        for k in range(STEPS):
            a = own_rows(own, warp * u32(16), u32(k), lane)
            for j in range(2):
                b = other_rows(other, u32(16 * j), u32(k), lane)
                multiply(s, 2 * j, a[0], a[1], a[2], a[3], b[0], b[1])
                multiply(s, 2 * j + 1, a[0], a[1], a[2], a[3], b[2], b[3])

    @helper
    def one(s, d, lse, delta, scale):
        """(p, the gradient of the score, times scale)."""
        p = power_of_2((s * scale - lse) * LOG2E)
        return p, p * (d - delta) * scale

    @helper
    def queries_side(base, acc, dout, lse, delta, q, k, v, mask, scale, causal, window, b, h, k_head, v_head, q0, thread):
        """acc = the gradient of queries q0 and on of head h."""
        s, d = cuda.local.array((4, 4), f32), cuda.local.array((4, 4), f32)
        T, S, lane, warp = q.shape[1], k.shape[1], u32(thread & 31), u32(thread >> 5)
        first, second = base + u32(OWN * BYTES), base + u32(2 * OWN * BYTES)
        third = second + u32(OTHER * BYTES)
        i, j, padded = q0 + (thread >> 5) * 16 + ((thread & 31) >> 2), (thread & 3) * 2, mask.shape[0] > 0
        lse_0, lse_1 = lse[b, h, min(i, T - 1)], lse[b, h, min(i + 8, T - 1)]
        delta_0, delta_1 = delta[b, h, min(i, T - 1)], delta[b, h, min(i + 8, T - 1)]
        clear(acc)
        take(base, q, b, q0, h, OWN, thread)
        take(first, dout, b, q0, h, OWN, thread)
        begin = max(first_key(q0, S - T, causal, window), 0) // OTHER * OTHER
        for k0 in range(begin, keys_end(min(q0 + OWN, T), S, S - T, causal, window), OTHER):
            take(second, k, b, k0, k_head, OTHER, thread)
            take(third, v, b, k0, v_head, OTHER, thread)
            cuda.syncthreads()
            meet(s, base, second, warp, lane)
            meet(d, first, third, warp, lane)
            limits = limits_of(i, k0 + j, T, S, causal, window)
            for n in range(4):
                for r in range(4):
                    _, x = one(s[n, r], d[n, r], lse_1 if r > 1 else lse_0, delta_1 if r > 1 else delta_0, scale)
                    s[n, r] = x if sees(8 if r > 1 else 0, 8 * n + (r & 1), limits) else ZERO
            if padded:
                for n in range(4):
                    for r in range(4):
                        if mask[b, min(k0 + j + 8 * n + (r & 1), S - 1)] == ZERO:
                            s[n, r] = ZERO
            weigh(acc, s, second, lane)
            cuda.syncthreads()

    @helper
    def keys_side(base, of_keys, of_values, dout, lse, delta, q, k, v, mask, groups, scale, causal, window, b, g, k_head, v_head,
                  k0, thread):  # fmt: skip
        """of_keys, of_values = the gradients of keys and values k0 and on of group g."""
        s, d = cuda.local.array((4, 4), f32), cuda.local.array((4, 4), f32)
        T, S, share, lane, warp = q.shape[1], k.shape[1], dout.shape[2] // groups, u32(thread & 31), u32(thread >> 5)
        first, second = base + u32(OWN * BYTES), base + u32(2 * OWN * BYTES)
        third = second + u32(OTHER * BYTES)
        j, i = k0 + (thread >> 5) * 16 + ((thread & 31) >> 2), (thread & 3) * 2
        kept_0 = kept_1 = True                          # are the thread's two keys no padding?
        if mask.shape[0] > 0:
            kept_0, kept_1 = mask[b, min(j, S - 1)] != ZERO, mask[b, min(j + 8, S - 1)] != ZERO
        clear(of_keys)
        clear(of_values)
        take(base, k, b, k0, k_head, OWN, thread)
        take(first, v, b, k0, v_head, OWN, thread)
        begin = max(first_query(k0, S - T, causal, window), 0) // OTHER * OTHER
        end = queries_end(min(k0 + OWN, S), T, S - T, causal, window)
        for h in range(g * share, g * share + share):
            sums, deltas = lse[b, h], delta[b, h]
            for q0 in range(begin, end, OTHER):
                take(second, q, b, q0, h, OTHER, thread)
                take(third, dout, b, q0, h, OTHER, thread)
                cuda.syncthreads()
                meet(s, base, second, warp, lane)
                meet(d, first, third, warp, lane)
                limits = limits_of(q0 + i, j, T, S, causal, window)
                for n in range(4):
                    for c in range(2):
                        at = min(q0 + i + 8 * n + c, T - 1)
                        sum_of_query, delta_of_query = sums[at], deltas[at]
                        for r in (c, c + 2):
                            p, x = one(s[n, r], d[n, r], sum_of_query, delta_of_query, scale)
                            seen = sees(8 * n + c, 8 if r > 1 else 0, limits) and (kept_1 if r > 1 else kept_0)
                            s[n, r], d[n, r] = p if seen else ZERO, x if seen else ZERO
                weigh(of_values, s, third, lane)
                weigh(of_keys, d, second, lane)
                cuda.syncthreads()

    @helper
    def write(acc, out, b, row, head, thread, add):
        i = row + (thread >> 5) * 16 + ((thread & 31) >> 2)
        for j in range(W // 8):
            column = 8 * j + (thread & 3) * 2
            pairs_written(out, b, i, head, column, acc[j, 0], acc[j, 1], add)
            pairs_written(out, b, i + 8, head, column, acc[j, 2], acc[j, 3], add)

    return WORDS, queries_side, keys_side, write


def backward_kernels(W):
    """The kernels for dq, for dk and dv, and for the three in one array."""
    WORDS, queries_side, keys_side, write = backward(W)
    SUMS = (W // 8, 4)

    def attention_queries(item, thread, dout, lse, delta, q, k, v, mask, groups, scale, causal, window, dq, add_dq):
        shared = cuda.shared.array(WORDS, u32, alignment=256)
        acc = cuda.local.array(SUMS, f32)
        tiles, H = (q.shape[1] + OWN - 1) // OWN, dout.shape[2]
        q0, h, b = (tiles - 1 - item % tiles) * OWN, item // tiles % H, item // tiles // H
        g = h // (H // groups)
        queries_side(shared_address(shared), acc, dout, lse, delta, q, k, v, mask, scale, causal, window, b, h, g, g, q0, thread)
        write(acc, dq, b, q0, h, thread, add_dq)

    def attention_keys_values(item, thread, dout, lse, delta, q, k, v, mask, groups, scale, causal, window, dk, dv, add_dk, add_dv):
        shared = cuda.shared.array(WORDS, u32, alignment=256)
        of_keys, of_values = cuda.local.array(SUMS, f32), cuda.local.array(SUMS, f32)
        tiles = (k.shape[1] + OWN - 1) // OWN
        k0, g, b = item % tiles * OWN, item // tiles % groups, item // tiles // groups
        keys_side(shared_address(shared), of_keys, of_values, dout, lse, delta, q, k, v, mask, groups, scale, causal, window, b, g,
                  g, g, k0, thread)  # fmt: skip
        write(of_keys, dk, b, k0, g, thread, add_dk)
        write(of_values, dv, b, k0, g, thread, add_dv)

    def packed_attention_gradient(item, thread, dout, lse, delta, qkv, mask, groups, scale, causal, window, dqkv, add_dqkv):
        """A block for 64 rows of a head of queries, or of a head of keys and that of values."""
        shared = cuda.shared.array(WORDS, u32, alignment=256)
        of_keys, of_values = cuda.local.array(SUMS, f32), cuda.local.array(SUMS, f32)
        T, A, H = qkv.shape[1], qkv.shape[2], dout.shape[2]
        tiles = (T + OWN - 1) // OWN
        row, a, b = item % tiles * OWN, item // tiles % A, item // tiles // A
        if a < H:
            g = a // (H // groups)
            row = (tiles - 1) * OWN - row
            queries_side(shared_address(shared), of_keys, dout, lse, delta, qkv, qkv, qkv, mask, scale, causal, window, b, a, H + g,
                         H + groups + g, row, thread)  # fmt: skip
            write(of_keys, dqkv, b, row, a, thread, add_dqkv)
        elif a < H + groups:
            keys_side(shared_address(shared), of_keys, of_values, dout, lse, delta, qkv, qkv, qkv, mask, groups, scale, causal,
                      window, b, a - H, a, a + groups, row, thread)  # fmt: skip
            write(of_keys, dqkv, b, row, a, thread, add_dqkv)
            write(of_values, dqkv, b, row, a + groups, thread, add_dqkv)

    return attention_queries, attention_keys_values, packed_attention_gradient
