"""Attention on the CPU: blocks of queries against blocks of keys, made of the matrix room's tiles.

Scores stand with their queries side by side, [keys, queries]: then the tiles read keys and values as they lie, rows apart by
whatever stride, only queries are turned around (once for a block); and the softmax, its sums and its masks run along the
lanes of a register.  A block of scores stays in the caches.

Threads share heads and blocks of queries (forward), heads, or parts of their keys (backward), cut on a grid of SHARES that
the shape fixes.  Each share has scratch of its own; a run of shares uses that of its first.
"""
import numpy as np

from dlcore.compiler.language import call, constant, helper, kernel, lowered
from dlcore.ops.attention import FEW, FLOPS, OPTIONS, READS, bf16, bf16_backward  # noqa: F401  (the latter register kernels)
from dlcore.ops.attention.seen import (
    BLOCK,
    QUERIES,
    clear,
    first_key,
    first_query,
    greatest,
    hide,
    keys_end,
    prepare_queries,
    queries_end,
    rescale,
)
from dlcore.ops.formulas import exp, log
from dlcore.ops.matmul.cpu import one_tile, transposed
from dlcore.ops.matmul.tiles import ADD

TILE, PANEL, LANES = constant("TILE"), constant("PANEL"), constant("LANES")
SHARES = 32                                 # of the work; each has scratch of its own
KEYS = 264                                  # at most, of a block: a multiple of every level's TILE
BACK_KEYS = 120                             # the same backward
PARTS = 8                                   # of the keys of a head, where heads are few
ZERO, ONE, INF = np.float32(0), np.float32(1), np.float32(np.inf)

WORK = (f"turned: F[{SHARES}, D * 32], scores: F[{SHARES}, {KEYS} * 32], tops: F[{SHARES}, 32], news: F[{SHARES}, 32],"
        f" totals: F[{SHARES}, 32]")
BACK_WORK = (f"turned: F[{SHARES}, D * 128], turned_dout: F[{SHARES}, V * 128], probs: F[{SHARES}, {BACK_KEYS} * 128],"
             f" grads: F[{SHARES}, {BACK_KEYS} * 128], lses: F[{SHARES}, 128], deltas: F[{SHARES}, 128]")
BACK_READS = f"dout: F[B, T, H, V], out: F[B, T, H, V], lse: F[B, H, T], {READS}"
BACK_OPTIONS = "groups: i64, scale: f32, causal: i64, window: i64"
call(f"attention_blocks({READS}, {OPTIONS} -> out: F[B, T, H, V], lse: F[B, H, T]; {WORK})", over=str(SHARES),
     flops=f"2 * {FLOPS}")
call(f"attention_backward_heads({BACK_READS}, {BACK_OPTIONS} -> +dq: F[B, T, A, D], +dk: F[B, S, E, D], +dv: F[B, S, L, V];"
     f" {BACK_WORK})", over=str(SHARES), flops=f"5 * {FLOPS}")
call(f"attention_backward_parts({BACK_READS}, {BACK_OPTIONS} -> parts: F[{PARTS}, B * T * A * D], +dk: F[B, S, E, D],"
     f" +dv: F[B, S, L, V]; {BACK_WORK})", over=str(SHARES), flops=f"5 * {FLOPS}")
call(f"add_attention_parts(parts: F[{PARTS}, B * T * A * D] -> +dq: F[B, T, A, D])", over="B * T")
call("packed_attention_backward_heads(dout: F[B, T, H, V], out: F[B, T, H, V], lse: F[B, H, T], qkv: F[B, T, A, D],"
     f" mask: F[B, T]?, {BACK_OPTIONS} -> +dqkv: F[B, T, A, D]; {BACK_WORK})", over=str(SHARES),
     flops="10 * B * T * T * H * D")

