"""Attention on a GPU in float32: 32 rows of one side against 32 of the other, never more of the scores, as in FlashAttention.

A block of 256 threads owns 32 rows, each of its 8 warps 4 of them; the lanes of a warp stand at 32 rows of the other side.  So the
maximum and sum of a row are shuffles.  Rows pass through shared memory, 64 of their columns at a time; sums stay in registers,
which is enough for heads of 256.

Gradients: blocks that own queries walk over keys, and blocks that own keys walk over queries, so that no two blocks add to one
place, and there are no atomics: equal bits every time.
"""
import numpy as np

from dlcore.compiler.cuda.intrinsics import FULL, cuda, f32, i32, i64, warp_max, warp_sum
from dlcore.compiler.cuda.language import kernel, lowered
from dlcore.compiler.language import call, helper
from dlcore.ops.attention import (
    FLOPS,
    OPTIONS,
    READS,
    cuda_bf16,
    cuda_hopper,
    cuda_mma,
    cuda_paired,
    cuda_rounding,
    cuda_wgmma,
    cuda_wide,
)
from dlcore.ops.attention.cpu import first_key, first_query, keys_end, queries_end
from dlcore.ops.formulas import exp, log

SIDE, WIDTH, OWN = 32, 64, 4            # rows of a block; columns in shared memory at a time; rows of a warp
ZERO, ONE, INF = np.float32(0), np.float32(1), np.float32(np.inf)
GIVEN = f"dout: F[B, T, H, V], lse: F[B, H, T], delta: F[B, H, T], {READS}"
BACK = "groups: i64, scale: f32, causal: i64, window: i64"
NAMES = "dout, lse, delta, q, k, v, mask, groups, scale, causal, window"

call("attention_delta(dout: F[B, T, H, V], out: F[B, T, H, V] -> delta: F[B, H, T])", over="B * H * T", flops="2 * B * T * H * V")
call(f"attention_queries({GIVEN}, {BACK} -> +dq: F[B, T, A, D])", over="B * A", flops=f"3 * {FLOPS}")
call(f"attention_keys({GIVEN}, {BACK} -> +dk: F[B, S, E, D])", over="B * E", flops=f"3 * {FLOPS}")
call(f"attention_values({GIVEN}, {BACK} -> +dv: F[B, S, L, V])", over="B * L", flops=f"2 * {FLOPS}")
call("packed_attention_gradient(dout: F[B, T, H, D], lse: F[B, H, T], delta: F[B, H, T], qkv: F[B, T, A, D], mask: F[B, T]?,"
     f" {BACK} -> +dqkv: F[B, T, A, D])", over="B * A", flops="16 * B * T * T * H * D")
lowered("attention_backward", "attention_delta(dout, out -> delta)", f"attention_queries({NAMES} -> dq)",
        f"attention_keys({NAMES} -> dk)", f"attention_values({NAMES} -> dv)")
lowered("packed_attention_backward", "attention_delta(dout, out -> delta)",
        "packed_attention_gradient(dout, lse, delta, qkv, mask, groups, scale, causal, window -> dqkv)")


# ---- pieces ------------------------------------------------------------------------------------------------------
@helper
def visible(mask, b, i, j, T, S, causal, window):
    """Does query i see key j?"""
    at = i + S - T
    seen = i < T and j < S and (causal == 0 or j <= at) and (window == 0 or (at - j < window and j - at < window))
    return seen and (mask.shape[0] == 0 or mask[b, j if j < S else 0] != ZERO)


@helper
def take(tile, source, b, row, head, column, thread):
    """tile = 32 rows and 64 columns of source[b, row:, head, column:]; 0 beyond the edges."""
    d, first = thread & 63, thread >> 6
    for i in range(first, SIDE, 4):
        inside = row + i < source.shape[1] and column + d < source.shape[3]
        tile[i, d] = source[b, row + i, head, column + d] if inside else ZERO


