"""The gradients of attention whose products are of bf16: see `bf16.py`, whose packed arrays these are too.

Probabilities p and gradients of the scores are made in tiles of float32 and rounded to `probs` and `slopes`, a row for each key,
two queries in a word; `turned_slopes` have two keys in a word instead, for the sums over keys.
"""
import numpy as np

from dlcore.compiler.language import call, constant, helper, kernel, lowered
from dlcore.ops.attention import FEW, FLOPS, READS
from dlcore.ops.attention.bf16 import LEAST, SHARES, WD, WV, ask, filled, pack_pairs, pack_rows, pack_turned, product
from dlcore.ops.attention.seen import BLOCK, clear, first_key, first_query, keys_end, prepare_queries, queries_end
from dlcore.ops.formulas import exp
from dlcore.ops.matmul.bf16 import LEVEL, round_row, round_rows
from dlcore.ops.matmul.tiles import ADD

TILE, PANEL, LANES = constant("TILE"), constant("PANEL"), constant("LANES")
PARTS = 8                                   # of the keys of a head, where heads are few
KEYS = 120                                  # at most, of a block: an even multiple of TILE
ZERO = np.float32(0)

WORK = (f"turned: bf16[{SHARES}, 128 * {WD}], turned_dout: bf16[{SHARES}, 128 * {WV}],"
        f" query_pairs: bf16[{SHARES}, 128 * {WD}], dout_pairs: bf16[{SHARES}, 128 * {WV}],"
        f" keys: bf16[{SHARES}, {KEYS} * {WD}], key_pairs: bf16[{SHARES}, {KEYS} * {WD}],"
        f" values: bf16[{SHARES}, {KEYS} * {WV}], scores: F[{SHARES}, TILE * PANEL], grads: F[{SHARES}, TILE * PANEL],"
        f" probs: bf16[{SHARES}, {KEYS} * 128], slopes: bf16[{SHARES}, {KEYS} * 128],"
        f" turned_slopes: bf16[{SHARES}, {KEYS} * 128], lses: F[{SHARES}, 128], deltas: F[{SHARES}, 128]")
FROM_OUT = "dout: F[B, T, H, V], out: F[B, T, H, V], lse: F[B, H, T]"
BACK_OPTIONS = "groups: i64, scale: f32, causal: i64, window: i64"
call(f"attention_backward_heads_bf16({FROM_OUT}, {READS}, {BACK_OPTIONS} -> +dq: F[B, T, A, D], +dk: F[B, S, E, D],"
     f" +dv: F[B, S, L, V]; {WORK})", over=str(SHARES), flops=f"5 * {FLOPS}")
call(f"attention_backward_parts_bf16({FROM_OUT}, {READS}, {BACK_OPTIONS} -> parts: F[{PARTS}, B * T * A * D],"
     f" +dk: F[B, S, E, D], +dv: F[B, S, L, V]; {WORK})", over=str(SHARES), flops=f"5 * {FLOPS}")
call(f"packed_attention_backward_heads_bf16({FROM_OUT}, qkv: F[B, T, A, D], mask: F[B, T]?, {BACK_OPTIONS} -> +dqkv: F[B, T, A, D];"
     f" {WORK})", over=str(SHARES), flops="10 * B * T * T * H * D")

NAMES = "dout, out, lse, q, k, v, mask, groups, scale, causal, window"
lowered("attention_backward", f"attention_backward_heads_bf16({NAMES} -> dq, dk, dv)",
        when=f"D >= {LEAST} and B * groups >= {FEW}", product="bf16")
lowered("attention_backward", f"attention_backward_parts_bf16({NAMES} -> parts, dk, dv)", "add_attention_parts(parts -> dq)",
        when=f"D >= {LEAST} and B * groups < {FEW}", product="bf16")
lowered("packed_attention_backward",
        "packed_attention_backward_heads_bf16(dout, out, lse, qkv, mask, groups, scale, causal, window -> dqkv)",
        when=f"D >= {LEAST}", product="bf16")