NAMES = "dout, out, lse, q, k, v, mask, groups, scale, causal, window"
lowered("attention_forward", "attention_blocks(q, k, v, mask, k_head, v_head, groups, scale, causal, window -> out, lse)")
lowered("attention_backward", f"attention_backward_heads({NAMES} -> dq, dk, dv)", when=f"B * groups >= {FEW}")
lowered("attention_backward", f"attention_backward_parts({NAMES} -> parts, dk, dv)", "add_attention_parts(parts -> dq)")
lowered("packed_attention_backward",
        "packed_attention_backward_heads(dout, out, lse, qkv, mask, groups, scale, causal, window -> dqkv)")


# ---- pieces ------------------------------------------------------------------------------------------------------
@helper
def turn(source, b, t, head, n, out, share, width):
    """out[share] = the transpose of source[b, t:t + n, head]: `width` columns, those beyond n being 0."""
    T, A, size = source.shape[1], source.shape[2], source.shape[3]
    row = A * size
    at, base = (b * T + t) * row + head * size, share * out.shape[1]
    for i in range(0, width, LANES):
        whole = size // LANES * LANES if i + LANES <= n else 0
        for d in range(0, whole, LANES):
            transposed(source, at + i * row + d, row, out, base + d * width + i, width)
        for d in range(whole, size):
            for j in range(i, min(i + LANES, width)):
                out[share, d * width + j] = source[b, t + j, head, d] if j < n else ZERO


@helper
def weigh(scores, share, rows, scale, tops, news, totals):
    """Scores become exp(scale score - top); tops and totals of the queries move on.  `news`: what older sums are to be
    multiplied by.  A query that has seen nothing yet has a top of -inf, and 0 stands in for it."""
    greatest(scores, share, rows, news)
    for i in range(QUERIES):
        old, new = tops[share, i], news[share, i] * scale
        new = new if new > old else old
        shift = new if new > -INF else ZERO
        news[share, i] = exp(old - shift)
        totals[share, i] *= news[share, i]
        tops[share, i] = shift
    for k in range(rows):
        for i in range(QUERIES):
            p = exp(scores[share, k * QUERIES + i] * scale - tops[share, i])
            scores[share, k * QUERIES + i] = p
            totals[share, i] += p
    for i in range(QUERIES):
        tops[share, i] = tops[share, i] if totals[share, i] != ZERO else -INF


# ---- forward -----------------------------------------------------------------------------------------------------
@helper
def score_block(k, b, head, k0, k1, turned, scores, share):
    """scores = k[b, k0:k1, head] turned, unscaled."""
    S, E, D = k.shape[1], k.shape[2], k.shape[3]
    at = (b * S + k0) * E * D + head * D
    for i in range(0, k1 - k0, TILE):
        for p in range(0, QUERIES, PANEL):
            one_tile(D, k, at + i * E * D, E * D, 1, turned, share * turned.shape[1] + p, QUERIES, scores,
                     share * scores.shape[1] + i * QUERIES + p, QUERIES, min(TILE, k1 - k0 - i), PANEL, scores, 0, 0)


@helper
def weighted_values(scores, share, v, v_head, k0, k1, out, b, t, h, n, mode):
    """out[b, t:t + n, h] (+)= the transpose of scores, times v[b, k0:k1, v_head]."""
    S, L, V, T, H = v.shape[1], v.shape[2], v.shape[3], out.shape[1], out.shape[2]
    at, out_at = ((b * S + k0) * L + v_head) * V, ((b * T + t) * H + h) * V
    for r in range(0, n, TILE):
        for c in range(0, V, PANEL):
            one_tile(k1 - k0, scores, share * scores.shape[1] + r, 1, QUERIES, v, at + c, L * V, out, out_at + r * H * V + c,
                     H * V, min(TILE, n - r), min(PANEL, V - c), scores, 0, mode)