@helper
def dots(s, left, right, own, own_row, own_head, other, other_row, other_head, b, thread):
    """s[r] = own row (4 warp + r) times other row (lane)."""
    warp, lane = thread >> 5, thread & 31
    for r in range(OWN):
        s[r] = ZERO
    for column in range(0, own.shape[3], WIDTH):
        cuda.syncthreads()
        take(left, own, b, own_row, own_head, column, thread)
        take(right, other, b, other_row, other_head, column, thread)
        cuda.syncthreads()
        for d in range(min(i64(WIDTH), own.shape[3] - column)):
            y = right[lane, d]
            for r in range(OWN):
                s[r] += left[OWN * warp + r, d] * y


@helper
def weigh_columns(acc, c, s, tile, other, row, head, b, thread):
    """Columns 64 c to 64 c + 63 of `weigh`."""
    lane = thread & 31
    cuda.syncthreads()
    take(tile, other, b, row, head, c * WIDTH, thread)
    cuda.syncthreads()
    for j in range(SIDE):
        y, z = tile[j, lane], tile[j, lane + 32]
        for r in range(OWN):
            p = cuda.shfl_sync(FULL, s[r], i32(j))
            acc[r, 2 * c] += p * y
            acc[r, 2 * c + 1] += p * z


@helper
def weigh(acc, s, tile, other, row, head, b, thread):
    """acc[r] += the sum over lanes j of s[r] there times other row j; column 64 c + 32 h + lane is acc[r, 2 c + h].  Spelt out,
    so that acc stays in registers."""
    width = other.shape[3]
    weigh_columns(acc, 0, s, tile, other, row, head, b, thread)
    if width > 64:
        weigh_columns(acc, 1, s, tile, other, row, head, b, thread)
    if width > 128:
        weigh_columns(acc, 2, s, tile, other, row, head, b, thread)
    if width > 192:
        weigh_columns(acc, 3, s, tile, other, row, head, b, thread)


@helper
def clear(acc):
    for r in range(OWN):
        for c in range(8):
            acc[r, c] = ZERO


@helper
def write(acc, r, factor, out, b, row, head, lane, add):
    """The row of acc, times a factor, into out[b, row, head]."""
    for c in range(8):
        d = 32 * c + lane
        if d < out.shape[3]:
            out[b, row, head, d] = acc[r, c] * factor + (out[b, row, head, d] if add else ZERO)


@helper
def write_rows(acc, out, b, row, head, thread, add):
    for r in range(OWN):
        i = row + OWN * (thread >> 5) + r
        if i < out.shape[1]:
            write(acc, r, ONE, out, b, i, head, (thread & 31), add)


# ---- forward -----------------------------------------------------------------------------------------------------
@helper
def soften(s, acc, tops, totals, mask, b, q0, k0, T, S, scale, causal, window, thread):
    """Scores become exp(scale s - top); what older sums are multiplied by reaches acc and totals."""
    for r in range(OWN):
        i, j = q0 + OWN * (thread >> 5) + r, k0 + (thread & 31)
        x = s[r] * scale if visible(mask, b, i, j, T, S, causal, window) else -INF
        top = warp_max(x)
        top = top if top > tops[r] else tops[r]
        shift = top if top > -INF else ZERO
        p, news = exp(x - shift), exp(tops[r] - shift)
        totals[r] = totals[r] * news + warp_sum(p)
        s[r], tops[r] = p, top
        for c in range(8):
            acc[r, c] *= news


@kernel(blocks="B * H * ceil(T / 32)")
def attention_forward(item, thread, q, k, v, mask, k_head, v_head, groups, scale, causal, window, out, lse):
    left, right = cuda.shared.array((32, 65), f32), cuda.shared.array((32, 65), f32)
    s, tops, totals = cuda.local.array(4, f32), cuda.local.array(4, f32), cuda.local.array(4, f32)
    acc = cuda.local.array((4, 8), f32)
    T, S, H = q.shape[1], k.shape[1], out.shape[2]
    tiles = (T + SIDE - 1) // SIDE
    q0, h, b = item % tiles * SIDE, item // tiles % H, item // tiles // H
    g, warp, lane = h // (H // groups), thread >> 5, thread & 31
    clear(acc)
    for r in range(OWN):
        tops[r], totals[r] = -INF, ZERO
    begin = max(first_key(q0, S - T, causal, window), 0) // SIDE * SIDE
    for k0 in range(begin, keys_end(min(q0 + SIDE, T), S, S - T, causal, window), SIDE):
        dots(s, left, right, q, q0, h, k, k0, k_head + g, b, thread)
        soften(s, acc, tops, totals, mask, b, q0, k0, T, S, scale, causal, window, thread)
        weigh(acc, s, right, v, k0, v_head + g, b, thread)
    for r in range(OWN):
        i = q0 + OWN * warp + r
        if i < T:
            seen = totals[r] != ZERO
            write(acc, r, ONE / totals[r] if seen else ZERO, out, b, i, h, lane, False)
            if lane == 0:
                lse[b, h, i] = tops[r] + log(totals[r]) if seen else ZERO