@helper
def probabilities(scores, grads, share, row, first, last, scale, lses, deltas, p):
    """One row of a tile: scores become probabilities, their gradients those of the scores times scale."""
    at = row * PANEL
    for i in range(PANEL):
        seen = first <= i < last
        prob = exp(scores[share, at + i] * scale - lses[share, p + i])
        grad = prob * (grads[share, at + i] * scale - deltas[share, p + i])
        scores[share, at + i] = prob if seen else ZERO
        grads[share, at + i] = grad if seen else ZERO


@helper
def round_tile(scores, grads, share, rows, probs, slopes, turned_slopes, at):
    """The tile's probabilities and gradients, rounded: `slopes` are the latter, `turned_slopes` their pairs of keys."""
    base, to = share * scores.shape[1], share * probs.shape[1] + at
    for row in range(rows):
        for i in range(0, PANEL, 2 * LANES):
            round_row(scores, base + row * PANEL + i, PANEL - i, probs, to + row * BLOCK + i)
            round_row(grads, base + row * PANEL + i, PANEL - i, slopes, to + row * BLOCK + i)
    for row in range(0, rows, 2):
        for i in range(0, PANEL, LANES):
            from_at = base + row * PANEL + i
            round_rows(grads, from_at, from_at + PANEL, LANES, LANES if row + 1 < rows else 0, turned_slopes,
                       to + at % BLOCK + row * BLOCK + 2 * i)


