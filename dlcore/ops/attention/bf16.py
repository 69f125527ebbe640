"""Attention whose products are of bf16, two steps of their sums at a time, by `vdpbf16ps`; scores, softmax and sums are float32.

What is multiplied is rounded to nearest, ties to even, while it is packed; so are the probabilities, and the gradients of the
scores, each block as soon as it is there.  Each 32 bits of a packed array hold two steps of the sum that it is for:

    rows     as they lie, two columns of the head in a word: keys and values before queries and dout, whose sums are over the head
    turned   the other side of these: a word for each of the queries that stand side by side, and two columns of the head
    pairs    a word for each column of the head, and two rows, of which the sums are: values, keys, queries, dout

Blocks and shares are those of `cpu.py`, but that up to SPAN queries use the keys and values that were packed for them.
"""
import numpy as np

from dlcore.compiler.language import call, constant, helper, kernel, lowered
from dlcore.ops.attention import FEW, FLOPS, OPTIONS, READS
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
from dlcore.ops.matmul.ahead import LINE
from dlcore.ops.matmul.bf16 import (
    LEVEL,
    LOW,
    MIDDLE,
    pair_edge,
    pair_edge_low,
    pair_edge_middle,
    pair_low,
    pair_middle,
    pair_tile,
    round_columns,
    round_row,
    round_rows,
)
from dlcore.ops.matmul.tiles import ADD, fetch

TILE, PANEL, LANES = constant("TILE"), constant("PANEL"), constant("LANES")
SHARES, PARTS = 32, 8                       # as in `cpu.py`
SPAN, SHORT = 512, 128                      # queries, forward: SHORT where there are few of the former
KEYS, BACK_KEYS = 264, 120                  # at most, of a block: even multiples of TILE
ZERO, ONE, INF = np.float32(0), np.float32(1), np.float32(np.inf)


# ---- packing: rows of a head that are `row` apart from element `at` on; columns are filled up to a whole panel ------------
@helper
def filled(C):
    return (C + PANEL - 1) // PANEL * PANEL


@helper
def pack_rows(source, at, row, rows, C, out, to):
    for r in range(rows):
        for c in range(0, C, 2 * LANES):
            round_row(source, at + r * row + c, C - c, out, to + r * filled(C) + c)


@helper
def pack_pairs(source, at, row, rows, C, out, to):
    for r in range(0, rows, 2):
        for c in range(0, filled(C), LANES):
            round_rows(source, at + r * row + c, at + (r + 1) * row + c, C - c, C - c if r + 1 < rows else 0, out,
                       to + r * filled(C) + 2 * c)


@helper
def pack_turned(source, at, row, rows, C, out, to):
    """Panel by panel; rows beyond the last repeat it."""
    for p in range(0, rows, PANEL):
        for i in range(p, p + PANEL, LANES):
            first = min(i, rows - 1)
            for c in range(0, C, 2 * LANES):
                round_columns(source, at + first * row + c, row, max(1, rows - i), C - c, out,
                              to + p * filled(C) + c * PANEL + 2 * (i - p), 2 * PANEL)


@helper
def ask(source, at, row, first, last, C):
    """For rows first to last, which will be packed next: those of one head lie far apart, and each would be waited for."""
    for r in range(first, last):
        for c in range(0, C, LINE):
            fetch(source, at + r * row + c)


