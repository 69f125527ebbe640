"""Philox and dropout, one number at a time, in Python's integers."""
import numpy as np

from dlcore.ops.case import Case, random

LOW = 0xFFFFFFFF


def philox(counter, key):
    """Philox4x32-10: four words of counter, two of key -> four words."""
    c, k = list(counter), list(key)
    for _ in range(10):
        a, b = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(b >> 32) ^ c[1] ^ k[0], b & LOW, (a >> 32) ^ c[3] ^ k[1], a & LOW]
        k = [(k[0] + 0x9E3779B9) & LOW, (k[1] + 0xBB67AE85) & LOW]
    return c


def kept(shape, rate, node, seed, step, first_sample):
    """The factor of each element: 0, or 1 / (1 - rate)."""
    rows, C = int(np.prod(shape[:-1])), shape[-1]
    first = first_sample * int(np.prod(shape[1:-1]))
    limit = int(float(np.float32(rate)) * 2**32)
    out = np.zeros((rows, C))
    for r in range(rows):
        for c in range(C):
            word = philox((c // 4, first + r, step, node), (seed & LOW, seed >> 32))[c % 4]
            out[r, c] = 0 if word < limit else 1 / (1 - float(np.float32(rate)))
    return out.reshape(shape)


def case(id, shape, rate, seed=7, step=3, first_sample=0, node=5):
    slots = {"seed": seed, "step": step, "first_sample": first_sample}
    factor = kept(shape, rate, node, **slots)
    return Case("dropout", id, {"x": random(*shape)}, lambda x, rate, node: x * factor,
                lambda dout, x, rate, node: {"x": dout * factor}, ("x",), {"rate": rate, "node": node}, slots, twice=True)


CASES = [
    case("odd", (13, 7), 0.3), case("even", (8, 16), 0.5), case("one-column", (9, 1), 0.5), case("none", (3, 5), 0.0),
    case("most", (9, 33), 0.9), case("later-samples", (5, 10), 0.4, first_sample=100),
    case("sequence", (3, 4, 6), 0.25, first_sample=2), case("large-seed", (5, 9), 0.5, seed=12345678901234567),
    case("wide-rows", (2, 131), 0.1, step=100000),
]