@helper
def score_gradients(mask, b, k0, k2, k3, D, V, t, n, scale, causal, window, offset, turned, turned_dout, keys, values, scores,
                    grads, probs, slopes, turned_slopes, lses, deltas, share):
    """probs = p^T and slopes = scale ds^T for keys k2 to k3, of a tile, of those packed from k0 on, and the block's queries."""
    rows, at = k3 - k2, (k2 - k0) * BLOCK
    low, high = first_query(k2, offset, causal, window) - t, queries_end(k3, t + n, offset, causal, window) - t
    keys_at = share * keys.shape[1] + (k2 - k0) * filled(D)
    values_at = share * values.shape[1] + (k2 - k0) * filled(V)
    for p in range(0, n, PANEL):
        if low >= p + PANEL or high <= p:
            for row in range((rows + 1) // 2):
                for i in range(2 * PANEL):
                    turned_slopes[share, at + row * 2 * BLOCK + 2 * p + i] = 0
        else:
            product((D + 1) // 2, keys, keys_at, filled(D), 2, turned, share * turned.shape[1] + p * filled(D), 2 * PANEL, scores,
                    share * scores.shape[1], PANEL, rows, PANEL, 0)
            product((V + 1) // 2, values, values_at, filled(V), 2, turned_dout, share * turned_dout.shape[1] + p * filled(V),
                    2 * PANEL, grads, share * grads.shape[1], PANEL, rows, PANEL, 0)
            for row in range(rows):
                first = first_query(k2 + row, offset, causal, window) - t - p
                last = queries_end(k2 + row + 1, t + n, offset, causal, window) - t - p
                if mask.shape[0] > 0 and mask[b, k2 + row] == ZERO:
                    last = 0
                probabilities(scores, grads, share, row, first, last, scale, lses, deltas, p)
            round_tile(scores, grads, share, rows, probs, slopes, turned_slopes, at + p)


@helper
def add_to_keys(a, k0, k1, t, n, offset, causal, window, source, target, at, row, C, share):
    """Row k of target, `row` apart from element `at` on, += sum over the block's queries i of a[k, i] source[i], C columns."""
    W = filled(C)
    for k2 in range(k0, k1, TILE):
        rows = min(TILE, k1 - k2)
        low = max(0, first_query(k2, offset, causal, window) - t) // 2 * 2
        high = min(n, queries_end(k2 + rows, t + n, offset, causal, window) - t)
        if low < high:
            for c in range(0, C, PANEL):
                product((high - low + 1) // 2, a, share * a.shape[1] + (k2 - k0) * BLOCK + low, BLOCK, 2, source,
                        share * source.shape[1] + low * W + 2 * c, 2 * W, target, at + (k2 - k0) * row + c, row, rows,
                        min(PANEL, C - c), ADD)


@helper
def add_to_queries(a, k0, k1, t, n, offset, causal, window, source, dq, at, row, C, share):
    """Row i of dq, `row` apart from element `at` on, += sum over keys j of a[j, i] source[j], C columns."""
    W = filled(C)
    for r in range(0, n, TILE):
        rows = min(TILE, n - r)
        low = (max(k0, first_key(t + r, offset, causal, window)) - k0) // 2 * 2
        high = keys_end(t + r + rows, k1, offset, causal, window) - k0
        if low < high:
            for c in range(0, C, PANEL):
                product((high - low + 1) // 2, a, share * a.shape[1] + low * BLOCK + 2 * r, 2, 2 * BLOCK, source,
                        share * source.shape[1] + low * W + 2 * c, 2 * W, dq, at + r * row + c, row, rows, min(PANEL, C - c), ADD)


@helper
def backward_of_keys(b, h0, h1, s0, s1, dout, out, lse, q, k, v, mask, k_head, v_head, scale, causal, window, turned,
                     turned_dout, query_pairs, dout_pairs, keys, key_pairs, values, scores, grads, probs, slopes, turned_slopes,
                     lses, deltas, share, dq, dq_at, dk, dk_head, dv, dv_head):
    """What keys s0 to s1 of a head, and query heads h0 to h1, which share it, give to dq, dk and dv.

    Queries of sequence b begin at element dq_at of dq, laid out as in q."""
    (T, A, D), (S, E), (L, V), H = q.shape[1:], k.shape[1:3], v.shape[2:], dout.shape[2]
    offset, dk_row, dv_row = S - T, dk.shape[2] * D, dv.shape[2] * V
    for h in range(h0, h1):
        for t in range(0, T, BLOCK):
            n = min(BLOCK, T - t)
            low = max(s0, first_key(t, offset, causal, window))
            high = min(s1, keys_end(t + n, S, offset, causal, window))
            if low < high:
                q_at, dout_at = ((b * T + t) * A + h) * D, ((b * T + t) * H + h) * V
                pack_turned(q, q_at, A * D, n, D, turned, share * turned.shape[1])
                pack_turned(dout, dout_at, H * V, n, V, turned_dout, share * turned_dout.shape[1])
                pack_pairs(q, q_at, A * D, n, D, query_pairs, share * query_pairs.shape[1])
                pack_pairs(dout, dout_at, H * V, n, V, dout_pairs, share * dout_pairs.shape[1])
                prepare_queries(dout, out, lse, scale, b, t, h, n, lses, deltas, share)
                next_t, next_h = (t + BLOCK, h) if t + BLOCK < T else (0, h + 1)
                next_q, next_dout = ((b * T + next_t) * A + next_h) * D, ((b * T + next_t) * H + next_h) * V
                steps = (high - low + KEYS - 1) // KEYS
                size = ((high - low + steps - 1) // steps + TILE - 1) // TILE * TILE
                for k0 in range(low, high, size):
                    k1 = min(k0 + size, high)
                    k_at, v_at = ((b * S + k0) * E + k_head) * D, ((b * S + k0) * L + v_head) * V
                    pack_rows(k, k_at, E * D, k1 - k0, D, keys, share * keys.shape[1])
                    pack_pairs(k, k_at, E * D, k1 - k0, D, key_pairs, share * key_pairs.shape[1])
                    pack_rows(v, v_at, L * V, k1 - k0, V, values, share * values.shape[1])
                    row, head = (k1, 0) if k1 < high else (0, 1)        # behind the last key, the next head's will be packed
                    k_at, v_at = ((b * S + row) * E + k_head + head) * D, ((b * S + row) * L + v_head + head) * V
                    for k2 in range(k0, k1, TILE):
                        k3 = min(k2 + TILE, k1)
                        ask(k, k_at, E * D, k2 - k0, k3 - k0, D)
                        ask(v, v_at, L * V, k2 - k0, k3 - k0, V)
                        first, stop = BLOCK * (k2 - low) // (high - low), BLOCK * (k3 - low) // (high - low)
                        ask(q, next_q, A * D, first, stop, D)
                        ask(dout, next_dout, H * V, first, stop, V)
                        ask(out, next_dout, H * V, first, stop, V)
                        score_gradients(mask, b, k0, k2, k3, D, V, t, n, scale, causal, window, offset, turned, turned_dout, keys,
                                        values, scores, grads, probs, slopes, turned_slopes, lses, deltas, share)
                    add_to_keys(probs, k0, k1, t, n, offset, causal, window, dout_pairs, dv,
                                (b * S + k0) * dv_row + dv_head * V, dv_row, V, share)
                    add_to_keys(slopes, k0, k1, t, n, offset, causal, window, query_pairs, dk,
                                (b * S + k0) * dk_row + dk_head * D, dk_row, D, share)
                    add_to_queries(turned_slopes, k0, k1, t, n, offset, causal, window, key_pairs, dq,
                                   dq_at + (t * A + h) * D, A * D, D, share)


@kernel(levels=LEVEL)
def attention_backward_heads_bf16(dout, out, lse, q, k, v, mask, groups, scale, causal, window, turned, turned_dout, query_pairs,
                                  dout_pairs, keys, key_pairs, values, scores, grads, probs, slopes, turned_slopes, lses, deltas,
                                  dq, dk, dv, begin, end, add_dq, add_dk, add_dv):
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
                         query_pairs, dout_pairs, keys, key_pairs, values, scores, grads, probs, slopes, turned_slopes, lses,
                         deltas, begin, dq, b * T * A * D, dk, g, dv, g)


@kernel(levels=LEVEL)
def packed_attention_backward_heads_bf16(dout, out, lse, qkv, mask, groups, scale, causal, window, turned, turned_dout,
                                         query_pairs, dout_pairs, keys, key_pairs, values, scores, grads, probs, slopes,
                                         turned_slopes, lses, deltas, dqkv, begin, end, add_dqkv):
    T, A, D, H, items = qkv.shape[1], qkv.shape[2], qkv.shape[3], dout.shape[2], qkv.shape[0] * groups
    for item in range(items * begin // SHARES, items * end // SHARES):
        b, g = item // groups, item % groups
        h0, h1, k_head, v_head = H // groups * g, H // groups * (g + 1), H + g, H + groups + g
        if not add_dqkv:
            clear(dqkv, b, 0, T, h0, h1)
            clear(dqkv, b, 0, T, k_head, k_head + 1)
            clear(dqkv, b, 0, T, v_head, v_head + 1)
        backward_of_keys(b, h0, h1, 0, T, dout, out, lse, qkv, qkv, qkv, mask, k_head, v_head, scale, causal, window, turned,
                         turned_dout, query_pairs, dout_pairs, keys, key_pairs, values, scores, grads, probs, slopes,
                         turned_slopes, lses, deltas, begin, dqkv, b * T * A * D, dqkv, k_head, dqkv, v_head)


@kernel(levels=LEVEL)
def attention_backward_parts_bf16(dout, out, lse, q, k, v, mask, groups, scale, causal, window, turned, turned_dout, query_pairs,
                                  dout_pairs, keys, key_pairs, values, scores, grads, probs, slopes, turned_slopes, lses, deltas,
                                  parts, dk, dv, begin, end, add_dk, add_dv):
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
                         query_pairs, dout_pairs, keys, key_pairs, values, scores, grads, probs, slopes, turned_slopes, lses,
                         deltas, begin, parts, (part * B + b) * T * A * D, dk, g, dv, g)
