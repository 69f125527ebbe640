"""Scaled dot-product attention (Vaswani et al., Attention is all you need, 2017, section 3.2.1), in tiles that never hold
the T x S scores (Dao et al., FlashAttention, 2022; Dao, FlashAttention-2, 2023).

For each sequence and head, with queries q [T, D], keys k [S, D] and values v [S, V]:

    s = scale q k^T                 p = exp(s - lse),  lse = log sum_j exp(s_j)         out = p v
    dv = p^T dout      dp = dout v^T      ds = p (dp - delta),  delta_i = sum_c dout_ic out_ic
    dq = scale ds k    dk = scale ds^T q

What is masked has p = 0.  The last query stands at the last key: query i is at position i + S - T, and sees key j where

    j <= i + S - T                  causal
    |i + S - T - j| < window        sliding window
    mask[b, j] != 0                 keys that are no padding

A query that sees nothing gets zeros, and gives no gradient.  H query heads share G heads of keys and values, H / G each
(Ainslie et al., GQA, 2023; G = 1: Shazeer, Fast transformer decoding, 2019).  Kept for backward: `out` and the log-sum-exp.
"""
from __future__ import annotations

import math

from dlcore.errors import ShapeError, UsageError
from dlcore.graph import call, op
from dlcore.ops.shape import concat

LARGEST = 256           # head size
FEW = 8                 # heads of keys in a batch, below which backward is shared out over keys too
FLOPS = "B * T * S * H * (D + V)"
READS = "q: F[B, T, A, D], k: F[B, S, E, D], v: F[B, S, L, V], mask: F[B, S]?"
OPTIONS = "k_head: i64, v_head: i64, groups: i64, scale: f32, causal: i64, window: i64"

attention_forward = call(f"attention_forward({READS}, {OPTIONS} -> out: F[B, T, H, V], lse: F[B, H, T])", over="",
                         flops=f"2 * {FLOPS}")
attention_backward_call = call(
    f"attention_backward(dout: F[B, T, H, V], out: F[B, T, H, V], lse: F[B, H, T], {READS}, groups: i64, scale: f32,"
    " causal: i64, window: i64 -> +dq: F[B, T, A, D], +dk: F[B, S, E, D], +dv: F[B, S, L, V])", over="",
    flops=f"5 * {FLOPS}")
packed_attention_backward_call = call(
    "packed_attention_backward(dout: F[B, T, H, D], out: F[B, T, H, D], lse: F[B, H, T], qkv: F[B, T, A, D],"
    " mask: F[B, T]?, groups: i64, scale: f32, causal: i64, window: i64 -> +dqkv: F[B, T, A, D])", over="",
    flops="10 * B * T * T * H * D")


@op
def attention(q, k, v, mask=None, causal: bool = False, window: int | None = None, scale: float | None = None):
    """softmax(scale q k^T) v for each head.

    q  f32[B, T, H, D]        k  f32[B, S, G, D]        v  f32[B, S, G, V]        H a multiple of G; D and V at most 256
    mask    f32[B, S], 0 for keys that are padding, or None
    causal, window   which keys a query sees, as above;  scale: by default 1 / sqrt(D)
    returns f32[B, T, H, V].   Raises ShapeError, UsageError."""
    heads, groups = checked(q, k, v, mask)
    options = settings(q.shape[3], causal, window, scale)
    out, lse = attention_forward(q, k, v, mask, 0, 0, groups, *options, H=heads)

    def backward(dout):
        dq, dk, dv = attention_backward_call(dout, out, lse, q, k, v, mask, groups, *options)
        return (dq, dk, dv) if mask is None else (dq, dk, dv, None)
    return out, backward


@op
def packed_attention(qkv, groups: int, mask=None, causal: bool = False, window: int | None = None,
                     scale: float | None = None):
    """The same on what one projection made: H heads of queries, then `groups` of keys, then as many of values.

    qkv  f32[B, T, H + 2 groups, D]   returns f32[B, T, H, D]"""
    if qkv.ndim != 4 or not 0 < groups or qkv.shape[2] <= 2 * groups:
        raise ShapeError("packed_attention: no heads of queries, keys and values", where=qkv.graph.where(),
                         expected="[B, T, H + 2 groups, D]", got=f"{list(qkv.shape)}, groups {groups}")
    B, T, A, D = qkv.shape
    heads = A - 2 * groups
    checked(qkv, qkv, qkv, mask, heads, groups)
    options = settings(D, causal, window, scale)
    out, lse = attention_forward(qkv, qkv, qkv, mask, heads, heads + groups, groups, *options, H=heads)

    def backward(dout):
        if B * groups >= FEW:
            dqkv = packed_attention_backward_call(dout, out, lse, qkv, mask, groups, *options)
            return dqkv if mask is None else (dqkv, None)
        parts = split(qkv, heads, groups)
        dqkv = concat(list(attention_backward_call(dout, out, lse, *parts, mask, groups, *options)), 2)
        return dqkv if mask is None else (dqkv, None)
    return out, backward


def split(qkv, heads: int, groups: int):
    """Copies of the queries, keys and values."""
    from dlcore.ops.shape import slice_axis
    ends = 0, heads, heads + groups, heads + 2 * groups
    return [slice_axis(qkv, a, b, 2) for a, b in zip(ends, ends[1:])]


def checked(q, k, v, mask, heads: int = 0, groups: int = 0) -> tuple[int, int]:
    """(H, G); ShapeError where the tensors do not go together."""
    def fail(expected: str, got: str) -> None:
        raise ShapeError("attention: shapes do not go together", where=q.graph.where(), expected=expected, got=got)
    if not q.ndim == k.ndim == v.ndim == 4 or k.shape[:3] != v.shape[:3] or q.shape[0] != k.shape[0] or q.shape[3] != k.shape[3]:
        fail("q [B, T, H, D], k [B, S, G, D], v [B, S, G, V]", f"{list(q.shape)}, {list(k.shape)}, {list(v.shape)}")
    heads, groups = heads or q.shape[2], groups or k.shape[2]
    if heads % groups:
        fail("a multiple of G query heads", f"{heads} heads, G {groups}")
    if q.shape[3] > LARGEST or v.shape[3] > LARGEST:
        fail(f"heads of at most {LARGEST}", f"{q.shape[3]}, {v.shape[3]}")
    if mask is not None and mask.shape != k.shape[:2]:
        fail(f"mask {list(k.shape[:2])}", f"mask {list(mask.shape)}")
    return heads, groups


def settings(size: int, causal: bool, window: int | None, scale: float | None) -> tuple[float, int, int]:
    """(scale, causal, window) as the calls take them; UsageError where they are out of range."""
    factor = 1 / math.sqrt(size) if scale is None else float(scale)
    if not factor > 0 or not math.isfinite(factor):
        raise UsageError("attention: scale is a positive number", got=repr(scale))
    if window is not None and (not isinstance(window, int) or window < 1):
        raise UsageError("attention: window is a positive number of positions, or None", got=repr(window))
    return factor, int(bool(causal)), window or 0
