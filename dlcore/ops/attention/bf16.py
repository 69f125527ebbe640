"""Attention whose products are of bf16, two steps of their sums at a time, by `vdpbf16ps`; scores, softmax and sums are float32.

What is multiplied is rounded to nearest, ties to even, while it is packed; so are the probabilities, and the gradients of the
scores, each block as soon as it is there (`bf16_backward.py`).  Each 32 bits of what is packed hold two steps of a sum:

    rows     as they lie, two columns of the head in a word: keys and values before queries and dout, whose sums are over the head
    turned   the other side of these: a word for each of the queries that stand side by side, and two columns of the head
    pairs    a word for each column of the head, and two rows, of which the sums are: values, keys, queries, dout

Blocks and shares are those of `cpu.py`, but that up to SPAN queries use the keys and values that were packed for them.  What comes
next is asked for while a block is multiplied, because rows of a head lie far apart.

One query has nothing to share packed keys with; in heads of less than LEAST columns the exponentials are most of the work, and half
of a panel is empty: both stay float32.
"""
import numpy as np

from dlcore.compiler.language import call, constant, helper, kernel, lowered
from dlcore.ops.attention import FLOPS, OPTIONS, READS
from dlcore.ops.attention.seen import QUERIES, first_key, greatest, hide, keys_end, rescale
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
SHARES = 32                                 # as in `cpu.py`
SPAN, SHORT = 512, 128                      # queries, forward: SHORT where there are few of the former
LEAST = 32                                  # columns of heads that bf16 pays for
KEYS = 264                                  # at most, of a block: an even multiple of TILE
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


WD, WV = "ceil(D / PANEL) * PANEL", "ceil(V / PANEL) * PANEL"
WORK = (f"turned: bf16[{SHARES}, {SPAN} * {WD}], keys: bf16[{SHARES}, {KEYS} * {WD}], values: bf16[{SHARES}, {KEYS} * {WV}],"
        f" scores: F[{SHARES}, {KEYS} * 32], probs: bf16[{SHARES}, {KEYS} * 32], tops: F[{SHARES}, {SPAN}],"
        f" news: F[{SHARES}, 32], totals: F[{SHARES}, {SPAN}]")
call(f"attention_blocks_bf16({READS}, {OPTIONS} -> out: F[B, T, H, V], lse: F[B, H, T]; {WORK})", over=str(SHARES),
     flops=f"2 * {FLOPS}")
lowered("attention_forward", "attention_blocks_bf16(q, k, v, mask, k_head, v_head, groups, scale, causal, window -> out, lse)",
        when=f"T > 1 and D >= {LEAST}", product="bf16")


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