@kernel
def attention_blocks(q, k, v, mask, k_head, v_head, groups, scale, causal, window, turned, scores, tops, news, totals, out,
                     lse, begin, end):
    B, T, H, S = out.shape[0], out.shape[1], out.shape[2], k.shape[1]
    blocks, share, offset = (T + QUERIES - 1) // QUERIES, begin, S - T
    items = B * H * blocks
    for item in range(items * begin // SHARES, items * end // SHARES):
        j = item % blocks
        b, h, j = item // blocks // H, item // blocks % H, (j // 2 if j % 2 == 0 else blocks - 1 - j // 2)
        g, t = h // (H // groups), j * QUERIES              # blocks of few and of many keys take turns: shares are alike
        n = min(QUERIES, T - t)
        turn(q, b, t, h, n, turned, share, QUERIES)
        for i in range(QUERIES):
            tops[share, i], totals[share, i] = -INF, ZERO
        low, high = max(0, first_key(t, offset, causal, window)), keys_end(t + n, S, offset, causal, window)
        steps = (high - low + KEYS - 1) // KEYS if high > low else 0
        size = ((high - low + steps - 1) // steps + TILE - 1) // TILE * TILE if steps > 0 else 1
        for k0 in range(low, high, size):
            k1 = min(k0 + size, high)
            score_block(k, b, k_head + g, k0, k1, turned, scores, share)
            hide(scores, share, k0, k1, t, offset, causal, window, mask, b)
            weigh(scores, share, k1 - k0, scale, tops, news, totals)
            if k0 > low:
                rescale(out, b, t, h, n, news, share)
            weighted_values(scores, share, v, v_head + g, k0, k1, out, b, t, h, n, ADD if k0 > low else 0)
        for i in range(QUERIES):
            news[share, i] = ONE / totals[share, i] if totals[share, i] != ZERO else ZERO
        rescale(out, b, t, h, n, news, share)
        for i in range(n):
            lse[b, h, t + i] = tops[share, i] + log(totals[share, i]) if totals[share, i] != ZERO else INF


# ---- backward ----------------------------------------------------------------------------------------------------
@helper
def probabilities(probs, grads, share, row, p, first, last, scale, lses, deltas):
    """One row of a tile: scores become probabilities, their gradients those of the scores times scale."""
    at = row * BLOCK + p
    for i in range(PANEL):
        seen = first <= i < last
        prob = exp(probs[share, at + i] * scale - lses[share, p + i])
        grad = prob * (grads[share, at + i] * scale - deltas[share, p + i])
        probs[share, at + i] = prob if seen else ZERO
        grads[share, at + i] = grad if seen else ZERO


@helper
def score_gradients(k, v, mask, b, k_head, v_head, k0, k1, t, n, scale, causal, window, offset, turned, turned_dout, probs,
                    grads, lses, deltas, share):
    """probs = p^T and grads = scale ds^T for keys k0 to k1 and the queries of the block."""
    S, E, D, L, V = k.shape[1], k.shape[2], k.shape[3], v.shape[2], v.shape[3]
    for k2 in range(k0, k1, TILE):
        rows, at = min(TILE, k1 - k2), (k2 - k0) * BLOCK
        low, high = first_query(k2, offset, causal, window) - t, queries_end(k2 + rows, t + n, offset, causal, window) - t
        for p in range(0, n, PANEL):
            if low >= p + PANEL or high <= p:
                for row in range(rows):
                    for i in range(PANEL):
                        probs[share, at + row * BLOCK + p + i] = ZERO
                        grads[share, at + row * BLOCK + p + i] = ZERO
            else:
                one_tile(D, k, ((b * S + k2) * E + k_head) * D, E * D, 1, turned, share * turned.shape[1] + p, BLOCK, probs,
                         share * probs.shape[1] + at + p, BLOCK, rows, PANEL, probs, 0, 0)
                one_tile(V, v, ((b * S + k2) * L + v_head) * V, L * V, 1, turned_dout, share * turned_dout.shape[1] + p,
                         BLOCK, grads, share * grads.shape[1] + at + p, BLOCK, rows, PANEL, grads, 0, 0)
                for row in range(rows):
                    first = first_query(k2 + row, offset, causal, window) - t - p
                    last = queries_end(k2 + row + 1, t + n, offset, causal, window) - t - p
                    if mask.shape[0] > 0 and mask[b, k2 + row] == ZERO:
                        last = 0
                    probabilities(probs, grads, share, k2 - k0 + row, p, first, last, scale, lses, deltas)


@helper
def add_to_keys(a, share, b, k0, k1, t, n, offset, causal, window, source, h, target, head):
    """target[b, k, head] += sum over the block's queries i of a[k, i] source[b, t + i, h], for keys k0 to k1."""
    T, H, C, S, E = source.shape[1], source.shape[2], source.shape[3], target.shape[1], target.shape[2]
    for k2 in range(k0, k1, TILE):
        rows = min(TILE, k1 - k2)
        low = max(0, first_query(k2, offset, causal, window) - t)
        high = min(n, queries_end(k2 + rows, t + n, offset, causal, window) - t)
        if low < high:
            a_at, at = share * a.shape[1] + (k2 - k0) * BLOCK + low, ((b * T + t + low) * H + h) * C
            for c in range(0, C, PANEL):
                one_tile(high - low, a, a_at, BLOCK, 1, source, at + c, H * C, target, ((b * S + k2) * E + head) * C + c, E * C,
                         rows, min(PANEL, C - c), a, 0, ADD)


@helper
def add_to_queries(grads, share, k, b, k_head, k0, k1, t, n, offset, causal, window, dq, at, row):
    """Row i of dq, `row` apart from element `at` on, += sum over keys j of grads[j, i] k[b, j, k_head]."""
    S, E, D = k.shape[1], k.shape[2], k.shape[3]
    for r in range(0, n, TILE):
        rows = min(TILE, n - r)
        low = max(k0, first_key(t + r, offset, causal, window))
        high = min(k1, keys_end(t + r + rows, S, offset, causal, window))
        if low < high:
            for c in range(0, D, PANEL):
                one_tile(high - low, grads, share * grads.shape[1] + (low - k0) * BLOCK + r, 1, BLOCK, k,
                         ((b * S + low) * E + k_head) * D + c, E * D, dq, at + r * row + c, row, rows, min(PANEL, D - c), grads,
                         0, ADD)


@helper
def backward_of_keys(b, h0, h1, s0, s1, dout, out, lse, q, k, v, mask, k_head, v_head, scale, causal, window, turned,
                     turned_dout, probs, grads, lses, deltas, share, dq, dq_at, dk, dk_head, dv, dv_head):
    """What keys s0 to s1 of a head, and query heads h0 to h1, which share it, give to dq, dk and dv.

    Queries of sequence b begin at element dq_at of dq, laid out as in q."""
    T, A, D, S = q.shape[1], q.shape[2], q.shape[3], k.shape[1]
    offset = S - T
    for h in range(h0, h1):
        for t in range(0, T, BLOCK):
            n = min(BLOCK, T - t)
            low = max(s0, first_key(t, offset, causal, window))
            high = min(s1, keys_end(t + n, S, offset, causal, window))
            if low < high:
                turn(q, b, t, h, n, turned, share, BLOCK)
                turn(dout, b, t, h, n, turned_dout, share, BLOCK)
                prepare_queries(dout, out, lse, scale, b, t, h, n, lses, deltas, share)
                steps = (high - low + BACK_KEYS - 1) // BACK_KEYS
                size = ((high - low + steps - 1) // steps + TILE - 1) // TILE * TILE
                for k0 in range(low, high, size):
                    k1 = min(k0 + size, high)
                    score_gradients(k, v, mask, b, k_head, v_head, k0, k1, t, n, scale, causal, window, offset, turned,
                                    turned_dout, probs, grads, lses, deltas, share)
                    add_to_keys(probs, share, b, k0, k1, t, n, offset, causal, window, dout, h, dv, dv_head)
                    add_to_keys(grads, share, b, k0, k1, t, n, offset, causal, window, q, h, dk, dk_head)
                    add_to_queries(grads, share, k, b, k_head, k0, k1, t, n, offset, causal, window, dq,
                                   dq_at + (t * A + h) * D, A * D)


@kernel
def attention_backward_heads(dout, out, lse, q, k, v, mask, groups, scale, causal, window, turned, turned_dout, probs, grads,
                             lses, deltas, dq, dk, dv, begin, end, add_dq, add_dk, add_dv):
    T, A, D, S, items = q.shape[1], q.shape[2], q.shape[3], k.shape[1], q.shape[0] * groups
    for item in range(items * begin // SHARES, items * end // SHARES):
        b, g = item // groups, item % groups
        h0, h1 = A // groups * g, A // groups * (g + 1)
        if not add_dq:
            clear(dq, b, 0, T, h0, h1)
        if not add_dk:
            clear(dk, b, 0, S, g, g + 1)
        if not add_dv:
            clear(dv, b, 0, S, g, g + 1)
        backward_of_keys(b, h0, h1, 0, S, dout, out, lse, q, k, v, mask, g, g, scale, causal, window, turned, turned_dout,
                         probs, grads, lses, deltas, begin, dq, b * T * A * D, dk, g, dv, g)


@kernel
def packed_attention_backward_heads(dout, out, lse, qkv, mask, groups, scale, causal, window, turned, turned_dout, probs,
                                    grads, lses, deltas, dqkv, begin, end, add_dqkv):
    T, A, D, H, items = qkv.shape[1], qkv.shape[2], qkv.shape[3], dout.shape[2], qkv.shape[0] * groups
    for item in range(items * begin // SHARES, items * end // SHARES):
        b, g = item // groups, item % groups
        h0, h1, k_head, v_head = H // groups * g, H // groups * (g + 1), H + g, H + groups + g
        if not add_dqkv:
            clear(dqkv, b, 0, T, h0, h1)
            clear(dqkv, b, 0, T, k_head, k_head + 1)
            clear(dqkv, b, 0, T, v_head, v_head + 1)
        backward_of_keys(b, h0, h1, 0, T, dout, out, lse, qkv, qkv, qkv, mask, k_head, v_head, scale, causal, window, turned,
                         turned_dout, probs, grads, lses, deltas, begin, dqkv, b * T * A * D, dqkv, k_head, dqkv, v_head)


@kernel
def attention_backward_parts(dout, out, lse, q, k, v, mask, groups, scale, causal, window, turned, turned_dout, probs, grads,
                             lses, deltas, parts, dk, dv, begin, end, add_dk, add_dv):
    """Few heads: their keys are shared out too, and each part of them has a dq of its own."""
    (B, T, A, D), S, items = q.shape, k.shape[1], q.shape[0] * groups * PARTS
    for item in range(items * begin // SHARES, items * end // SHARES):
        b, g, part = item // PARTS // groups, item // PARTS % groups, item % PARTS
        part = part // 2 if part % 2 == 0 else PARTS - 1 - part // 2
        h0, h1, s0, s1 = A // groups * g, A // groups * (g + 1), S * part // PARTS, S * (part + 1) // PARTS
        for t in range(T):
            at = (b * T + t) * A * D
            for d in range(h0 * D, h1 * D):
                parts[part, at + d] = ZERO
        if not add_dk:
            clear(dk, b, s0, s1, g, g + 1)
        if not add_dv:
            clear(dv, b, s0, s1, g, g + 1)
        backward_of_keys(b, h0, h1, s0, s1, dout, out, lse, q, k, v, mask, g, g, scale, causal, window, turned, turned_dout,
                         probs, grads, lses, deltas, begin, parts, (part * B + b) * T * A * D, dk, g, dv, g)


@kernel
def add_attention_parts(parts, dq, begin, end, add_dq):
    T, A, D = dq.shape[1], dq.shape[2], dq.shape[3]
    for row in range(begin, end):
        b, t = row // T, row % T
        for h in range(A):
            at = (row * A + h) * D
            for d in range(D):
                total = ZERO
                for part in range(PARTS):
                    total += parts[part, at + d]
                dq[b, t, h, d] = total + (dq[b, t, h, d] if add_dq else ZERO)