@helper
def product(pairs, a, a_at, a_row, a_col, b, b_at, b_row, c, c_at, ldc, rows, n, mode):
    """The tile that fits: whole, or an edge as small as possible.  The sum has so many pairs."""
    if n == PANEL and rows == TILE:
        pair_tile(pairs, a, a_at, a_row, a_col, b, b_at, b_row, c, c_at, ldc, rows, n, c, 0, mode)
    elif n == PANEL and rows == MIDDLE:
        pair_middle(pairs, a, a_at, a_row, a_col, b, b_at, b_row, c, c_at, ldc, rows, n, c, 0, mode)
    elif n == PANEL and rows == LOW:
        pair_low(pairs, a, a_at, a_row, a_col, b, b_at, b_row, c, c_at, ldc, rows, n, c, 0, mode)
    elif rows > MIDDLE:
        pair_edge(pairs, a, a_at, a_row, a_col, b, b_at, b_row, c, c_at, ldc, rows, n, c, 0, mode)
    elif rows > LOW:
        pair_edge_middle(pairs, a, a_at, a_row, a_col, b, b_at, b_row, c, c_at, ldc, rows, n, c, 0, mode)
    else:
        pair_edge_low(pairs, a, a_at, a_row, a_col, b, b_at, b_row, c, c_at, ldc, rows, n, c, 0, mode)


# ---- forward -----------------------------------------------------------------------------------------------------
@helper
def weigh(scores, probs, share, rows, scale, tops, news, totals, first):
    """Scores of queries `first` and on become pairs of exp(scale score - top); tops and totals of the queries move on.  `news`:
    what older sums are to be multiplied by.  A query that has seen nothing yet has a top of -inf, and 0 stands in for it."""
    at, pairs_at = share * scores.shape[1], share * probs.shape[1]
    greatest(scores, share, rows, news)
    for i in range(QUERIES):
        old, new = tops[share, first + i], news[share, i] * scale
        new = new if new > old else old
        shift = new if new > -INF else ZERO
        news[share, i] = exp(old - shift)
        totals[share, first + i] *= news[share, i]
        tops[share, first + i] = shift
    for k in range(rows):
        for i in range(QUERIES):
            p = exp(scores[share, k * QUERIES + i] * scale - tops[share, first + i])
            scores[share, k * QUERIES + i] = p
            totals[share, first + i] += p
    for i in range(QUERIES):
        tops[share, first + i] = tops[share, first + i] if totals[share, first + i] != ZERO else -INF
    for k in range(0, rows, 2):
        for i in range(k * QUERIES, k * QUERIES + QUERIES, LANES):
            round_rows(scores, at + i, at + i + QUERIES, LANES, LANES if k + 1 < rows else 0, probs,
                       pairs_at + 2 * i - k * QUERIES)


@helper
def score_block(keys, turned, first, start, stop, D, scores, share):
    """scores = packed keys start to stop, by queries `first` and on, unscaled."""
    W = filled(D)
    for k in range(start, stop, TILE):
        for p in range(0, QUERIES, PANEL):
            product((D + 1) // 2, keys, share * keys.shape[1] + k * W, W, 2, turned, share * turned.shape[1] + (first + p) * W,
                    2 * PANEL, scores, share * scores.shape[1] + (k - start) * QUERIES + p, QUERIES, min(TILE, stop - k), PANEL, 0)


@helper
def weighted_values(probs, values, start, stop, out, b, t, h, n, mode, share):
    """out[b, t:t + n, h] (+)= the transpose of probs, times packed values start to stop."""
    T, H, V = out.shape[1], out.shape[2], out.shape[3]
    at, W = ((b * T + t) * H + h) * V, filled(V)
    for r in range(0, n, TILE):
        for c in range(0, V, PANEL):
            product((stop - start + 1) // 2, probs, share * probs.shape[1] + 2 * r, 2, 2 * QUERIES, values,
                    share * values.shape[1] + start * W + 2 * c, 2 * W, out, at + r * H * V + c, H * V, min(TILE, n - r),
                    min(PANEL, V - c), mode)


