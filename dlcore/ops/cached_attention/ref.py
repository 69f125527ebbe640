"""One step over a cache by its definition, in float64."""
import numpy as np

from dlcore.ops.case import Case, random


def cached_attention(qkv, keys, values, position, groups, window=None, scale=None):
    D, H = qkv.shape[2], qkv.shape[1] - 2 * groups
    keys, values = keys.copy(), values.copy()
    keys[:, :, position], values[:, :, position] = qkv[:, H:H + groups], qkv[:, H + groups:]
    first = 0 if window is None else max(0, position - window + 1)
    k, v = (np.repeat(x[:, :, first:position + 1], H // groups, 1) for x in (keys, values))
    s = np.einsum("bhd,bhjd->bhj", qkv[:, :H], k) * (1 / np.sqrt(D) if scale is None else scale)
    p = np.exp(s - s.max(-1, keepdims=True))
    return np.einsum("bhj,bhjd->bhd", p / p.sum(-1, keepdims=True), v), keys, values


def case(id, B, H, G, D, S, position, **options):
    inputs = {"qkv": random(B, H + 2 * G, D), "keys": random(B, G, S, D, seed=1), "values": random(B, G, S, D, seed=2)}
    return Case("cached_attention", id, inputs, cached_attention, options={"position": position, "groups": G, **options})


CASES = [case("first", 2, 3, 3, 8, 5, 0), case("last", 1, 4, 4, 16, 33, 32), case("grouped", 3, 4, 2, 7, 20, 11),
         case("window", 2, 2, 1, 32, 50, 40, window=9), case("scaled", 1, 2, 2, 4, 6, 3, scale=1.5)]
