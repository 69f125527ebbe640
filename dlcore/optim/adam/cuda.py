"""Adam on a GPU: a thread for four weights, with the update of cpu.py, without its prefetches; 16 bytes at a time."""
import math

import numpy as np

from dlcore.compiler.cuda.intrinsics import u64
from dlcore.compiler.cuda.language import each, kernel
from dlcore.compiler.cuda.vectors import address_of, load_4, store_4
from dlcore.compiler.language import helper
from dlcore.ops.formulas import adam_update, moment
from dlcore.optim.adam import cpu
from dlcore.optim.formulas import taken

each(cpu.amsgrad)
each(cpu.adam_rows, over="N, D")


@helper
def updated(g, w, m, v, scale, limit, l2, kept, rest1, rest2, pace, root, eps):
    """(weight, m, v) of one weight."""
    g = taken(g, w, scale, limit, l2)
    first, second = moment(m, g, rest1), moment(v, g * g, rest2)
    return adam_update(w * kept, first, second, pace, root, eps), first, second


@kernel(threads="ceil(S / 4)")
def adam(item, gradient, status, factor, lr, rate, limit, l2, decay, step, rest1, rest2, eps, weight, m, v):
    if status[0] == 0:
        scale = factor[0] if factor.shape[0] > 0 else np.float32(1)
        pace = -lr * rate / math.expm1(np.float32(step) * math.log1p(-rest1))
        root = np.float32(1) / math.sqrt(-math.expm1(np.float32(step) * math.log1p(-rest2)))
        kept, i = np.float32(1) - lr * rate * decay, 4 * item
        G, W, M, V = address_of(gradient), address_of(weight), address_of(m), address_of(v)
        if i + 4 <= weight.shape[0] and (G | W | M | V) & u64(15) == u64(0):
            at = u64(16) * u64(item)
            g, w, f, s = load_4(G + at), load_4(W + at), load_4(M + at), load_4(V + at)
            w0, f0, s0 = updated(g[0], w[0], f[0], s[0], scale, limit, l2, kept, rest1, rest2, pace, root, eps)
            w1, f1, s1 = updated(g[1], w[1], f[1], s[1], scale, limit, l2, kept, rest1, rest2, pace, root, eps)
            w2, f2, s2 = updated(g[2], w[2], f[2], s[2], scale, limit, l2, kept, rest1, rest2, pace, root, eps)
            w3, f3, s3 = updated(g[3], w[3], f[3], s[3], scale, limit, l2, kept, rest1, rest2, pace, root, eps)
            store_4(W + at, w0, w1, w2, w3)
            store_4(M + at, f0, f1, f2, f3)
            store_4(V + at, s0, s1, s2, s3)
        else:
            for j in range(i, min(i + 4, weight.shape[0])):
                w0, f0, s0 = updated(gradient[j], weight[j], m[j], v[j], scale, limit, l2, kept, rest1, rest2, pace, root, eps)
                weight[j], m[j], v[j] = w0, f0, s0
