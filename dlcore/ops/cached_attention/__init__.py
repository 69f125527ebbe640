"""Attention of one new step over the steps before it, whose keys and values are kept: how a sequence is made step by step.

    keys[:, :, position], values[:, :, position] = k, v
    s_j = scale q k_j    p = softmax(s)    out = sum_j p_j v_j        for j <= position, and j > position - window

The cache is written where it lies and never copied.  H query heads share G heads of keys and values.
"""
from __future__ import annotations

import math

from dlcore.errors import ShapeError
from dlcore.graph import call, op

cached_attention_call = call(
    "cached_attention(qkv: F[B, A, D], position: i64, groups: i64, scale: f32, window: i64"
    " -> out: F[B, H, D], ~keys: F[B, G, S, D], ~values: F[B, G, S, D]; scores: F[B * G, S])", over="B * G",
    flops="4 * B * H * S * D")


@op
def cached_attention(qkv, keys, values, position, groups: int, window: int | None = None, scale: float | None = None):
    """(out, keys, values) of one step.

    qkv  f32[B, H + 2 groups, D]: queries, keys and values of the step     keys, values  f32[B, groups, S, D]
    position  which step it is, 0 to S - 1: a number or a Slot
    returns f32[B, H, D] and the caches' new versions.   ShapeError"""
    B, A, D = qkv.shape
    fits = keys.shape == values.shape and keys.shape[:2] + keys.shape[3:] == (B, groups, D)
    if not fits or A <= 2 * groups or (A - 2 * groups) % groups:
        raise ShapeError("cached_attention: shapes do not go together", where=qkv.graph.where(),
                         expected="qkv [B, H + 2 G, D], keys and values [B, G, S, D]",
                         got=f"{list(qkv.shape)}, {list(keys.shape)}, {list(values.shape)}")
    factor = 1 / math.sqrt(D) if scale is None else scale
    return cached_attention_call(qkv, position, groups, factor, window or 0, keys, values, H=A - 2 * groups), None
