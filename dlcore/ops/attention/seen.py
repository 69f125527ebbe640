"""What attention on the CPU is made of besides products: which keys a query sees, and what the rows of a block share."""
import numpy as np

from dlcore.compiler.language import constant, formula, helper

PANEL = constant("PANEL")
QUERIES = 32 // PANEL * PANEL               # side by side in a block of scores, forward
BLOCK = 128 // PANEL * PANEL                # backward
ZERO, INF = np.float32(0), np.float32(np.inf)


@formula
def larger(x, y):
    return x if x > y else y


# ---- which keys a query sees -------------------------------------------------------------------------------------
@helper
def first_key(q0, offset, causal, window):
    """The first key that queries q0 and on see; it may be beyond the last, or below 0."""
    return q0 + offset - window + 1 if window > 0 else 0


@helper
def keys_end(q1, S, offset, causal, window):
    """Behind the last key that queries up to q1 see."""
    if causal:
        return min(S, q1 + offset)
    return min(S, q1 + offset + window - 1) if window > 0 else S


@helper
def first_query(k0, offset, causal, window):
    """The first query that sees keys k0 and on."""
    if causal:
        return k0 - offset
    return k0 - offset - window + 1 if window > 0 else 0


@helper
def queries_end(k1, T, offset, causal, window):
    """Behind the last query that sees keys up to k1."""
    return min(T, k1 - 1 + window - offset) if window > 0 else T


@helper
def hide(scores, share, k0, k1, q0, offset, causal, window, mask, b):
    """-inf where a query of the block does not see a key."""
    for k in range(k0, k1):
        first = k - offset - q0 if causal else 0
        last = QUERIES
        if window > 0:
            last = k - offset - q0 + window
            first = first if causal else k - offset - q0 - window + 1
        if mask.shape[0] > 0 and mask[b, k] == ZERO:
            last = 0
        if first > 0 or last < QUERIES:
            for i in range(QUERIES):
                at = (k - k0) * QUERIES + i
                scores[share, at] = scores[share, at] if first <= i < last else -INF


@helper
def greatest(scores, share, rows, news):
    """news[share] = the greatest of each query's scores, that is of each column of `rows` rows.

    Eight rows at a time, the last one again where there are fewer: one at a time, compilers do it number by number."""
    for i in range(QUERIES):
        news[share, i] = -INF
    for k in range(0, rows, 8):
        k1, k2, k3 = min(k + 1, rows - 1), min(k + 2, rows - 1), min(k + 3, rows - 1)
        k4, k5, k6, k7 = min(k + 4, rows - 1), min(k + 5, rows - 1), min(k + 6, rows - 1), min(k + 7, rows - 1)
        for i in range(QUERIES):
            a = larger(larger(scores[share, k * QUERIES + i], scores[share, k1 * QUERIES + i]),
                       larger(scores[share, k2 * QUERIES + i], scores[share, k3 * QUERIES + i]))
            b = larger(larger(scores[share, k4 * QUERIES + i], scores[share, k5 * QUERIES + i]),
                       larger(scores[share, k6 * QUERIES + i], scores[share, k7 * QUERIES + i]))
            news[share, i] = larger(larger(a, b), news[share, i])


# ---- rows of heads ---------------------------------------------------------------------------------------------------
@helper
def rescale(out, b, t, h, n, factors, share):
    """Row i of out[b, t:t + n, h] times its factor; a factor of 0 gives 0, whatever stands there."""
    for i in range(n):
        factor = factors[share, i]
        for c in range(out.shape[3]):
            out[b, t + i, h, c] = out[b, t + i, h, c] * factor if factor != ZERO else ZERO


@helper
def clear(out, b, t0, t1, h0, h1):
    for t in range(t0, t1):
        for h in range(h0, h1):
            for c in range(out.shape[3]):
                out[b, t, h, c] = ZERO


# ---- backward -------------------------------------------------------------------------------------------------------
@helper
def prepare_queries(dout, out, lse, scale, b, t, h, n, lses, deltas, share):
    """What the rows of a block share: log-sum-exp, and delta times scale; rows beyond n get probabilities of 0."""
    V = out.shape[3]
    for i in range(n):
        delta = ZERO
        for c in range(V):
            delta += dout[b, t + i, h, c] * out[b, t + i, h, c]
        deltas[share, i], lses[share, i] = delta * scale, lse[b, h, t + i]
    for i in range(n, BLOCK):
        deltas[share, i], lses[share, i] = ZERO, INF
