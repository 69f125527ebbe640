"""Attention by its definition, in float64: all scores at once."""
import numpy as np

from dlcore.ops.case import Case, random


def probabilities(q, k, mask, causal, window, scale):
    """[B, H, T, S]"""
    (B, T, H, D), (S, G) = q.shape, k.shape[1:3]
    s = np.einsum("bthd,bshd->bhts", q, np.repeat(k, H // G, 2)) * (1 / np.sqrt(D) if scale is None else scale)
    i, j = np.arange(T)[:, None] + S - T, np.arange(S)
    seen = np.ones((B, 1, T, S), bool)
    if causal:
        seen &= j <= i
    if window:
        seen &= abs(i - j) < window
    if mask is not None:
        seen &= (mask != 0)[:, None, None]
    s = np.where(seen, s, -np.inf)
    top = s.max(-1, keepdims=True)
    p = np.exp(s - np.where(np.isfinite(top), top, 0))
    total = p.sum(-1, keepdims=True)
    return p / np.where(total, total, 1)


def attention(q, k, v, mask=None, causal=False, window=None, scale=None):
    p = probabilities(q, k, mask, causal, window, scale)
    return np.einsum("bhts,bshv->bthv", p, np.repeat(v, q.shape[2] // k.shape[2], 2))


def attention_backward(dout, q, k, v, mask=None, causal=False, window=None, scale=None):
    (B, S, G, D), repeats = k.shape, q.shape[2] // k.shape[2]
    factor = 1 / np.sqrt(D) if scale is None else scale
    p = probabilities(q, k, mask, causal, window, scale)
    dp = np.einsum("bthv,bshv->bhts", dout, np.repeat(v, repeats, 2))
    ds = p * (dp - (p * dp).sum(-1, keepdims=True)) * factor
    dk = np.einsum("bhts,bthd->bshd", ds, q).reshape(B, S, G, repeats, D).sum(3)
    dv = np.einsum("bhts,bthv->bshv", p, dout).reshape(B, S, G, repeats, v.shape[3]).sum(3)
    return {"q": np.einsum("bhts,bshd->bthd", ds, np.repeat(k, repeats, 2)), "k": dk, "v": dv}


def cut(qkv, groups):
    heads = qkv.shape[2] - 2 * groups
    return qkv[:, :, :heads], qkv[:, :, heads:heads + groups], qkv[:, :, heads + groups:]


def packed_attention(qkv, groups, **options):
    return attention(*cut(qkv, groups), **options)


def packed_attention_backward(dout, qkv, groups, **options):
    return {"qkv": np.concatenate(list(attention_backward(dout, *cut(qkv, groups), **options).values()), 2)}


def padding(B, S):
    mask = (np.arange(S) < np.linspace(S, 1, B).astype(int)[:, None]).astype(np.float64)
    mask[-1, 0] = 0                                                     # nothing there at all
    return mask


def case(id, B, T, S, H, G, D, V=0, masked=False, **options):
    inputs = {"q": random(B, T, H, D, seed=1), "k": random(B, S, G, D, seed=2), "v": random(B, S, G, V or D, seed=3),
              "mask": padding(B, S) if masked else None}
    return Case("attention", id, inputs, attention, attention_backward, ["q", "k", "v"], options)


def packed(id, B, T, H, G, D, masked=False, **options):
    inputs = {"qkv": random(B, T, H + 2 * G, D, seed=4), "mask": padding(B, T) if masked else None}
    return Case("packed_attention", id, inputs, packed_attention, packed_attention_backward, ["qkv"], {"groups": G, **options})


CASES = [
    case("one", 1, 1, 1, 1, 1, 4), case("causal", 2, 37, 37, 4, 4, 8, causal=True), case("cross", 2, 9, 30, 3, 3, 5),
    case("queries-after-keys", 3, 5, 41, 3, 3, 16, causal=True), case("more-queries-than-keys", 2, 40, 7, 4, 4, 8, causal=True),
    case("padding", 3, 13, 45, 3, 3, 17, masked=True), case("padding-causal", 3, 33, 33, 3, 3, 8, masked=True, causal=True),
    case("window", 2, 75, 75, 4, 4, 8, window=9), case("window-causal", 2, 75, 75, 4, 4, 8, window=20, causal=True),
    case("window-few-heads", 1, 140, 150, 1, 1, 4, window=33, causal=True, masked=True),
    case("grouped", 2, 21, 21, 6, 2, 8, causal=True), case("one-key-head", 2, 50, 50, 4, 1, 16, causal=True),
    case("other-values", 3, 20, 25, 3, 3, 12, 20), case("scaled", 2, 12, 12, 4, 4, 32, scale=0.7),
    case("blocks", 1, 150, 300, 2, 1, 4, causal=True), case("many-blocks", 2, 135, 290, 4, 4, 3),
    case("large-heads-few", 1, 21, 26, 4, 2, 33, causal=True), case("large-heads", 1, 14, 14, 8, 8, 40, causal=True),
    packed("packed", 3, 35, 3, 3, 16, causal=True), packed("packed-few", 1, 35, 2, 2, 8, causal=True),
    packed("packed-grouped", 4, 40, 4, 2, 32, masked=True), packed("packed-window", 4, 133, 2, 2, 6, window=11),
    packed("packed-few-padding", 2, 20, 4, 2, 8, masked=True),
]
