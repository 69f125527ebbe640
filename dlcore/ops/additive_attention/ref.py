"""Additive attention by its definition, in float64."""
import numpy as np

from dlcore.ops.case import Case, random


def parts(q, k, v, mask):
    """(tanh [B, T, S, A], p [B, T, S])"""
    h = np.tanh(q[:, :, None] + k[:, None])
    s = h @ v
    if mask is not None:
        s = np.where(mask[:, None] != 0, s, -np.inf)
    top = s.max(-1, keepdims=True)
    p = np.exp(s - np.where(np.isfinite(top), top, 0))
    total = p.sum(-1, keepdims=True)
    return h, p / np.where(total, total, 1)


def additive_attention(q, k, v, values, mask=None):
    return parts(q, k, v, mask)[1] @ values


def additive_attention_backward(dout, q, k, v, values, mask=None):
    h, p = parts(q, k, v, mask)
    dp = dout @ values.transpose(0, 2, 1)
    ds = p * (dp - (p * dp).sum(-1, keepdims=True))
    g = ds[..., None] * v * (1 - h**2)
    return {"q": g.sum(2), "k": g.sum(1), "v": np.einsum("bts,btsa->a", ds, h), "values": p.transpose(0, 2, 1) @ dout}


def padding(B, S):
    mask = (np.arange(S) < np.linspace(S, 1, B).astype(int)[:, None]).astype(np.float64)
    mask[-1, 0] = 0                                                     # nothing there at all
    return mask


def case(id, B, T, S, A, C, masked=False):
    inputs = {"q": random(B, T, A, seed=1), "k": random(B, S, A, seed=2), "v": random(A, seed=3), "values": random(B, S, C, seed=4),
              "mask": padding(B, S) if masked else None}
    return Case("additive_attention", id, inputs, additive_attention, additive_attention_backward, ["q", "k", "v", "values"])


CASES = [case("one", 1, 1, 1, 1, 1), case("odd", 3, 5, 7, 13, 9), case("more-queries", 2, 9, 3, 16, 4),
         case("padding", 3, 4, 11, 17, 5, masked=True), case("wide", 2, 3, 5, 70, 33, masked=True)]