@helper
def see_keys(b, h, t, n, low, k0, k1, scale, causal, window, mask, offset, D, turned, keys, values, scores, probs, tops, news,
             totals, out, share, k, v, next_k, next_v, rows):
    """n queries from t on see packed keys k0 to k1: QUERIES of them at a time, each only what it has to.

    rows: of k and v that will be packed next, from elements next_k and next_v on."""
    for i in range(0, n, QUERIES):
        first, stop = rows * i // n, rows * min(i + QUERIES, n) // n
        ask(k, next_k, k.shape[2] * D, first, stop, D)
        ask(v, next_v, v.shape[2] * v.shape[3], first, stop, v.shape[3])
        own = max(low, first_key(t + i, offset, causal, window))
        last = keys_end(t + min(i + QUERIES, n), k1, offset, causal, window)
        if max(own, k0) < last:
            start = (max(own, k0) - k0) // 2 * 2
            score_block(keys, turned, i, start, last - k0, D, scores, share)
            hide(scores, share, k0 + start, last, t + i, offset, causal, window, mask, b)
            weigh(scores, probs, share, last - k0 - start, scale, tops, news, totals, i)
            if own < k0:
                rescale(out, b, t + i, h, min(QUERIES, n - i), news, share)
            weighted_values(probs, values, start, last - k0, out, b, t + i, h, min(QUERIES, n - i), ADD if own < k0 else 0, share)