# ---- backward ----------------------------------------------------------------------------------------------------
@kernel(warps="B * H * T")
def attention_delta(item, lane, dout, out, delta):
    T, H = dout.shape[1], dout.shape[2]
    i, h, b, total = item % T, item // T % H, item // T // H, ZERO
    for d in range(lane, out.shape[3], 32):
        total += dout[b, i, h, d] * out[b, i, h, d]
    total = warp_sum(total)
    if lane == 0:
        delta[b, h, i] = total


@helper
def queries_side(acc, left, right, dout, lse, delta, q, k, v, mask, scale, causal, window, b, h, k_head, v_head, q0, thread):
    """acc = the gradient of queries q0 and on of head h."""
    s, d = cuda.local.array(4, f32), cuda.local.array(4, f32)
    T, S = q.shape[1], k.shape[1]
    clear(acc)
    begin = max(first_key(q0, S - T, causal, window), 0) // SIDE * SIDE
    for k0 in range(begin, keys_end(min(q0 + SIDE, T), S, S - T, causal, window), SIDE):
        dots(s, left, right, q, q0, h, k, k0, k_head, b, thread)
        dots(d, left, right, dout, q0, h, v, k0, v_head, b, thread)
        for r in range(OWN):
            i, j = q0 + OWN * (thread >> 5) + r, k0 + (thread & 31)
            if visible(mask, b, i, j, T, S, causal, window):
                s[r] = exp(s[r] * scale - lse[b, h, i]) * (d[r] - delta[b, h, i]) * scale
            else:
                s[r] = ZERO
        weigh(acc, s, right, k, k0, k_head, b, thread)


@helper
def keys_side(acc, left, right, dout, lse, delta, q, k, v, mask, groups, scale, causal, window, b, g, k_head, v_head, k0, of_keys,
              thread):
    """acc = the gradient of keys k0 and on of group g, or, unless `of_keys`, of the values there."""
    s, d = cuda.local.array(4, f32), cuda.local.array(4, f32)
    T, S, share = q.shape[1], k.shape[1], dout.shape[2] // groups
    clear(acc)
    begin = max(first_query(k0, S - T, causal, window), 0) // SIDE * SIDE
    end = queries_end(min(k0 + SIDE, S), T, S - T, causal, window)
    for h in range(g * share, g * share + share):
        for q0 in range(begin, end, SIDE):
            dots(s, left, right, k, k0, k_head, q, q0, h, b, thread)
            if of_keys:
                dots(d, left, right, v, k0, v_head, dout, q0, h, b, thread)
            for r in range(OWN):
                i, j = q0 + (thread & 31), k0 + OWN * (thread >> 5) + r
                if visible(mask, b, i, j, T, S, causal, window):
                    p = exp(s[r] * scale - lse[b, h, i])
                    s[r] = p * (d[r] - delta[b, h, i]) * scale if of_keys else p
                else:
                    s[r] = ZERO
            if of_keys:
                weigh(acc, s, right, q, q0, h, b, thread)
            else:
                weigh(acc, s, right, dout, q0, h, b, thread)


@kernel(blocks="B * A * ceil(T / 32)")
def attention_queries(item, thread, dout, lse, delta, q, k, v, mask, groups, scale, causal, window, dq, add_dq):
    left, right = cuda.shared.array((32, 65), f32), cuda.shared.array((32, 65), f32)
    acc = cuda.local.array((4, 8), f32)
    tiles, H = (q.shape[1] + SIDE - 1) // SIDE, dout.shape[2]
    q0, h, b = item % tiles * SIDE, item // tiles % H, item // tiles // H
    g = h // (H // groups)
    queries_side(acc, left, right, dout, lse, delta, q, k, v, mask, scale, causal, window, b, h, g, g, q0, thread)
    write_rows(acc, dq, b, q0, h, thread, add_dq)


