"""Additive attention on a GPU: forward a block for each query, backward a block for each sequence; a thread for each column."""
import numpy as np

from dlcore.compiler.cuda.intrinsics import cuda, f32, warp_sum
from dlcore.compiler.cuda.language import kernel
from dlcore.ops import additive_attention as _  # noqa: F401  (declares)
from dlcore.ops.formulas import exp, tanh

ZERO, ONE, INF, THREADS, WARPS = np.float32(0), np.float32(1), np.float32(np.inf), 256, 8


@kernel(blocks="B * T", name="additive_attention_forward")
def forward(item, thread, q, k, v, values, mask, out, p):
    """A warp for each key's score, a thread for each column of the result."""
    T, A = q.shape[1], q.shape[2]
    S, C = values.shape[1], values.shape[2]
    b, t, warp, lane = item // T, item % T, thread // 32, thread % 32
    shared = cuda.shared.array(8, f32)
    top = -INF
    for j in range(warp, S, WARPS):
        if mask.shape[0] == 0 or mask[b, j] != ZERO:
            total = ZERO
            for a in range(lane, A, 32):
                total += v[a] * tanh(q[b, t, a] + k[b, j, a])
            s = warp_sum(total)
            if lane == 0:
                p[b, t, j] = s
            top = top if s < top else s
    if lane == 0:
        shared[warp] = top
    cuda.syncthreads()
    for w in range(WARPS):
        top = top if shared[w] < top else shared[w]
    cuda.syncthreads()
    whole = ZERO
    for j in range(thread, S, THREADS):
        if mask.shape[0] == 0 or mask[b, j] != ZERO:
            e = exp(p[b, t, j] - top)
            p[b, t, j] = e
            whole += e
        else:
            p[b, t, j] = ZERO
    whole = warp_sum(whole)
    if lane == 0:
        shared[warp] = whole
    cuda.syncthreads()
    whole = ZERO
    for w in range(WARPS):
        whole += shared[w]
    share = ZERO if whole == ZERO else ONE / whole
    for j in range(thread, S, THREADS):
        p[b, t, j] *= share
    cuda.syncthreads()
    for c in range(thread, C, THREADS):
        total = ZERO
        for j in range(S):
            if p[b, t, j] != ZERO:
                total += p[b, t, j] * values[b, j, c]
        out[b, t, c] = total


@kernel(blocks="B", name="additive_attention_backward")
def backward(item, thread, dout, q, k, v, values, p, dq, dk, dvalues, dv, ds, add_dq, add_dk, add_dvalues):
    """dp by a warp for each, ds by a thread for each query; then every sum in the order of its steps, a thread for each column."""
    T, A = q.shape[1], q.shape[2]
    S, C = values.shape[1], values.shape[2]
    b, warp, lane = item, thread // 32, thread % 32
    for n in range(warp, T * S, WARPS):
        t, j = n // S, n % S
        part = ZERO
        for c in range(lane, C, 32):
            part += dout[b, t, c] * values[b, j, c]
        dp = warp_sum(part)
        if lane == 0:
            ds[b, t, j] = dp
    cuda.syncthreads()
    for t in range(thread, T, THREADS):
        delta = ZERO
        for j in range(S):
            delta += p[b, t, j] * ds[b, t, j]
        for j in range(S):
            ds[b, t, j] = p[b, t, j] * (ds[b, t, j] - delta)
    cuda.syncthreads()
    for c in range(thread, C, THREADS):
        for j in range(S):
            total = dvalues[b, j, c] if add_dvalues else ZERO
            for t in range(T):
                total += p[b, t, j] * dout[b, t, c]
            dvalues[b, j, c] = total
    for a in range(thread, A, THREADS):
        whole = ZERO
        for t in range(T):
            dq[b, t, a] = dq[b, t, a] if add_dq else ZERO
        for j in range(S):
            total = dk[b, j, a] if add_dk else ZERO
            for t in range(T):
                if p[b, t, j] != ZERO:
                    h = tanh(q[b, t, a] + k[b, j, a])
                    g = ds[b, t, j] * v[a] * (ONE - h * h)
                    dq[b, t, a] += g
                    total += g
                    whole += ds[b, t, j] * h
            dk[b, j, a] = total
        dv[b, a] = whole