@kernel(levels=LEVEL)
def attention_blocks_bf16(q, k, v, mask, k_head, v_head, groups, scale, causal, window, turned, keys, values, scores, probs, tops,
                          news, totals, out, lse, begin, end):
    (B, T, A, D), (S, E), (H, V), L = q.shape, k.shape[1:3], out.shape[2:], v.shape[2]
    span = SPAN if B * H * ((T + SPAN - 1) // SPAN) >= SHARES else SHORT
    blocks, share, offset = (T + span - 1) // span, begin, S - T
    items = B * H * blocks
    for item in range(items * begin // SHARES, items * end // SHARES):
        j = item % blocks
        b, h, j = item // blocks // H, item // blocks % H, (j // 2 if j % 2 == 0 else blocks - 1 - j // 2)
        g, t = h // (H // groups), j * span                 # blocks of few and of many keys take turns: shares are alike
        n = min(span, T - t)
        pack_turned(q, ((b * T + t) * A + h) * D, A * D, n, D, turned, share * turned.shape[1])
        ask(q, ((b * T + t) * A + h + 1) * D, A * D, 0, n, D)
        for i in range((n + QUERIES - 1) // QUERIES * QUERIES):
            tops[share, i], totals[share, i] = -INF, ZERO
        low, high = max(0, first_key(t, offset, causal, window)), keys_end(t + n, S, offset, causal, window)
        steps = (high - low + KEYS - 1) // KEYS if high > low else 0
        size = ((high - low + steps - 1) // steps + TILE - 1) // TILE * TILE if steps > 0 else 1
        for k0 in range(low, high, size):
            k1 = min(k0 + size, high)
            pack_rows(k, ((b * S + k0) * E + k_head + g) * D, E * D, k1 - k0, D, keys, share * keys.shape[1])
            pack_pairs(v, ((b * S + k0) * L + v_head + g) * V, L * V, k1 - k0, V, values, share * values.shape[1])
            last = k1 == high                               # then the next head's will be packed
            row, head, rows = (0, (h + 1) // (H // groups), min(size, S)) if last else (k1, g, min(size, high - k1))
            see_keys(b, h, t, n, low, k0, k1, scale, causal, window, mask, offset, D, turned, keys, values, scores, probs, tops,
                     news, totals, out, share, k, v, ((b * S + row) * E + k_head + head) * D,
                     ((b * S + row) * L + v_head + head) * V, rows)
        for first in range(0, n, QUERIES):
            for i in range(QUERIES):
                total = totals[share, first + i]
                news[share, i] = ONE / total if total != ZERO else ZERO
            rescale(out, b, t + first, h, min(QUERIES, n - first), news, share)
        for i in range(n):
            lse[b, h, t + i] = tops[share, i] + log(totals[share, i]) if totals[share, i] != ZERO else INF


# ---- backward ----------------------------------------------------------------------------------------------------
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
                steps = (high - low + BACK_KEYS - 1) // BACK_KEYS
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


# ---- calls -------------------------------------------------------------------------------------------------------
WD, WV = "ceil(D / PANEL) * PANEL", "ceil(V / PANEL) * PANEL"
WORK = (f"turned: bf16[{SHARES}, {SPAN} * {WD}], keys: bf16[{SHARES}, {KEYS} * {WD}], values: bf16[{SHARES}, {KEYS} * {WV}],"
        f" scores: F[{SHARES}, {KEYS} * 32], probs: bf16[{SHARES}, {KEYS} * 32], tops: F[{SHARES}, {SPAN}],"
        f" news: F[{SHARES}, 32], totals: F[{SHARES}, {SPAN}]")
BACK_WORK = (f"turned: bf16[{SHARES}, 128 * {WD}], turned_dout: bf16[{SHARES}, 128 * {WV}],"
             f" query_pairs: bf16[{SHARES}, 128 * {WD}], dout_pairs: bf16[{SHARES}, 128 * {WV}],"
             f" keys: bf16[{SHARES}, {BACK_KEYS} * {WD}], key_pairs: bf16[{SHARES}, {BACK_KEYS} * {WD}],"
             f" values: bf16[{SHARES}, {BACK_KEYS} * {WV}], scores: F[{SHARES}, TILE * PANEL], grads: F[{SHARES}, TILE * PANEL],"
             f" probs: bf16[{SHARES}, {BACK_KEYS} * 128], slopes: bf16[{SHARES}, {BACK_KEYS} * 128],"
             f" turned_slopes: bf16[{SHARES}, {BACK_KEYS} * 128], lses: F[{SHARES}, 128], deltas: F[{SHARES}, 128]")
FROM_OUT = "dout: F[B, T, H, V], out: F[B, T, H, V], lse: F[B, H, T]"
BACK_OPTIONS = "groups: i64, scale: f32, causal: i64, window: i64"
call(f"attention_blocks_bf16({READS}, {OPTIONS} -> out: F[B, T, H, V], lse: F[B, H, T]; {WORK})", over=str(SHARES),
     flops=f"2 * {FLOPS}")
call(f"attention_backward_heads_bf16({FROM_OUT}, {READS}, {BACK_OPTIONS} -> +dq: F[B, T, A, D], +dk: F[B, S, E, D],"
     f" +dv: F[B, S, L, V]; {BACK_WORK})", over=str(SHARES), flops=f"5 * {FLOPS}")
call(f"attention_backward_parts_bf16({FROM_OUT}, {READS}, {BACK_OPTIONS} -> parts: F[{PARTS}, B * T * A * D],"
     f" +dk: F[B, S, E, D], +dv: F[B, S, L, V]; {BACK_WORK})", over=str(SHARES), flops=f"5 * {FLOPS}")
call(f"packed_attention_backward_heads_bf16({FROM_OUT}, qkv: F[B, T, A, D], mask: F[B, T]?, {BACK_OPTIONS} -> +dqkv: F[B, T, A, D];"
     f" {BACK_WORK})", over=str(SHARES), flops="10 * B * T * T * H * D")

NAMES = "dout, out, lse, q, k, v, mask, groups, scale, causal, window"
SERVED = {"product": "bf16"}
lowered("attention_forward", "attention_blocks_bf16(q, k, v, mask, k_head, v_head, groups, scale, causal, window -> out, lse)",
        **SERVED)
lowered("attention_backward", f"attention_backward_heads_bf16({NAMES} -> dq, dk, dv)", when=f"B * groups >= {FEW}", **SERVED)
lowered("attention_backward", f"attention_backward_parts_bf16({NAMES} -> parts, dk, dv)", "add_attention_parts(parts -> dq)",
        **SERVED)
lowered("packed_attention_backward",
        "packed_attention_backward_heads_bf16(dout, out, lse, qkv, mask, groups, scale, causal, window -> dqkv)", **SERVED)