@kernel(blocks="B * E * ceil(S / 32)")
def attention_keys(item, thread, dout, lse, delta, q, k, v, mask, groups, scale, causal, window, dk, add_dk):
    left, right = cuda.shared.array((32, 65), f32), cuda.shared.array((32, 65), f32)
    acc = cuda.local.array((4, 8), f32)
    tiles = (k.shape[1] + SIDE - 1) // SIDE
    k0, g, b = item % tiles * SIDE, item // tiles % groups, item // tiles // groups
    keys_side(acc, left, right, dout, lse, delta, q, k, v, mask, groups, scale, causal, window, b, g, g, g, k0, True, thread)
    write_rows(acc, dk, b, k0, g, thread, add_dk)


@kernel(blocks="B * L * ceil(S / 32)")
def attention_values(item, thread, dout, lse, delta, q, k, v, mask, groups, scale, causal, window, dv, add_dv):
    left, right = cuda.shared.array((32, 65), f32), cuda.shared.array((32, 65), f32)
    acc = cuda.local.array((4, 8), f32)
    tiles = (k.shape[1] + SIDE - 1) // SIDE
    k0, g, b = item % tiles * SIDE, item // tiles % groups, item // tiles // groups
    keys_side(acc, left, right, dout, lse, delta, q, k, v, mask, groups, scale, causal, window, b, g, g, g, k0, False, thread)
    write_rows(acc, dv, b, k0, g, thread, add_dv)


@kernel(blocks="B * A * ceil(T / 32)")
def packed_attention_gradient(item, thread, dout, lse, delta, qkv, mask, groups, scale, causal, window, dqkv, add_dqkv):
    """A block for 32 rows of a head: of queries, of keys or of values."""
    left, right = cuda.shared.array((32, 65), f32), cuda.shared.array((32, 65), f32)
    acc = cuda.local.array((4, 8), f32)
    T, A, H = qkv.shape[1], qkv.shape[2], dout.shape[2]
    tiles = (T + SIDE - 1) // SIDE
    row, a, b = item % tiles * SIDE, item // tiles % A, item // tiles // A
    if a < H:
        g = a // (H // groups)
        queries_side(acc, left, right, dout, lse, delta, qkv, qkv, qkv, mask, scale, causal, window, b, a, H + g, H + groups + g,
                     row, thread)
    else:
        of_keys = a < H + groups
        g = a - H if of_keys else a - H - groups
        keys_side(acc, left, right, dout, lse, delta, qkv, qkv, qkv, mask, groups, scale, causal, window, b, g, H + g,
                  H + groups + g, row, of_keys, thread)
    write_rows(acc, dqkv, b, row, a, thread, add_dqkv)


