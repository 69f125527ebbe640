"""Additive attention (Bahdanau, Cho and Bengio, Neural machine translation by jointly learning to align and translate, 2015).

For each sequence, with queries q [T, A], keys k [S, A], a weight v [A] and values x [S, C]:

    s_tj = sum_a v_a h_tja,  h_tja = tanh(q_ta + k_ja)        p = softmax over j of s        out = p x
    dx = p^T dout      dp = dout x^T      ds = p (dp - delta),  delta_t = sum_j p_tj dp_tj
    dv_a = sum_tj ds_tj h_tja      g_tja = ds_tj v_a (1 - h_tja**2)      dq_ta = sum_j g_tja      dk_ja = sum_t g_tja

Keys whose mask is 0 have p = 0; a query that sees none gets zeros and gives no gradient.  Kept for backward: p, [T, S]; the A times
as many tanh are made again.
"""
from __future__ import annotations

from dlcore.errors import ShapeError
from dlcore.graph import call, op
from dlcore.ops.reduction import column_sum

additive_attention_forward = call(
    "additive_attention_forward(q: F[B, T, A], k: F[B, S, A], v: f32[A], values: F[B, S, C], mask: F[B, S]?"
    " -> out: F[B, T, C], p: F[B, T, S])", over="B", flops="B * T * S * (25 * A + 2 * C + 25)")
additive_attention_backward = call(
    "additive_attention_backward(dout: F[B, T, C], q: F[B, T, A], k: F[B, S, A], v: f32[A], values: F[B, S, C], p: F[B, T, S]"
    " -> +dq: F[B, T, A], +dk: F[B, S, A], +dvalues: F[B, S, C], dv: F[B, A]; ds: F[B, T, S])", over="B",
    flops="B * T * S * (30 * A + 4 * C)")


@op
def additive_attention(q, k, v, values, mask=None):
    """q: f32[B, T, A], k: f32[B, S, A], v: f32[A], values: f32[B, S, C], mask: f32[B, S], 0 for keys that are padding, or None

    returns f32[B, T, C].   Raises ShapeError."""
    fits = q.ndim == k.ndim == values.ndim == 3 and v.shape == q.shape[2:] == k.shape[2:] and q.shape[0] == k.shape[0]
    if not fits or values.shape[:2] != k.shape[:2] or mask is not None and mask.shape != k.shape[:2]:
        raise ShapeError("additive_attention: shapes do not go together", where=q.graph.where(),
                         expected="q [B, T, A], k [B, S, A], v [A], values [B, S, C], mask [B, S]",
                         got=", ".join(str(list(x.shape)) for x in (q, k, v, values, mask) if x is not None))
    out, p = additive_attention_forward(q, k, v, values, mask)

    def backward(dout):
        dq, dk, dvalues, dv = additive_attention_backward(dout, q, k, v, values, p)
        found = dq, dk, column_sum(dv), dvalues
        return found if mask is None else (*found, None)
    return out, backward
