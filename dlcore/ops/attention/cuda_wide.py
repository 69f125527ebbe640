"""Backward of attention on tensor cores for heads of 65 to 128 columns: fragments of own rows do not fit the registers.

As `cuda_bf16.backward`, but both arrays that a block owns 64 rows of stay in shared memory, and pass through registers anew for
each 32 rows of the two others.
"""

from dlcore.compiler.cuda.intrinsics import cuda, f32, i32, load_matrices, load_matrices_turned, pack_bf16, u32, u64
from dlcore.compiler.cuda.vectors import address_of, copy_16, power_of_2
from dlcore.compiler.language import helper
from dlcore.ops.attention.cpu import first_key, first_query, keys_end, queries_end
from dlcore.ops.attention.cuda_mma import multiply
from dlcore.ops.attention.cuda_pieces import LOG2E, ZERO, await_copies, bounds_of, clear, sees

W, OWN, OTHER = 128, 64, 32             # columns; rows of a block, and at a time
WORDS = (2 * OWN + 2 * OTHER) * W // 2
FIRST, SECOND, THIRD = 2 * W * OWN, 4 * W * OWN, 4 * W * OWN + 2 * W * OTHER    # bytes of the tiles behind the first


@helper
def take(tile, source, b, row, rows, head, thread):
    """`rows` rows of a head into shared memory, in rows of 256 bytes; 0 beyond the last."""
    length, heads, chunk, r = source.shape[1], source.shape[2], thread & 15, thread >> 4
    at = address_of(source) + u64(2) * u64(((b * length + row + r) * heads + head) * W + 8 * chunk)
    place = tile + u32(r * 256) + u32((chunk ^ (r & 7)) << 4)
    for p in range(rows // 8):
        there = row + r + 8 * p < length
        copy_16(place + u32(2048 * p), at if there else u64(0), u32(16) if there else u32(0))
        at += u64(16 * W) * u64(heads)


# A row's bytes begin at a multiple of their number, so the place of 16 bytes is an exclusive or with it: one instruction for each
# address in the place of a register
@helper
def left_rows(tile, row, k, lane):
    """16 rows, columns 16 k and on: the left side of a product."""
    r, half = row + (lane & u32(15)), lane >> u32(4)
    return load_matrices((tile + r * u32(2 * W) + ((half ^ (r & u32(7))) << u32(4))) ^ u32(k << 5))


@helper
def other_rows(tile, row, k, lane):
    """16 rows, columns 16 k and on, of which the products are made: two right sides."""
    r, half = row + (lane & u32(7)) + ((lane >> u32(4)) << u32(3)), (lane >> u32(3)) & u32(1)
    return load_matrices((tile + r * u32(2 * W) + ((half ^ (r & u32(7))) << u32(4))) ^ u32(k << 5))


@helper
def turned_rows(tile, row, j, lane):
    """16 rows to sum over, columns 16 j and on: two right sides."""
    r, half = row + (lane & u32(15)), lane >> u32(4)
    return load_matrices_turned((tile + r * u32(2 * W) + ((half ^ (r & u32(7))) << u32(4))) ^ u32(j << 5))


@helper
def meet(s, own, other, warp, lane):
    """s = own rows times other rows: 16 by 32."""
    clear(s)
    for k in range(W // 16):
        a = left_rows(own, warp * u32(16), k, lane)
        for j in range(OTHER // 16):
            b = other_rows(other, u32(16 * j), k, lane)
            multiply(s, 2 * j, a[0], a[1], a[2], a[3], b[0], b[1])
            multiply(s, 2 * j + 1, a[0], a[1], a[2], a[3], b[2], b[3])


@helper
def weigh(acc, s, tile, lane):
    """acc += the sum over the tile's rows of bf16(s) times these rows."""
    for k in range(OTHER // 16):
        p0, p1 = pack_bf16(s[2 * k, 1], s[2 * k, 0]), pack_bf16(s[2 * k, 3], s[2 * k, 2])
        p2, p3 = pack_bf16(s[2 * k + 1, 1], s[2 * k + 1, 0]), pack_bf16(s[2 * k + 1, 3], s[2 * k + 1, 2])
        for j in range(W // 16):
            b = turned_rows(tile, u32(16 * k), j, lane)
            multiply(acc, 2 * j, p0, p1, p2, p3, b[0], b[1])
            multiply(acc, 2 * j + 1, p0, p1, p2, p3, b[2], b[3])


@helper
def one(s, d, lse, delta, factor):
    """(p, the gradient of the score but for the scale)."""
    p = power_of_2(s * factor - lse * LOG2E)
    return p, p * (d - delta)


@helper
def queries_side(base, acc, dout, lse, delta, q, k, v, mask, scale, causal, window, b, h, k_head, v_head, q0, thread):
    """acc = the gradient of queries q0 and on of head h, but for the scale."""
    s, d = cuda.local.array((4, 4), f32), cuda.local.array((4, 4), f32)
    T, S, lane, warp, factor = q.shape[1], k.shape[1], u32(thread & 31), u32(thread >> 5), scale * LOG2E
    second, third = base + u32(SECOND), base + u32(THIRD)
    i, j, padded = q0 + (thread >> 5) * 16 + ((thread & 31) >> 2), (thread & 3) * 2, mask.shape[0] > 0
    lse_0, lse_1 = lse[b, h, min(i, T - 1)], lse[b, h, min(i + 8, T - 1)]
    delta_0, delta_1 = delta[b, h, min(i, T - 1)], delta[b, h, min(i + 8, T - 1)]
    clear(acc)
    take(base, q, b, q0, OWN, h, thread)
    take(base + u32(FIRST), dout, b, q0, OWN, h, thread)
    begin = max(first_key(q0, S - T, causal, window), 0) // OTHER * OTHER
    for k0 in range(begin, keys_end(min(q0 + OWN, T), S, S - T, causal, window), OTHER):
        take(second, k, b, k0, OTHER, k_head, thread)
        take(third, v, b, k0, OTHER, v_head, thread)
        await_copies()
        cuda.syncthreads()
        meet(s, base, second, warp, lane)
        meet(d, base + u32(FIRST), third, warp, lane)
        bounds = bounds_of(i, k0 + j, T, S, causal, window)
        for n in range(4):
            for r in range(4):
                _, x = one(s[n, r], d[n, r], lse_1 if r > 1 else lse_0, delta_1 if r > 1 else delta_0, factor)
                s[n, r] = x if sees(8 if r > 1 else 0, 8 * n + (r & 1), bounds) else ZERO
        if padded:
            for n in range(4):
                for r in range(4):
                    if mask[b, min(k0 + j + 8 * n + (r & 1), S - 1)] == ZERO:
                        s[n, r] = ZERO
        weigh(acc, s, second, lane)
        cuda.syncthreads()


@helper
def keys_side(base, of_keys, of_values, dout, lse, delta, q, k, v, mask, groups, scale, causal, window, b, g, k_head, v_head, k0,
              thread):  # fmt: skip
    """of_keys, of_values = the gradients of keys, but for the scale, and values k0 and on of group g."""
    s, d = cuda.local.array((4, 4), f32), cuda.local.array((4, 4), f32)
    T, S, share, lane, warp = q.shape[1], k.shape[1], dout.shape[2] // groups, u32(thread & 31), u32(thread >> 5)
    second, third, factor = base + u32(SECOND), base + u32(THIRD), scale * LOG2E
    j, i = k0 + (thread >> 5) * 16 + ((thread & 31) >> 2), (thread & 3) * 2
    kept_0 = kept_1 = True                              # are the thread's two keys no padding?
    if mask.shape[0] > 0:
        kept_0, kept_1 = mask[b, min(j, S - 1)] != ZERO, mask[b, min(j + 8, S - 1)] != ZERO
    clear(of_keys)
    clear(of_values)
    take(base, k, b, k0, OWN, k_head, thread)
    take(base + u32(FIRST), v, b, k0, OWN, v_head, thread)
    begin = max(first_query(k0, S - T, causal, window), 0) // OTHER * OTHER
    end = queries_end(min(k0 + OWN, S), T, S - T, causal, window)
    for h in range(g * share, g * share + share):
        sums, deltas = lse[b, h], delta[b, h]
        for q0 in range(begin, end, OTHER):
            take(second, q, b, q0, OTHER, h, thread)
            take(third, dout, b, q0, OTHER, h, thread)
            await_copies()
            cuda.syncthreads()
            meet(s, base, second, warp, lane)
            meet(d, base + u32(FIRST), third, warp, lane)
            (_, most, least), queries = bounds_of(q0 + i, j, T, S, causal, window), i32(T - q0 - i)
            for n in range(4):
                for c in range(2):
                    here = min(q0 + i + 8 * n + c, T - 1)
                    sum_of_query, delta_of_query = sums[here], deltas[here]
                    for r in (c, c + 2):
                        x, y = one(s[n, r], d[n, r], sum_of_query, delta_of_query, factor)
                        apart = i32((8 if r > 1 else 0) - 8 * n - c)
                        seen = least <= apart <= most and i32(8 * n + c) < queries and (kept_1 if r > 1 else kept_0)
                        s[n, r], d[n, r] = x if seen else ZERO, y if seen else ZERO
            weigh(of_values, s, third, lane)
            weigh(of_keys, d, second, lane)
            cuda.syncthreads()