# ---- on tensor cores ---------------------------------------------------------------------------------------------
# Heads of other sizes take the kernels above, whose products are float32.  Rows are rounded to bf16 once: forward and backward, and
# queries, keys and values that lie in one array, share what was rounded
for W in (64, 128):
    fits = f"D <= {W} and D % 4 == 0"
    both = fits + f" and V <= {W} and V % 4 == 0"
    rows = f"q: bf16[B, T, A, {W}], k: bf16[B, S, E, {W}], v: bf16[B, S, L, {W}], mask: F[B, S]?"
    given = f"dout: bf16[B, T, H, {W}], lse: F[B, H, T], delta: F[B, H, T]"
    flops = f"{W} * 2 * B * T * S * H"                  # of one product, about
    call(f"round_heads_{W}(x: F[B, T, A, D] -> out: bf16[B, T, A, {W}])", over="B * T * A", flops="B * T * A * D")
    call(f"attention_delta_{W}(dout: F[B, T, H, V], out: F[B, T, H, V] -> delta: F[B, H, T], rounded: bf16[B, T, H, {W}])",
         over="B * H * T", flops="2 * B * T * H * V")
    call(f"attention_forward_{W}({rows}, {OPTIONS} -> out: F[B, T, H, V], lse: F[B, H, T])", over="B * H", flops=f"2 * {flops}")
    call(f"attention_queries_{W}({given}, {rows}, {BACK} -> +dq: F[B, T, A, D])", over="B * A", flops=f"3 * {flops}")
    call(f"attention_keys_values_{W}({given}, {rows}, {BACK} -> +dk: F[B, S, E, D], +dv: F[B, S, L, V])", over="B * E",
         flops=f"4 * {flops}")
    call(f"packed_attention_gradient_{W}({given}, qkv: bf16[B, T, A, {W}], mask: F[B, T]?, {BACK} -> +dqkv: F[B, T, A, D])",
         over="B * A", flops=f"{7 * W} * 2 * B * T * T * H")
    rounded = [f"round_heads_{W}({x} -> {x}_rounded)" for x in "qkv"]
    from_dout = f"attention_delta_{W}(dout, out -> delta, dout_rounded)"
    names = "dout_rounded, lse, delta, q_rounded, k_rounded, v_rounded, mask, groups, scale, causal, window"
    lowered("attention_forward", *rounded, f"attention_forward_{W}(q_rounded, k_rounded, v_rounded, mask, k_head, v_head, groups,"
            " scale, causal, window -> out, lse)", when=both, product="bf16")
    lowered("attention_backward", *rounded, from_dout, f"attention_queries_{W}({names} -> dq)",
            f"attention_keys_values_{W}({names} -> dk, dv)", when=both, product="bf16")
    lowered("packed_attention_backward", f"round_heads_{W}(qkv -> qkv_rounded)", from_dout, f"packed_attention_gradient_{W}("
            "dout_rounded, lse, delta, qkv_rounded, mask, groups, scale, causal, window -> dqkv)", when=fits, product="bf16")
    rounding, delta_and_rounding = cuda_rounding.kernels(W)
    kernel(threads=f"B * T * A * {W // 8}", name=f"round_heads_{W}")(rounding)
    kernel(warps=f"ceil(B * T * H / {256 // W})", name=f"attention_delta_{W}")(delta_and_rounding)
    sides = cuda_bf16.backward(W, cuda_mma.products) if W <= 64 else (cuda_wide.WORDS, cuda_wide.queries_side, cuda_wide.keys_side)
    kernel(blocks="B * H * ceil(T / 128)", block=256, name=f"attention_forward_{W}")(cuda_bf16.forward(W, cuda_mma.products))
    queries, keys_values, packed = cuda_bf16.backward_kernels(W, sides)
    kernel(blocks="B * A * ceil(T / 64)", block=128, name=f"attention_queries_{W}")(queries)
    kernel(blocks="B * E * ceil(S / 64)", block=128, name=f"attention_keys_values_{W}")(keys_values)
    kernel(blocks="B * A * ceil(T / 64)", block=128, name=f"packed_attention_gradient_{W}")(packed)

# The same on Hopper, where a block has more than 48 KiB of shared memory if it asks for them
kernel(blocks="B * H * ceil(T / 128)", name="attention_forward_64", arch="sm_90a", beside=2)(
    cuda_bf16.forward(64, cuda_wgmma.products))
kernel(blocks="B * H * ceil(T / 128)", arch="sm_90a", name="attention_forward_128", shared=cuda_paired.SHARED)(
    cuda_paired.attention_forward)
for W, rows, shared, sides in ((64, 64, 0, cuda_bf16.backward(64, cuda_wgmma.products)),
                               (128, 128, cuda_hopper.SHARED, cuda_hopper.SIDES)):
    queries, keys_values, packed = cuda_bf16.backward_kernels(W, sides, rows)
    how = {"block": 2 * rows, "arch": "sm_90a", "shared": shared}
    kernel(blocks=f"B * A * ceil(T / {rows})", name=f"attention_queries_{W}", **how)(queries)
    kernel(blocks=f"B * E * ceil(S / {rows})", name=f"attention_keys_values_{W}", **how)(keys_values)
    kernel(blocks=f"B * A * ceil(T / {rows})", name=f"packed_attention_gradient_{W}", **how)(packed)
