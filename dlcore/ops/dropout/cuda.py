"""Dropout on a GPU: a thread for four columns, which one draw of Philox serves; the same numbers as on the CPU."""
import numpy as np

from dlcore.compiler.cuda.intrinsics import quotient, u64
from dlcore.compiler.cuda.language import kernel
from dlcore.compiler.cuda.rows import in_fours
from dlcore.compiler.cuda.vectors import address_of, load_4, store_4
from dlcore.compiler.language import formula
from dlcore.ops.dropout.cpu import kept

ZERO = np.float32(0)


@formula
def philox_words(c0, c1, c2, c3, k0, k1):
    """Philox4x32-10: four words; counter and key are below 2**32."""
    low = np.uint64(0xFFFFFFFF)
    for _ in range(10):
        a = np.uint64(0xD2511F53) * c0
        b = np.uint64(0xCD9E8D57) * c2
        c0 = (b >> np.uint64(32)) ^ c1 ^ k0
        c1 = b & low
        c2 = (a >> np.uint64(32)) ^ c3 ^ k1
        c3 = a & low
        k0 = (k0 + np.uint64(0x9E3779B9)) & low
        k1 = (k1 + np.uint64(0xBB67AE85)) & low
    return c0, c1, c2, c3


@kernel(threads="N * ceil(C / 4)")
def dropout(item, x, rate, node, rows, seed, step, first_sample, out, add_out):
    C = x.shape[1]
    draws = (C + 3) // 4
    i = quotient(item, draws)
    draw = item - i * draws
    factor, limit = np.float32(1) / (np.float32(1) - rate), np.uint64(np.float64(rate) * 4294967296.0)
    low = np.uint64(0xFFFFFFFF)
    words = philox_words(np.uint64(draw), np.uint64(first_sample * rows + i) & low, np.uint64(step) & low,
                         np.uint64(node) & low, np.uint64(seed) & low, np.uint64(seed) >> np.uint64(32))
    if in_fours(C, address_of(x) | address_of(out)):
        at = u64(16) * u64(item)
        four, old = load_4(address_of(x) + at), (ZERO, ZERO, ZERO, ZERO)
        if add_out:
            old = load_4(address_of(out) + at)
        store_4(address_of(out) + at, kept(four[0], words[0], limit, factor) + old[0],
                kept(four[1], words[1], limit, factor) + old[1], kept(four[2], words[2], limit, factor) + old[2],
                kept(four[3], words[3], limit, factor) + old[3])  # fmt: skip
    else:
        for w in range(min(4, C - 4 * draw)):
            j = 4 * draw + w
            out[i, j] = kept(x[i, j], words[w], limit, factor) + (out[i, j] if add_out else ZERO)
