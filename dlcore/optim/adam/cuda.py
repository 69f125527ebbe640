"""Adam on a GPU: a thread for eight weights, with the update of cpu.py, without its prefetches; 16 bytes at a time."""
import math

import numpy as np

from dlcore.compiler.cuda.intrinsics import cuda, f32, u64
from dlcore.compiler.cuda.language import each, kernel
from dlcore.compiler.cuda.vectors import address_of, load_4, store_4
from dlcore.compiler.language import helper
from dlcore.ops.formulas import adam_update, moment
from dlcore.optim.adam import cpu
from dlcore.optim.formulas import taken

each(cpu.amsgrad)
each(cpu.adam_rows, over="N, D")


@helper
def updated(g, w, m, v, numbers):
    """(weight, m, v) of one weight."""
    scale, limit, l2, kept, rest1, rest2, pace, root, eps = numbers
    g = taken(g, w, scale, limit, l2)
    first, second = moment(m, g, rest1), moment(v, g * g, rest2)
    return adam_update(w * kept, first, second, pace, root, eps), first, second


@helper
def take(held, u, at, G, W, M, V):
    """held[u] = four elements of gradient, weight, m and v each."""
    g, w, f, s = load_4(G + at), load_4(W + at), load_4(M + at), load_4(V + at)
    held[u, 0, 0], held[u, 0, 1], held[u, 0, 2], held[u, 0, 3] = g[0], g[1], g[2], g[3]
    held[u, 1, 0], held[u, 1, 1], held[u, 1, 2], held[u, 1, 3] = w[0], w[1], w[2], w[3]
    held[u, 2, 0], held[u, 2, 1], held[u, 2, 2], held[u, 2, 3] = f[0], f[1], f[2], f[3]
    held[u, 3, 0], held[u, 3, 1], held[u, 3, 2], held[u, 3, 3] = s[0], s[1], s[2], s[3]


@helper
def put(held, u, at, W, M, V):
    store_4(W + at, held[u, 1, 0], held[u, 1, 1], held[u, 1, 2], held[u, 1, 3])
    store_4(M + at, held[u, 2, 0], held[u, 2, 1], held[u, 2, 2], held[u, 2, 3])
    store_4(V + at, held[u, 3, 0], held[u, 3, 1], held[u, 3, 2], held[u, 3, 3])


@kernel(blocks="ceil(S / 2048)", block=256)
def adam(item, thread, gradient, status, factor, lr, rate, limit, l2, decay, step, rest1, rest2, eps, weight, m, v):
    """Two times four weights a thread, read before anything is computed: the powers take as long as memory."""
    i, S, held = 2048 * item + 4 * thread, weight.shape[0], cuda.local.array((2, 4, 4), f32)
    G, W, M, V = address_of(gradient), address_of(weight), address_of(m), address_of(v)
    fours = i + 1028 <= S and (G | W | M | V) & u64(15) == u64(0)
    if fours:
        for u in range(2):
            take(held, u, u64(4) * u64(i + 1024 * u), G, W, M, V)
    if status[0] == 0:
        scale = factor[0] if factor.shape[0] > 0 else np.float32(1)
        pace = -lr * rate / math.expm1(np.float32(step) * math.log1p(-rest1))
        root = np.float32(1) / math.sqrt(-math.expm1(np.float32(step) * math.log1p(-rest2)))
        numbers = scale, limit, l2, np.float32(1) - lr * rate * decay, rest1, rest2, pace, root, eps
        if fours:
            for u in range(2):
                for c in range(4):
                    held[u, 1, c], held[u, 2, c], held[u, 3, c] = updated(
                        held[u, 0, c], held[u, 1, c], held[u, 2, c], held[u, 3, c], numbers)
                put(held, u, u64(4) * u64(i + 1024 * u), W, M, V)
        else:
            for n in range(8):
                j = i + n if n < 4 else i + 1020 + n
                if j < S:
                    weight[j], m[j], v[j] = updated(gradient[j], weight[j], m[j], v[j], numbers)
